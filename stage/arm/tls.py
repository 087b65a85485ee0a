"""https for az, which sends no credentials over anything less: a CA of this start alone, and a certificate by it."""

import ssl
from pathlib import Path

import certifi
import trustme


def server_context(bundle: Path) -> ssl.SSLContext:
    """The server's side for 127.0.0.1; ``bundle`` becomes what clients are to trust.

    That is the usual CAs too, because REQUESTS_CA_BUNDLE replaces them for every tool in the shell, pip among them.
    """
    authority = trustme.CA(organization_name="rtproxy stage")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    bundle.write_bytes(Path(certifi.where()).read_bytes() + b"\n" + authority.cert_pem.bytes())
    return context
