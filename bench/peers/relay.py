"""What the relays in Python have in common: their command line, and the close code that they pass on."""

import argparse
import resource
import ssl
from typing import NamedTuple

BACKLOG = 4096
MAX_MESSAGE = 16 * 1024 * 1024
"""Bytes: more than the largest frame that the bench sends, and all of ours that a client may send."""
MODEL_HEADERS = {"api-key": "bench-model-key"}


class Arguments(NamedTuple):
    port: int
    model_url: str
    tls: ssl.SSLContext | None
    """Trusts the model's authority only; None: the model is plaintext."""


def arguments() -> Arguments:
    """Reads the arguments, and raises the limit of open files: the soft one would end at 500 sessions."""
    parser = argparse.ArgumentParser(description="A relay to measure; python -m bench starts it.")
    parser.add_argument("--port", type=int, required=True, help="listen here, on 127.0.0.1")
    parser.add_argument("--model-port", type=int, required=True, help="relay to this, on 127.0.0.1")
    parser.add_argument("--ca-file", help="the authority of the model's certificate; without: plaintext")
    given = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    scheme, tls = ("wss", ssl.create_default_context(cafile=given.ca_file)) if given.ca_file else ("ws", None)
    return Arguments(given.port, f"{scheme}://127.0.0.1:{given.model_port}/v1/realtime?model=bench", tls)


def sendable(code: int | None) -> int:
    """The close code to pass on where ``code`` ended the other leg: 1005 and 1006 may not be sent."""
    if code in (None, 1005):
        return 1000
    return 1011 if code == 1006 else code
