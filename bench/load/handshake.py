"""How a call of the bench opens: what its caller says, and what the model answers (RFC 6455 section 4)."""

import base64
import hashlib
import re

CLIENT_KEY = "bench-client-key-0123456789"
REQUEST = (
    b"GET /v1/realtime?model=bench HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Authorization: Bearer " + CLIENT_KEY.encode() + b"\r\n\r\n"
)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = re.compile(rb"^sec-websocket-key:\s*(\S+)\r$", re.IGNORECASE | re.MULTILINE)


def answer(head: bytes) -> bytes:
    """The model's 101 to a request with that head."""
    found = _KEY.search(head)
    assert found is not None, head
    accept = base64.b64encode(hashlib.sha1(found[1] + _GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


def check(head: bytes) -> None:
    """Raises ConnectionError where an answer with that head is no 101."""
    if not head.startswith(b"HTTP/1.1 101 "):
        raise ConnectionError(f"no 101 but {head.splitlines()[0].decode()}")
