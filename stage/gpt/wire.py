"""One accepted socket: frames in, frames out, and every way it can end.

`send` never waits; a pump task hands frames to the socket in order, and `drained` is where a
producer waits for a slow client. Only one of `frames`, `close`, `drop` may run at a time.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import suppress

from aiohttp import WebSocketError, WSCloseCode, WSMessage, WSMsgType, web

from stage.gpt.handshake import offered_subprotocols, without_key_subprotocol
from stage.gpt.record import Record

# A 15 MiB append is allowed; room for its JSON above that.
_MAX_MESSAGE_BYTES = 16 * 1024 * 1024 + 64 * 1024
# Checked against the transport's own buffer after so many bytes: what a reader that stalls can make us hold.
_WRITE_LIMIT_BYTES = 32 * 1024
_BACKLOG_FRAMES = 1000
_CLOSE_TIMEOUT_S = 2.0
_LINGER_ZERO = struct.pack("ii", 1, 0)  # close() then sends RST


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
        """Send what is queued, then Close, and wait a moment for the client's answer; a deaf client is cut off."""
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
        """TCP RST, mid-sentence."""
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
        """Forget what is queued, so that nobody waits in `drained` for a socket that is no more."""
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
