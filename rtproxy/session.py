"""One client's life, top to bottom: admit, dial, accept, splice, close, one summary record.

Invariants, each with a test: a session is in the live set from admission to its end; the model is dialed before the
client is accepted; a session that was accepted writes exactly one connection.closed; no task outlives it.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from functools import partial
from typing import cast

from aiohttp import web

from rtproxy.admission import Admission
from rtproxy.closing import VANISHED
from rtproxy.events import Field, Log
from rtproxy.handover import take_over
from rtproxy.handshake import path_of, subprotocols_of, switching
from rtproxy.live import Live
from rtproxy.poller import Poller
from rtproxy.refusal import Refused, defect, draining, full, unknown
from rtproxy.room import Room
from rtproxy.settings import Settings
from rtproxy.splice import Splice
from rtproxy.strangers import STRANGERS, Stranger
from rtproxy.trace import Trace
from rtproxy.turns import Turns
from rtproxy.upstream import Dialed, DialFailed, Upstream
from rtproxy.wheel import Wheel

LOG = web.AppKey("log", Log)
LIVE = web.AppKey("live", Live)
ADMISSION = web.AppKey("admission", Admission)
UPSTREAM = web.AppKey("upstream", Upstream)
POLLER = web.AppKey("poller", Poller)
WHEEL = web.AppKey("wheel", Wheel)
ROOM = web.AppKey("room", Room)
SETTINGS = web.AppKey("settings", Settings)
TRACING: web.AppKey[Callable[[web.Request], Trace]] = web.AppKey("tracing")

LAST_S, LAST_SHARE = 30.0, 0.1
"""In the last part of a call's longest duration, at most this long, the end of a turn is the end of the call."""


async def carry(request: web.Request) -> web.StreamResponse:
    """The handler of the WebSocket routes: returns as soon as the call stands, or with a refusal."""
    log, live, admission = request.app[LOG], request.app[LIVE], request.app[ADMISSION]
    try:
        admitted = await admission.admit(request)
    except Refused as refusal:
        return turn_away(live, log, refusal, path_of(request))
    except Exception:  # one of the two edges: a defect of ours costs this call and no other
        logging.getLogger("rtproxy").exception("an admission raised")
        return turn_away(live, log, defect(), path_of(request))
    trace = request.app[TRACING](request)
    client, parameters = admitted.client, admitted.parameters
    session = Session(client, live, log, trace, partial(admission.give_back, admitted))
    live.add(session)
    request.app[STRANGERS].let_in(cast(Stranger, request.protocol))
    try:
        headers = {**trace.headers, **parameters.headers}
        dialed = await request.app[UPSTREAM].dial(subprotocols_of(request), parameters.query, headers)
    except DialFailed as failure:
        session.turned_away(failure)
        live.dial_failures[failure.cause] += 1
        if failure.by_the_model:
            admission.model_refused(client, failure.wait_s)
        log(
            "upstream.failed",
            session=session.id,
            client=client,
            cause=failure.cause,
            status=failure.status,
            upstream_status=failure.upstream_status,
            upstream_error=failure.upstream_error,
            request_id=failure.request_id,
        )
        return failure.response()
    except Exception:  # the other one
        logging.getLogger("rtproxy").exception("a dial raised")
        return session.turn_away(defect(), request)
    except asyncio.CancelledError:
        session.turned_away(draining())
        raise
    if session.leaving:
        dialed.hang_up()
        return session.turn_away(session.dismissal(), request)
    log(
        "upstream.connected",
        session=session.id,
        client=client,
        dial_ms=dialed.dial_ms,
        request_id=dialed.request_id,
    )
    trace.event("upstream.connected", dial_ms=dialed.dial_ms, request_id=dialed.request_id)
    return await session.accept(request, dialed)


def turn_away(live: Live, log: Log, refusal: Refused, path: str | None = None) -> web.Response:
    """Counts and logs a refusal, and makes the answer. ``path`` is one of the routes, never what a stranger chose."""
    live.refusals[refusal.status, refusal.code] += 1
    log.refused(refusal.status, refusal.code, refusal.client, path)
    return refusal.response()


class Session:
    """A call from admission to its end. Counters live here and on its legs, and are read when somebody asks."""

    __slots__ = (
        "_cause",
        "_give_back",
        "_live",
        "_log",
        "_splice",
        "_timer",
        "_trace",
        "_turn",
        "client",
        "ended_by",
        "id",
        "leaving",
        "started",
        "turns",
    )

    def __init__(
        self, client: str, live: Live, log: Log, trace: Trace, give_back: Callable[[], None] = lambda: None
    ) -> None:
        self.id = secrets.token_hex(8)
        self.client = client
        self.turns = Turns()
        self.started = time.monotonic()
        self.ended_by = ""
        self.leaving = False
        self._cause = "drain"
        self._timer: asyncio.TimerHandle | None = None
        self._give_back = give_back
        self._live = live
        self._log = log
        self._trace = trace
        trace.follow(self.id, client, self.turns)
        self._splice: Splice | None = None
        self._turn: str | None = None

    @property
    def quiet(self) -> bool:
        """Between turns: nothing is lost if the call is closed now."""
        return self.turns.quiet

    def turned_away(self, answer: Refused) -> None:
        """The call was admitted and does not come to stand: the client gets ``answer``, and its share back."""
        self._live.discard(self)
        self._give_back()
        self._trace.fail(answer.status, answer.code)

    def turn_away(self, refusal: Refused, request: web.Request) -> web.Response:
        """As `turned_away`, where the relay itself is the reason: the answer, counted and logged."""
        self.turned_away(refusal)
        refusal.client = self.client
        return turn_away(self._live, self._log, refusal, path_of(request))

    def dismissal(self) -> Refused:
        """What the client hears when its call is closed before it stands."""
        if self._cause == "client.revoked":
            return unknown("invalid_api_key", "The client's key was taken away.")
        return draining()

    async def accept(self, request: web.Request, dialed: Dialed) -> web.StreamResponse:
        """Answers the client's 101 and joins the two sockets; from here on aiohttp has nothing to do with them."""
        response = switching(request, self.id, dialed.subprotocol)
        try:
            client = await take_over(request, response)
        except ConnectionResetError:
            # The caller hung up while we dialed.
            self._summarise("client", VANISHED, dialed.hang_up())
            return response
        except OSError:
            # No descriptor is left for its socket.
            dialed.hang_up()
            return self.turn_away(full(), request)
        self._log("client.connected", session=self.id, client=self.client, path=path_of(request))
        self._trace.event("client.connected")
        upstream = dialed.take_over()
        app, settings = request.app, request.app[SETTINGS]
        share = app[ROOM].share(self.client)
        self._splice = Splice(
            client, upstream, self.turns, app[POLLER], app[WHEEL], self._ended, settings.client_events, share
        )
        if self.turns.on_change is not None:  # a drain began while the model was dialed
            self._splice.read_client()
        self._splice.start(client.early, upstream.early)
        if (longest_s := settings.max_call_s) is not None:
            last_s = min(LAST_S, longest_s * LAST_SHARE)
            self._timer = asyncio.get_running_loop().call_later(longest_s - last_s, self._nearly_over, last_s)
        return response

    def _nearly_over(self, last_s: float) -> None:
        """The call's longest duration is near: it closes at the end of a turn that ends in time, else when it is up."""
        self._timer = asyncio.get_running_loop().call_later(last_s, self.close)
        if self.turns.on_change is None:  # otherwise a drain has it
            self._cause = "call.long"
            self._retire_after_turn()

    def retire(self) -> None:
        """Closes the call for the drain as soon as it is quiet: now, or when its turn ends. Idempotent."""
        self._cause = "drain"
        self._retire()

    def retire_after_turn(self) -> None:
        """As `retire` for a call in a turn, and for a quiet one when it gets into its next. Idempotent."""
        self._cause = "drain"
        self._retire_after_turn()

    def _retire(self) -> None:
        self.turns.on_change = self._retire_soon
        self._retire_if_quiet()

    def _retire_after_turn(self) -> None:
        if self._splice is not None:
            self._splice.read_client()
        if self.quiet:
            self.turns.on_change = self._retire_in_turn
        else:
            self._retire()

    def _retire_in_turn(self) -> None:
        if not self.quiet:
            self._retire()

    def _retire_soon(self) -> None:
        # The event that ended the turn is still on its way through the splice: it is to reach the client first.
        asyncio.get_running_loop().call_soon(self._retire_if_quiet)

    def _retire_if_quiet(self) -> None:
        if self.quiet:
            self.close()
        elif (settling_s := self.turns.settling_s()) > 0:
            asyncio.get_running_loop().call_later(settling_s, self._retire_if_quiet)

    def close(self) -> None:
        """Closes the call, whatever its turn, at the next frame boundary. Idempotent."""
        self._leave()
        if self._splice is not None:
            self._splice.end(self._cause)

    def _leave(self) -> None:
        """The turn of the summary is that in which the relay ended the call, whatever is said meanwhile."""
        if not self.leaving:
            self._turn = self.turns.state
        self.leaving = True

    def revoke(self) -> None:
        """Closes the call at the next frame boundary, because its client's key was taken away."""
        self._cause = "client.revoked"
        self.close()

    def cut(self) -> None:
        """Ends the call at once, see `Splice.cut`; one that does not stand yet is not to."""
        self._leave()
        if self._splice is not None:
            self._splice.cut()

    @property
    def moved(self) -> int:
        """Grows whenever something of `counts` does."""
        splice = self._splice
        if splice is None:
            return 0
        return splice.client.received + splice.upstream.received + splice.events_refused + self.turns.responses

    def counts(self) -> dict[str, int]:
        """What the call has moved and used so far."""
        up, down, refused = (0, 0), (0, 0), 0
        if self._splice is not None:
            client, upstream = self._splice.client, self._splice.upstream
            up, down = (client.frames, client.received), (upstream.frames, upstream.received)
            refused = self._splice.events_refused
        return {
            "frames_up": up[0],
            "frames_down": down[0],
            "bytes_up": up[1],
            "bytes_down": down[1],
            "events_refused": refused,
            "responses": self.turns.responses,
            **self.turns.usage.tokens(),
        }

    def _ended(self) -> None:
        splice = self._splice
        assert splice is not None
        codes = splice.client.closed_with, splice.upstream.closed_with
        self._log("bridge.completed", session=self.id, client_code=codes[0], upstream_code=codes[1])
        self._summarise(splice.ended_by, *codes)

    def _summarise(self, ended_by: str, client_code: int, upstream_code: int) -> None:
        self.ended_by = ended_by
        if self._timer is not None:
            self._timer.cancel()
        self._live.discard(self)
        self._live.close_books(self)
        summary: dict[str, Field] = {
            "ended_by": ended_by,
            "client_code": client_code,
            "upstream_code": upstream_code,
            "duration_s": round(time.monotonic() - self.started, 3),
            **self.counts(),
            "transcription_s": round(self.turns.usage.transcription_s, 3),
            "turn": self._turn or self.turns.state,
            "upstream_session": self.turns.upstream_session,
            "upstream_error": self.turns.error_code,
        }
        self._log("connection.closed", session=self.id, client=self.client, **summary)
        self._trace.end(summary)
