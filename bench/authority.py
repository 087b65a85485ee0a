"""An authority of the run's own, and the model's certificate by it."""

import ssl
from pathlib import Path

import trustme


def authority(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Writes the authority's certificate into ``folder``; returns that file and what the model listens with."""
    signer, file = trustme.CA(), folder / "ca.pem"
    signer.cert_pem.write_to_path(str(file))
    identity = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    signer.issue_cert("localhost", "127.0.0.1").configure_cert(identity)
    return file, identity
