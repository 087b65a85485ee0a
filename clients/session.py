"""One WebSocket from its 101 to its end: always read, so that a close is seen when it happens.

Three tasks share the socket: the reader, the talker with the pinger beside it, and the one that hangs up when the
hold is over or all has been said. The reader's return is the end of the session, whatever the others are doing.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import aiohttp
from aiohttp import WSMsgType

from clients.arguments import Plan
from clients.conversation import Conversation
from clients.dial import Connection
from clients.endings import DROPPED, GOODBYE, NO_GOODBYE, SILENT, Ending, answer_to, by_close_frame, by_us
from clients.ids import Ids
from clients.kinds import Kind
from clients.observations import Closed, Identity, Observation, Opened, utc_now
from clients.pace import between
from clients.pings import Pings
from clients.speech import Piece

CLOSE_DEADLINE_S = 5.0


class Session:
    def __init__(
        self,
        call: int,
        connection: Connection,
        gap_ms: float | None,
        plan: Plan,
        kind: Kind,
        utterance: Sequence[Piece],
        ids: Ids,
        note: Callable[[Observation], None],
        end: asyncio.Event,
    ) -> None:
        self.connection = connection
        self.conversation = Conversation(
            call, kind, connection, utterance, plan.turn_deadline, plan.tool_seconds, ids, note
        )
        self._kind = kind
        self._call = call
        self._gap_ms = gap_ms
        self._plan = plan
        self._note = note
        self._end = end
        self._over = asyncio.Event()
        self.cut = False
        self._socket = connection.socket
        self.opened_at = self.ended_at = time.monotonic()
        self._opened_ts = utc_now()
        self._opened_noted = False
        self._pings = Pings(call, connection.socket, note)
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
            await self._close(answer_to(ending.code))

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
                    return by_close_frame(message.data, message.extra)
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
        return by_us(self._socket.close_code) if answered else NO_GOODBYE

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
    """A send may find the socket gone before the reader does; it is the reader that tells."""
    with suppress(ConnectionResetError):
        await sending
