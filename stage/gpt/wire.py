"""One accepted socket, every way in which it can end, and the record of the call on it.

`send` never waits; a pump task hands frames to the socket in order, and a producer waits for a slow client in
`drained`. Only one of `frames`, `close`, `drop` may run at a time. The record has the names of headers, never a value,
and of audio its length and hash.
"""

import asyncio
import hashlib
import json
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from aiohttp import WebSocketError, WSCloseCode, WSMessage, WSMsgType, web

from stage.gpt.handshake import offered_subprotocols, without_key_subprotocol
from stage.gpt.responses import Sent

# A 15 MiB append is allowed; room for its JSON above that.
_MAX_MESSAGE_BYTES = 16 * 1024 * 1024 + 64 * 1024
# Checked against the transport's own buffer after so many bytes: what a reader that stalls can make us hold.
_WRITE_LIMIT_BYTES = 32 * 1024
_BACKLOG_FRAMES = 1000
_CLOSE_TIMEOUT_S = 2.0
_LINGER_ZERO = struct.pack("ii", 1, 0)  # close() then sends RST


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass
class Record:
    id: str
    dialect: str
    deployment: str
    authenticated_by: str
    request_headers: list[str]
    started: str = field(default_factory=now)
    ended: str | None = None
    # client: it sent Close. model: we ended it. network: the socket vanished.
    ended_by: str | None = None
    close_code_received: int | None = None
    close_code_sent: int | None = None
    events_received: Counter[str] = field(default_factory=Counter)
    frames_received: int = 0
    bytes_received: int = 0
    frames_sent: int = 0
    bytes_sent: int = 0
    responses: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    # Of every append that could be decoded, one after the other, whatever became of it.
    audio_bytes_heard: int = 0
    audio_sha256_heard: str = hashlib.sha256().hexdigest()
    # What the model had begun and not finished.
    owed: list[str] = field(default_factory=list)

    def received(self, size: int) -> None:
        self.frames_received += 1
        self.bytes_received += size

    def sent(self, size: int) -> None:
        self.frames_sent += 1
        self.bytes_sent += size

    def used(self, usage: dict[str, Any] | None) -> None:
        self.responses += 1
        if usage:
            self.tokens_in += usage["input_tokens"]
            self.tokens_out += usage["output_tokens"]

    def end(self, by: str, *, received: int | None = None, sent: int | None = None) -> None:
        """The first end counts: what follows it is only the echo."""
        if self.ended_by is None:
            self.ended_by, self.close_code_received, self.close_code_sent = by, received, sent

    def as_json(self) -> dict[str, Any]:
        return vars(self) | {"events_received": dict(self.events_received)}


class RecordFile:
    """The model's own record, a JSON line for each response and each call that ends: what a verdict compares with.

    A response that its call's end cut off has the status `abandoned`; its client heard a beginning of it at most.
    """

    def __init__(self, path: Path | None) -> None:
        self._stream: TextIO | None = path.open("a", encoding="utf-8") if path else None

    def response(self, session: str, response: str, status: str, sent: Sent) -> None:
        audio = {"deltas": sent.deltas, "audio_bytes": sent.audio_bytes, "audio_sha256": sent.sha256}
        self._write("response", session=session, response=response, status=status, **audio)

    def session_ended(self, call: Record) -> None:
        code = call.close_code_sent if call.ended_by == "model" else call.close_code_received
        heard = {"audio_bytes_heard": call.audio_bytes_heard, "audio_sha256_heard": call.audio_sha256_heard}
        self._write("session.ended", session=call.id, **heard, closed_by=call.ended_by, code=code, owed=call.owed)

    def close(self) -> None:
        if self._stream:
            self._stream.close()
            self._stream = None

    def _write(self, what: str, **fields: Any) -> None:
        if self._stream:
            self._stream.write(json.dumps({"ts": now(), "model": what, **fields}) + "\n")
            self._stream.flush()


class Wire:
    def __init__(self, request: web.Request, record: Record) -> None:
        self._request, self._record = without_key_subprotocol(request), record
        self.response = web.WebSocketResponse(
            protocols=offered_subprotocols(self._request),
            compress=False,
            autoclose=False,
            max_msg_size=_MAX_MESSAGE_BYTES,
            writer_limit=_WRITE_LIMIT_BYTES,
            timeout=_CLOSE_TIMEOUT_S,
        )
        self._outbox: asyncio.Queue[bytes] = asyncio.Queue()
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._gone = False

    async def accept(self) -> None:
        """Answer 101. Raises ConnectionError when the client left before."""
        await self.response.prepare(self._request)
        self._pump = asyncio.create_task(self._deliver())

    def send(self, frame: bytes) -> None:
        """Queue one text frame; after the end of the socket it goes nowhere."""
        if not self._gone:
            self._outbox.put_nowait(frame)

    async def drained(self) -> None:
        await self._outbox.join()

    async def bounded(self) -> None:
        """Wait only when the client has left so many frames unread that memory is at stake."""
        if self._outbox.qsize() > _BACKLOG_FRAMES:
            await self.drained()

    async def frames(self) -> AsyncIterator[WSMessage]:
        """The client's text and binary frames until either side ends; answers a Close with its own code."""
        while True:
            await self._may_read.wait()
            message = await self.response.receive()
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                break
            self._record.received(_size(message.data))
            yield message
        if message.type is WSMsgType.CLOSE:
            self._record.end("client", received=message.data or None)
            await self._close_socket(message.data or WSCloseCode.OK, "")
        elif isinstance(message.data, WebSocketError):
            self._record.end("model", sent=message.data.code)
        else:
            self._record.end("network")

    async def close(self, code: int, reason: str) -> None:
        """Send what is queued, then Close, and wait for the client's answer for a moment; then cut it off."""
        self.resume()
        self._record.end("model")
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self.drained()
                await self._close_socket(code, reason)
        except TimeoutError:
            self._abort()
        if self.response.close_code != WSCloseCode.ABNORMAL_CLOSURE:
            self._record.close_code_received = self.response.close_code

    async def reset(self) -> None:
        """TCP RST, at any moment."""
        self._record.end("model")
        self._stop_sending()
        if transport := self._request.transport:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self._abort()

    async def drop(self) -> None:
        """FIN without a Close frame. What the client still sends is read, or the kernel would turn FIN into RST."""
        self._record.end("model")
        self._stop_sending()
        self.resume()
        if transport := self._request.transport:
            transport.write_eof()
            # RuntimeError: aiohttp cannot answer a ping after FIN.
            with suppress(TimeoutError, RuntimeError):
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    while (await self.response.receive()).type in (WSMsgType.TEXT, WSMsgType.BINARY):
                        pass
            transport.close()

    def stall(self) -> None:
        """Leave everything the client sends, pings too, in the kernel's buffers."""
        self._may_read.clear()
        if transport := self._request.transport:
            transport.pause_reading()

    def resume(self) -> None:
        if not self._may_read.is_set():
            self._may_read.set()
            if transport := self._request.transport:
                transport.resume_reading()

    async def release(self) -> None:
        """Stop the pump; the socket is over."""
        self._stop_sending()
        self._pump.cancel()
        await asyncio.wait({self._pump})

    async def _deliver(self) -> None:
        while True:
            frame = await self._outbox.get()
            try:
                await self.response.send_frame(frame, WSMsgType.TEXT)
                self._record.sent(len(frame))
            except ConnectionError:
                self._stop_sending()
            self._outbox.task_done()

    def _stop_sending(self) -> None:
        """Forget what is queued, so that no task waits in `drained` for a socket that has ended."""
        self._gone = True
        while not self._outbox.empty():
            self._outbox.get_nowait()
            self._outbox.task_done()

    def _abort(self) -> None:
        if transport := self._request.transport:
            transport.abort()

    async def _close_socket(self, code: int, reason: str) -> None:
        self._record.close_code_sent = code
        await self.response.close(code=code, message=reason.encode())


def _size(data: str | bytes) -> int:
    return len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())
