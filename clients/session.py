"""One WebSocket from its 101 to its end: always read, so that a close is seen when it happens.

Three tasks share the socket: the reader, the talker with the pinger beside it, and the one that hangs up when the
hold or the call is over. The reader's return is the end of the session, whatever the others are doing.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

import aiohttp
from aiohttp import WSMsgType

from clients.conversation import Common, Conversation
from clients.dial import Connection, Socket
from clients.kinds import Kind, between
from clients.observations import Closed, ClosedBy, Identity, Opened, Pong, ms, utc_now

NO_STATUS = 1005
ABNORMAL = 1006
# RFC 6455 7.4.1: these stand for what was not on the wire, so we never put them there.
NEVER_SENT = (1004, NO_STATUS, ABNORMAL, 1015)
GOODBYE = "hold completed"
FIRST_PING_WITHIN_S = 1.0
# A network that swallows a connection sends no end of it; without this a call could be dead for most of a hold.
SILENT_PINGS = 3
CLOSE_DEADLINE_S = 5.0


class Ending(NamedTuple):
    """How a session ended, as `closed` has it."""

    code: int
    reason: str
    closed_by: ClosedBy


DROPPED = Ending(ABNORMAL, "", "dropped")
SILENT = Ending(ABNORMAL, "nothing heard over three pings", "dropped")
NO_GOODBYE = Ending(ABNORMAL, "our Close was not answered", "dropped")


def _by_close_frame(code: int, reason: str | None) -> Ending:
    """aiohttp gives 0 for a Close frame without a code."""
    return Ending(code or NO_STATUS, reason or "", "remote")


def _by_us(answered_code: int | None) -> Ending:
    """The code of the answer; 1006 when the connection ended instead, which is no cut."""
    return Ending(NO_STATUS if answered_code == 0 else answered_code or ABNORMAL, GOODBYE, "local")


class Pings:
    """Round trips of our own pings, and how often the other side pings us.

    At most one ping is without an answer; `hear` is given every pong, ours or not.
    """

    def __init__(self, call: int, socket: Socket, note: Callable[[Pong], None]) -> None:
        self._call = call
        self._socket = socket
        self._note = note
        self._count = 0
        self._sent_at: float | None = None
        self._heard = False
        self._pinged_at = time.monotonic()
        self.pings_heard = 0
        self._longest_unpinged_s = 0.0

    async def send(self, every: float) -> None:
        """Returns when the other side is silent. Raises ConnectionResetError when the socket is closed."""
        await asyncio.sleep(between(0, min(every, FIRST_PING_WITHIN_S)))
        silent = 0
        while silent < SILENT_PINGS:
            self._heard = False
            self._count += 1
            self._sent_at = time.monotonic()
            await self._socket.ping(self._payload)
            await asyncio.sleep(every)
            if self._sent_at is not None:
                self._note(Pong(call=self._call, rtt_ms=None))
            silent = 0 if self._heard else silent + 1

    def heard_something(self) -> None:
        """Any message is a sign of life: pongs queue up behind audio."""
        self._heard = True

    def heard_ping(self) -> None:
        self.pings_heard += 1
        self._longest_unpinged_s = self.longest_unpinged_s
        self._pinged_at = time.monotonic()

    @property
    def longest_unpinged_s(self) -> float:
        """The longest time without a ping of the other side, from the 101 on until now."""
        return max(self._longest_unpinged_s, time.monotonic() - self._pinged_at)

    def hear(self, payload: bytes) -> None:
        """A relay may pass on pongs that answer its own pings; the payload distinguishes them from ours."""
        if self._sent_at is not None and payload == self._payload:
            self._note(Pong(call=self._call, rtt_ms=ms(time.monotonic() - self._sent_at)))
            self._sent_at = None

    @property
    def _payload(self) -> bytes:
        return b"hold %d %d" % (self._call, self._count)


class Session:
    def __init__(self, call: int, kind: Kind, connection: Connection, gap_ms: float | None, common: Common) -> None:
        self.connection = connection
        self.conversation = Conversation(call, kind, connection, common)
        self._kind = kind
        self._call = call
        self._gap_ms = gap_ms
        self._plan = common.plan
        self._note = common.note
        self._end = common.end
        self._over = asyncio.Event()
        self.cut = False
        self._socket = connection.socket
        self.opened_at = self.ended_at = time.monotonic()
        self._opened_ts = utc_now()
        self._opened_noted = False
        self._pings = Pings(call, connection.socket, common.note)
        self._if_dropped = DROPPED

    async def hold(self) -> None:
        """Until the hold or the call is over, or the session is `cut`; noted by then. Cancelling drops the socket."""
        async with asyncio.TaskGroup() as group:
            hanging_up = group.create_task(self._hang_up_when_over())
            beside = [
                group.create_task(self._end_with_the_hold()),
                group.create_task(_while_connected(self._converse())),
                group.create_task(_while_connected(self._ping())),
            ]
            ending = await self._listen() or await hanging_up
            self._note_end(ending)
            for task in (hanging_up, *beside):
                task.cancel()
        if ending.closed_by == "remote":
            await self._close(1000 if ending.code in NEVER_SENT else ending.code)

    async def _listen(self) -> Ending | None:
        """How the socket ended; None when we are hanging up, whose end `_hang_up_when_over` knows."""
        while True:
            message = await self._socket.receive()
            self._pings.heard_something()
            match message.type:
                case WSMsgType.TEXT:
                    self.conversation.hear(message.data)
                case WSMsgType.BINARY:
                    self.conversation.hear_binary(message.data)
                case WSMsgType.PING:
                    self._pings.heard_ping()
                    await _while_connected(self._socket.pong(message.data))
                case WSMsgType.PONG:
                    self._pings.hear(message.data)
                case WSMsgType.CLOSE:
                    return _by_close_frame(message.data, message.extra)
                case WSMsgType.ERROR if isinstance(message.data, aiohttp.WebSocketError):
                    return Ending(message.data.code, str(message.data), "local")
                case WSMsgType.CLOSING | WSMsgType.CLOSED | WSMsgType.ERROR:
                    return None if self._over.is_set() else self._if_dropped

    async def _converse(self) -> None:
        await self.conversation.greeted()
        self._note_opened()
        lasts_s = math.inf if self._kind.whole_hold else self._plan.call_seconds * between(0.8, 1.2) or math.inf
        await self.conversation.talk(self._plan.talk_every, self.opened_at + lasts_s)
        self._over.set()

    async def _ping(self) -> None:
        if self._plan.ping_interval:
            await self._pings.send(self._plan.ping_interval)
            self._if_dropped = SILENT
            await self._close(1000)

    async def _end_with_the_hold(self) -> None:
        await self._end.wait()
        self._over.set()

    async def _hang_up_when_over(self) -> Ending:
        await self._over.wait()
        answered = await self._close(1000)
        return _by_us(self._socket.close_code) if answered else NO_GOODBYE

    async def _close(self, code: int) -> bool:
        """False when the deadline passed. aiohttp's own is for each message, so a stream of audio would extend it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_DEADLINE_S):
                await self._socket.close(code=code, message=GOODBYE.encode())
                return True
        return False

    def _note_opened(self) -> None:
        if self._opened_noted:
            return
        self._opened_noted = True
        self._note(
            Opened(
                ts=self._opened_ts,
                call=self._call,
                kind=self._kind.name,
                connect_ms=self.connection.connect_ms,
                gap_ms=self._gap_ms,
                **self._identity(),
            )
        )

    def _note_end(self, ending: Ending) -> None:
        self.ended_at = time.monotonic()
        self._note_opened()
        self.cut = not self._over.is_set() or ending is NO_GOODBYE
        if self.cut:
            self.conversation.cut()
        else:
            self.conversation.hung_up()
        self._note(
            Closed(
                call=self._call,
                kind=self._kind.name,
                code=ending.code,
                reason=ending.reason,
                closed_by=ending.closed_by,
                age_s=round(self.ended_at - self.opened_at, 3),
                early=self.cut,
                turn=self.conversation.turn,
                turn_s=round(self.ended_at - self.conversation.turn_began, 3),
                audio_bytes_sent=self.conversation.audio_bytes_sent,
                audio_sha256_sent=self.conversation.audio_sent.hexdigest(),
                pings_heard=self._pings.pings_heard,
                longest_unpinged_s=round(self._pings.longest_unpinged_s, 3),
                **self._identity(),
            )
        )

    def _identity(self) -> Identity:
        return {
            "revision": self.connection.revision,
            "replica": self.connection.replica,
            "session": self.connection.session,
            "upstream_session": self.conversation.upstream_session,
        }


async def _while_connected(sending: Awaitable[None]) -> None:
    """A send may find the socket closed before the reader does; it is the reader that reports it."""
    with suppress(ConnectionResetError):
        await sending
