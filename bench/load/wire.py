"""The frames of a voice call as they are on the wire (RFC 6455 section 5.2), with the moment of sending in them.

And how a call of the bench opens: what its caller sends, and what the model answers (section 4).
"""

import base64
import hashlib
import re
import time

UP_BYTES = 1800
"""20 ms of audio from the microphone: PCM16 at 24 kHz in base64, and the JSON around it."""
DOWN_BYTES = 4200
"""What a delta of the model's speech is like."""
TEXT, CLOSE, PING, PONG = 0x81, 0x88, 0x89, 0x8A
_STAMP = 16
_KEY = b"\x9a\x3c\x71\xe5"
_UP_HEAD = b'{"event_id":"ev_'
_DOWN_HEAD = b'{"type":"response.output_audio.delta","event_id":"ev_'
CLIENT_KEY = "bench-client-key-0123456789"
REQUEST = (
    b"GET /v1/realtime?model=bench HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Authorization: Bearer " + CLIENT_KEY.encode() + b"\r\n\r\n"
)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CLIENT_NONCE = re.compile(rb"^sec-websocket-key:\s*(\S+)\r$", re.IGNORECASE | re.MULTILINE)


def _header(opcode: int, length: int, key: bytes) -> bytes:
    bit = 0x80 if key else 0
    if length < 126:
        return bytes((opcode, bit | length)) + key
    if length < 1 << 16:
        return bytes((opcode, bit | 126)) + length.to_bytes(2) + key
    return bytes((opcode, bit | 127)) + length.to_bytes(8) + key


def _masked(payload: bytes, key: bytes) -> bytes:
    """The whole payload at once as one number: a byte at a time is slow where it is 15 MiB."""
    length = len(payload)
    pad = (key * (length // 4 + 1))[:length]
    return (int.from_bytes(payload) ^ int.from_bytes(pad)).to_bytes(length)


def frame(opcode: int, payload: bytes, *, masked: bool) -> bytes:
    """One whole frame; ``opcode`` with its FIN bit."""
    key = _KEY if masked else b""
    return _header(opcode, len(payload), key) + (_masked(payload, key) if masked else payload)


class Speech:
    """Frames of one size and one direction. ``size`` is that of a whole frame, header included."""

    def __init__(self, payload_bytes: int, *, masked: bool) -> None:
        head = _UP_HEAD if masked else _DOWN_HEAD
        middle = b'","type":"input_audio_buffer.append","audio":"' if masked else b'","delta":"'
        text = head + b"0" * _STAMP + middle
        text += b"A" * (payload_bytes - len(text) - 2) + b'"}'
        whole = frame(TEXT, text, masked=masked)
        at = len(whole) - payload_bytes + len(head)
        self.size = len(whole)
        self._masked = masked
        self._before, self._after = whole[:at], whole[at + _STAMP :]
        self._at = at
        self._pad = int.from_bytes(_KEY * (_STAMP // 4))

    def frame_now(self) -> bytes:
        """A frame with the time of its sending."""
        stamp = b"%016x" % time.monotonic_ns()
        if self._masked:
            # The text before the stamp is 16 bytes long, so the mask starts anew where the stamp does.
            stamp = (int.from_bytes(stamp) ^ self._pad).to_bytes(_STAMP)
        return self._before + stamp + self._after

    def age_ns(self, data: bytes) -> int:
        """How long ago the frame in ``data`` was sent. A peer may have masked it with a key of its own."""
        at = self._at
        stamp = data[at : at + _STAMP]
        if self._masked:
            key = data[4:8]
            stamp = (int.from_bytes(stamp) ^ int.from_bytes(key * (_STAMP // 4))).to_bytes(_STAMP)
        return time.monotonic_ns() - int(stamp, 16)


UP, DOWN = Speech(UP_BYTES, masked=True), Speech(DOWN_BYTES, masked=False)


def answer_to(head: bytes) -> bytes:
    """The model's 101 to a request with that head."""
    nonce = _CLIENT_NONCE.search(head)
    assert nonce is not None, head
    accept = base64.b64encode(hashlib.sha1(nonce[1] + _GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


def check_answer(head: bytes) -> None:
    """Raises ConnectionError where an answer with that head is no 101."""
    if not head.startswith(b"HTTP/1.1 101 "):
        raise ConnectionError(f"no 101 but {head.splitlines()[0].decode()}")
