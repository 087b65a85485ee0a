"""The machine of a call's ending, walked through all its states: what no event, in whatever order, may bring about."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from rtproxy.call.ending import ENDINGS, VANISHED, Ending, Received, Sent, Side, Socket, Stream, Timeout, Wait
from rtproxy.wire.frames import may_be_sent

CODES = {"client": 4000, "upstream": 1000}
CAUSES = ("drain", "client.revoked")
LATE = [
    Timeout(wait, renewable=renewable, bytes_moved=moved, bytes_read=moved)
    for wait in Wait
    for renewable in (True, False)
    for moved in (True, False)
]
LATE_IN = {wait: [f"late:{number}" for number, each in enumerate(LATE) if each.wait is wait] for wait in Wait}
RECEIVED, STREAM, SENT, SOCKET, WAITS = map(tuple, (Received, Stream, Sent, Socket, Wait))
"""By number: a state has numbers, which Python hashes and compares much faster than members."""
NO_WAIT = -1


class Leg:
    """A side whose frames and buffers are two switches. ``sent`` is what the machine made it send."""

    def __init__(self) -> None:
        self.inside_a_frame = False
        self.all_delivered = True
        self.sent: tuple[str, ...] = ()
        self.closing = ""
        self.peer: Leg

    def write_close(self, code: int, reason: str) -> bool:
        assert not self.closing, "it is sent nothing when its socket closes"
        if self.peer.inside_a_frame:
            self.sent += ("due",)
            return False
        self.sent += ("close",)
        return True

    def pass_close(self) -> None:
        self.sent += ("passed",)

    def mute(self) -> None:
        self.sent += ("muted",)

    def finish_frame(self) -> None: ...

    def hang_up(self) -> None:
        self.closing = self.closing or "hung up"

    def abort(self) -> None:
        self.closing = "aborted"


class Patience:
    """Knows what the call waits for. Any event `timed_out` may say that it is the last wait."""

    def __init__(self) -> None:
        self.waits: Wait | None = None

    def wait(self, wait: Wait) -> None:
        self.waits = wait

    def stop_renewing(self) -> None: ...

    def limit_to_one_wait(self) -> None: ...

    def still_reading(self) -> tuple[bool, bool]:
        return False, False


class Call:
    """The machine between two legs, and what may happen to it now."""

    def __init__(self) -> None:
        self.client, self.upstream = Leg(), Leg()
        self.client.peer, self.upstream.peer = self.upstream, self.client
        self.patience = Patience()
        self.downs = 0
        self.ending = Ending(self.client, self.upstream, self.patience, self._down)

    def _down(self) -> None:
        self.downs += 1

    def state(self) -> tuple[Any, ...]:
        """All that decides what may happen next; `enter` goes back to it."""
        ending, waits = self.ending, self.patience.waits
        faulty = 0 if ending._faulty is None else 1 if ending._faulty is ending.client else 2
        return (
            _state_of(ending.client, self.client),
            _state_of(ending.upstream, self.upstream),
            *(ending.ended_by, ending.by_relay, ending._row, faulty),
            *(NO_WAIT if waits is None else waits._value_, self.downs),
        )

    def enter(self, state: tuple[Any, ...]) -> None:
        ending = self.ending
        client, upstream, ending.ended_by, ending.by_relay, ending._row, faulty, waits, self.downs = state
        _enter(ending.client, self.client, client)
        _enter(ending.upstream, self.upstream, upstream)
        ending._faulty = (None, ending.client, ending.upstream)[faulty]
        self.patience.waits = None if waits == NO_WAIT else WAITS[waits]

    def sides(self) -> tuple[tuple[Side, Leg], tuple[Side, Leg]]:
        return (self.ending.client, self.client), (self.ending.upstream, self.upstream)

    def events(self) -> Iterator[str]:
        if self.downs:
            return
        for name, (side, leg) in zip(CODES, self.sides(), strict=True):
            if side.socket is Socket.UP and side.stream is Stream.OPEN and side.received is Received.MORE:
                yield from (f"{name}:frame ends",) if leg.inside_a_frame else (f"{name}:frame", f"{name}:close")
                yield f"{name}:fault"
            if side.socket is Socket.UP and side.stream is Stream.OPEN:
                yield f"{name}:over"
            if side.socket is not Socket.DOWN:
                yield f"{name}:down"
                yield f"{name}:stalled"
                yield f"{name}:reads" if not leg.all_delivered else f"{name}:reads nothing"
        yield from (f"order:{cause}" for cause in CAUSES)
        yield "cut"
        if self.patience.waits is not None:
            yield from LATE_IN[self.patience.waits]

    def happen(self, event: str) -> None:
        name, _, what = event.partition(":")
        if name == "order":
            self.ending.end(what)
        elif name == "late":
            self.ending.timed_out(LATE[int(what)])
        elif name == "cut":
            self.ending.cut()
        else:
            self._of_a_side(*self.sides()[name == "upstream"], what)

    def _of_a_side(self, side: Side, leg: Leg, what: str) -> None:
        if what in ("frame", "frame ends"):
            leg.inside_a_frame = what == "frame"
            if what == "frame ends" and side.peer.sent is Sent.DUE:
                leg.peer.sent = (*leg.peer.sent[:-1], "close")
                self.ending.close_written(side.peer)
        elif what == "close":
            self.ending.close_received(side, CODES[side.name])
        elif what == "fault":
            self.ending.fault_received(side, "fault")
        elif what in ("reads", "reads nothing"):
            leg.all_delivered = what == "reads"
        elif what == "down":
            leg.closing = "down"
            self.ending.socket_closed(side)
        elif what == "over":
            self.ending.stream_ended(side)
        else:
            self.ending.stalled(side)

    def wrong(self) -> Iterator[str]:
        """What must not be."""
        for side, leg in self.sides():
            closes = [each for each in leg.sent if each in ("close", "passed", "due")]
            if len(closes) > 1:
                yield f"two Closes for the {side.name}: {leg.sent}"
            if (side.sent in (Sent.CLOSE, Sent.DUE)) != bool(closes) and side.sent is not Sent.MUTE:
                yield f"the {side.name} was sent {leg.sent}, the machine says {side.sent}"
            on_the_wire = bool({"close", "passed"} & set(leg.sent)) or side.received is Received.CLOSE
            if self.downs and (side.closed_with != VANISHED) > on_the_wire:
                yield f"the summary has {side.closed_with} for the {side.name}, and there was no Close"
        if self.downs > 1:
            yield "it was over twice"

    def let_time_pass(self) -> None:
        """Nobody does anything any more: sockets that leave close, and one wait after another is over."""
        for _ in range(12):
            for side, leg in self.sides():
                if self.downs:
                    return
                if leg.closing and side.socket is not Socket.DOWN and (leg.all_delivered or leg.closing == "aborted"):
                    self.ending.socket_closed(side)
            if self.patience.waits is not None and not self.downs:
                self.ending.timed_out(
                    Timeout(self.patience.waits, renewable=False, bytes_moved=False, bytes_read=False)
                )


def _state_of(side: Side, leg: Leg) -> tuple[Any, ...]:
    return (
        *(side.received._value_, side.stream._value_, side.sent._value_, side.socket._value_),
        *(side.code, side.received_code, leg.inside_a_frame, leg.all_delivered, leg.closing, leg.sent),
    )


def _enter(side: Side, leg: Leg, state: tuple[Any, ...]) -> None:
    received, stream, sent, socket, side.code, side.received_code, *of_the_leg = state
    leg.inside_a_frame, leg.all_delivered, leg.closing, leg.sent = of_the_leg
    side.received, side.stream, side.sent, side.socket = RECEIVED[received], STREAM[stream], SENT[sent], SOCKET[socket]


class Walk(NamedTuple):
    """All ``states`` that can be reached, in which of them a side was, and a way to each thing that is ``wrong``."""

    states: int
    sides: set[tuple[Sent, Socket]]
    wrong: dict[str, tuple[str, ...]]


def walk() -> Walk:
    """One call goes back to each state for each event: to make another one would take longer than the event."""
    call = Call()
    walked = Walk(0, set(), {})
    came_from: dict[tuple[Any, ...], tuple[tuple[Any, ...], str] | None] = {call.state(): None}
    to_walk = list(came_from)

    def way(state: tuple[Any, ...]) -> tuple[str, ...]:
        step = came_from[state]
        return () if step is None else (*way(step[0]), step[1])

    for before in to_walk:  # which grows meanwhile
        call.enter(before)
        for event in list(call.events()):
            call.enter(before)
            call.happen(event)
            if (state := call.state()) in came_from:
                continue
            came_from[state] = before, event
            to_walk.append(state)
            walked.sides.update((side.sent, side.socket) for side, _ in call.sides())
            for each in call.wrong():
                walked.wrong.setdefault(each, way(state))
            if call.ending.ended_by and not call.downs:
                call.let_time_pass()
                for each in call.wrong() if call.downs else ("it never ends",):
                    walked.wrong.setdefault(each, (*way(state), "..."))
    return walked._replace(states=len(came_from))


def test_in_no_state_of_the_machine_is_anything_wrong() -> None:
    walked = walk()
    assert walked.wrong == {}
    assert walked.states > 50_000
    # SECOND is left at once, or when the other side's socket is.
    assert {sent for sent, _ in walked.sides} == set(Sent)


PATHS = {
    "a Close goes on as it came, and its answer": (
        ("client:close", "upstream:close"),
        (("passed",), ("passed",), 4000, 4000),
    ),
    "the model is sent its Close for a drain after the client": (
        ("upstream:frame", "order:drain", "upstream:frame ends"),
        (("close",), ("close",), 1012, 1001),
    ),
    "and when no Close can be sent to the client": (
        ("upstream:frame", "order:drain", "upstream:over"),
        (("due", "muted"), (), VANISHED, VANISHED),
    ),
    "a client that broke the framing is sent its Close when the model has answered": (
        ("client:fault", "upstream:close"),
        (("close",), ("close",), 1002, 1001),
    ),
    "a Close whose answer can no longer come is answered here": (
        ("client:close", "upstream:over"),
        (("close",), ("passed",), 4000, 4000),
    ),
}


@pytest.mark.parametrize("way", PATHS)
def test_what_both_sides_get(way: str) -> None:
    events, gets = PATHS[way]
    call = Call()
    for event in events:
        assert event in call.events()
        call.happen(event)
    (client, _), (upstream, _) = call.sides()
    assert (call.client.sent, call.upstream.sent, client.closed_with, upstream.closed_with) == gets


def test_every_cause_has_a_row_whose_codes_may_be_sent() -> None:
    codes = {code for row in ENDINGS.values() for code in (row.client_code, row.upstream_code) if code is not None}
    assert all(map(may_be_sent, codes))
