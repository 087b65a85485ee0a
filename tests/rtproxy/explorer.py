"""A search of the states in which a call can be while it ends: the relay's own classes on sockets that are no sockets.

Two sides say whole frames, halves of one, a Close, what breaks the framing, or nothing more; they stop reading and
read again; the relay drains, revokes, beats, or its time is up. From every state each of these happens next, breadth
first, and a state that was seen is not walked again. Nothing here waits: the clock moves when a timer is due.
"""

import heapq
import itertools
import select
import socket
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from enum import Enum
from functools import cache
from typing import Any, NamedTuple

from rtproxy.call.ending import VANISHED, Wait
from rtproxy.call.leg import Leg, Runtime
from rtproxy.call.patience import Times
from rtproxy.call.room import Room
from rtproxy.call.splice import Splice
from rtproxy.model.turns import Turns
from rtproxy.wire.credit import Allowance
from rtproxy.wire.frames import NO_CODE, Count, mask
from rtproxy.wire.poller import BROKEN, READABLE, WRITABLE, Owner
from rtproxy.wire.takeover import DetachedSocket

Path = tuple[str, ...]

CODES = {"client": 1000, "upstream": 4000}
"""What each side's own Close says."""
OF_A_SIDE = ("text", "half", "rest", "close", "fault", "eof", "reset", "stall", "read", "stands_still")
OF_THE_RELAY = ("drain", "call.long", "client.revoked", "beat", "cut", "time")
EVENTS = (*(f"{side}:{what}" for side in CODES for what in OF_A_SIDE), *OF_THE_RELAY)
EVENTS_UNTIL_THE_END = 200
"""More timers than any ending has."""
PLAIN = frozenset((type(None), bool, int, bytes, str, frozenset))
COUNTERS = frozenset(("_received_before", "slot", "_at_begin", "_give_up_at"))
"""They grow for ever and would make every state a new one."""


class Timer:
    """One call of the clock."""

    def __init__(self, at: float, do: Callable[..., object], arguments: tuple[object, ...]) -> None:
        self.at, self.do, self.arguments, self.cancelled = at, do, arguments, False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """As much of an event loop as a call needs. ``now`` moves from one timer to the next."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, int, Timer]] = []
        self.soon: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self.defects: list[BaseException] = []
        self._order = itertools.count()

    def time(self) -> float:
        return self.now

    def call_soon(self, do: Callable[..., object], *arguments: object) -> None:
        self.soon.append((do, arguments))

    def call_later(self, delay: float, do: Callable[..., object], *arguments: object) -> Timer:
        timer = Timer(self.now + delay, do, arguments)
        heapq.heappush(self.timers, (timer.at, next(self._order), timer))
        return timer

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.defects.append(context["exception"])

    def due(self) -> list[tuple[float, tuple[object, ...]]]:
        return sorted((round(each.at - self.now, 2), each.arguments) for *_, each in self.timers if not each.cancelled)

    def move_on(self) -> bool:
        """To the next timer; false where there is none."""
        while self.timers:
            at, _, timer = heapq.heappop(self.timers)
            if not timer.cancelled:
                self.now = max(self.now, at)
                timer.do(*timer.arguments)
                return True
        return False


class Socket:
    """One side as the relay meets it: ``said`` waits to be read, ``heard`` is what it was sent."""

    def __init__(self, pair: socket.socket) -> None:
        self._pair = pair  # the kernel is asked how much of a real socket is not taken yet
        self.said = self.heard = b""
        self.ended = self.reset = self.stalled = self.closed = False
        self.in_a_frame = self.closing = self.close_was_read = self.faulty = False

    def fileno(self) -> int:
        return self._pair.fileno()

    def recv(self, size: int) -> bytes:
        assert not self.closed
        if self.reset:
            raise ConnectionResetError
        if not self.said:
            if self.ended:
                return b""
            raise BlockingIOError
        data, self.said = self.said[:size], self.said[size:]
        self.close_was_read = self.closing and not self.said
        return data

    def send(self, data: bytes) -> int:
        assert not self.closed
        if self.reset:
            raise BrokenPipeError
        if self.stalled:
            raise BlockingIOError
        self.heard += data
        return len(data)

    def close(self) -> None:
        self.closed = True

    @property
    def news(self) -> int:
        news = READABLE if self.said or self.ended or self.reset else 0
        if self.ended or self.reset:
            news |= select.EPOLLRDHUP
        if self.reset:
            news |= BROKEN | select.EPOLLHUP
        return news if self.stalled else news | WRITABLE


class Poller:
    """Reports what the explorer lets happen, and what it was asked to report again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.owners: dict[int, Owner] = {}
        self.once_more: set[int] = set()

    def add(self, fileno: int, owner: Owner) -> None:
        self.owners[fileno] = owner

    def discard(self, fileno: int) -> None:
        del self.owners[fileno]
        self.once_more.discard(fileno)

    def rearm(self, fileno: int) -> None:
        assert fileno in self.owners
        self.once_more.add(fileno)

    def soon(self, do: Callable[[], object]) -> None:
        self._clock.call_soon(do)

    def defer(self, go: Callable[[], None], failed: Callable[[Exception], None]) -> None:
        self._clock.call_soon(go)

    defer_briefly = defer


class Wheel:
    """Knows whose reader may be standing still."""

    def __init__(self) -> None:
        self.full: set[Leg] = set()

    def add(self, splice: Splice) -> None: ...

    def discard(self, splice: Splice) -> None:
        self.full.clear()

    def watch(self, leg: Leg) -> None:
        self.full.add(leg)

    def unwatch(self, leg: Leg) -> None:
        self.full.discard(leg)


class Sent(NamedTuple):
    """What one side was sent, as frames."""

    closes: tuple[int, ...]
    sound: bool
    more_behind: bool
    """Bytes after a Close."""


def frame(side: str, opcode: int, payload: bytes) -> bytes:
    """A whole frame; the client's are masked, with a key of zeros."""
    masked = side == "client"
    return bytes((0x80 | opcode, masked << 7 | len(payload))) + (bytes(4) if masked else b"") + payload


@cache
def sent(data: bytes) -> Sent:
    """Reads what the relay wrote; a frame that is not whole is sound as far as it goes."""
    closes: list[int] = []
    at = 0
    while at + 2 <= len(data):
        if closes:
            return Sent(tuple(closes), True, True)
        opcode, masked, size = data[at] & 0xF, data[at + 1] >> 7, data[at + 1] & 0x7F
        if opcode not in (1, 2, 8, 9, 10) or size == 127:
            return Sent(tuple(closes), False, False)
        start = at + 2 + 4 * masked
        if size == 126:  # only a refusal of the gate is as long
            start, size = start + 2, int.from_bytes(data[at + 2 : at + 4])
        payload = data[start : start + size]
        if start > len(data) or len(payload) < size:
            break
        if opcode == 8:
            text = mask(payload, data[start - 4 : start]) if masked else payload
            closes.append(int.from_bytes(text[:2]) if size else NO_CODE)
        at = start + size
    return Sent(tuple(closes), True, bool(closes) and at < len(data))


class Call:
    """A call that began, and what happens to it. ``ended`` counts how often it said so; ``codes`` are its summary's."""

    def __init__(self, pairs: tuple[socket.socket, ...], allowed: frozenset[str]) -> None:
        self.clock = Clock()
        self.poller, self.wheel = Poller(self.clock), Wheel()
        self.sockets = dict(zip(CODES, map(Socket, pairs), strict=True))
        self.ended = 0
        self.codes: dict[str, int] = {}
        takens = [DetachedSocket(each, None, b"") for each in self.sockets.values()]  # type: ignore[arg-type]
        runtime = Runtime(self.poller, self.wheel, self.clock, Times(), Allowance())  # type: ignore[arg-type]
        share = Room(1 << 30).share("one")
        self.splice = Splice(*takens, Count(), Count(), Turns(), runtime, self._end, allowed, share)
        self.legs = {"client": self.splice.client, "upstream": self.splice.upstream}
        self.splice.start(b"", b"")
        self.poller.once_more.clear()

    def _end(self) -> None:
        self.ended += 1
        self.codes = {side: self.splice.side_of(leg).closed_with for side, leg in self.legs.items()}

    def may(self, event: str) -> bool:
        """Whether ``event`` can happen now."""
        side, _, what = event.rpartition(":")
        if not side:
            return {
                "time": any(not each.cancelled for *_, each in self.clock.timers),
                "cut": not self.ended,
                "beat": not (self.ended or self.splice.ending.ended_by),
            }.get(what, not self.ended)
        sock = self.sockets[side]
        if sock.closed:
            return False
        if what in ("stall", "read"):
            return sock.stalled is (what == "read")
        if what == "stands_still":
            return self.legs[side] in self.wheel.full
        if sock.ended or sock.reset:
            return False
        if what in ("eof", "reset"):
            return True
        if what == "rest":
            return sock.in_a_frame
        return not (sock.in_a_frame or sock.closing or sock.faulty)

    def happen(self, event: str) -> None:
        """Lets ``event`` happen, and all that follows from it before time passes."""
        side, _, what = event.rpartition(":")
        if side:
            self._said(side, what)
        elif what == "time":
            self.clock.move_on()
        elif what == "beat":
            self.splice.beat()
        elif what == "cut":
            self.splice.cut()
        else:
            self.splice.end(what)
        self._settle()

    def _said(self, side: str, what: str) -> None:
        sock, whole = self.sockets[side], frame(side, 2, bytes(40))
        if what == "text":
            sock.said += frame(side, 1, b"{}")
        elif what == "half":
            sock.said += whole[:20]
            sock.in_a_frame = True
        elif what == "rest":
            sock.said += whole[20:]
            sock.in_a_frame = False
        elif what == "close":
            sock.said += frame(side, 8, CODES[side].to_bytes(2))
            sock.closing = True
        elif what == "fault":
            sock.said += b"\xf3" + frame(side, 3, bytes(8))[1:]
            sock.faulty = True
        elif what == "eof":
            sock.ended = True
        elif what == "reset":
            sock.reset, sock.said = True, b""
        elif what in ("stall", "read"):
            sock.stalled = what == "stall"
        elif what == "stands_still":
            self.legs[side].stalled()
        if what not in ("stall", "stands_still"):
            self._report(sock)

    def _report(self, sock: Socket) -> None:
        owner = self.poller.owners.get(sock.fileno())
        if owner is not None and sock.news:
            owner.ready(sock.news)

    def _settle(self) -> None:
        for _ in range(EVENTS_UNTIL_THE_END):
            while self.clock.soon:
                do, arguments = self.clock.soon.popleft()
                do(*arguments)
            if not self.poller.once_more:
                return
            fileno = self.poller.once_more.pop()
            self._report(next(each for each in self.sockets.values() if each.fileno() == fileno))
        raise AssertionError("it spins")

    def let_time_pass(self) -> None:
        """Until the call has ended, or nothing is due any more."""
        for _ in range(EVENTS_UNTIL_THE_END):
            if self.ended or not self.may("time"):
                return
            self.happen("time")

    def state(self) -> tuple[object, ...]:
        """All that decides what may happen next, but for counters."""
        sides = tuple(
            (
                *(sock.said, sock.ended, sock.reset, sock.stalled, sock.closed, sock.in_a_frame, sock.closing),
                *(sock.faulty, sock.close_was_read, sock.fileno() in self.poller.owners, sent(sock.heard)),
                () if self.ended else _parts(self.legs[side], self.splice),
            )
            for side, sock in self.sockets.items()
        )
        if self.ended:
            return self.ended, sides, tuple(self.codes.items())
        patience = self.splice._patience
        left_s = max(0, min(60, patience._give_up_at - self.clock.now))
        moved = patience._timer is not None and patience.timeout(Wait.ANSWER)
        waits = (moved, round(left_s / 30), tuple(self.clock.due()))
        return self.ended, sides, _plain(self.splice.ending), waits

    def wrong(self) -> Iterator[str]:
        """What must never be, however the call got here."""
        for side, sock in self.sockets.items():
            told = sent(sock.heard)
            if not told.sound:
                yield f"the framing towards the {side} is broken"
            if len(told.closes) > 1:
                yield f"two Closes to the {side}"
            if told.more_behind:
                yield f"bytes behind the Close to the {side}"
            if self.ended and not sock.stalled:  # what waited for a reader counts as said to it
                on_the_wire = {*told.closes, *([CODES[side]] if sock.close_was_read else [])}
                if self.codes[side] not in (on_the_wire or {VANISHED}):
                    yield f"the summary has {self.codes[side]} for the {side}, on the wire was {on_the_wire or 'none'}"
        if self.ended > 1:
            yield "it ended twice"
        yield from (f"a leg raised {defect!r}" for defect in self.clock.defects)


def _parts(leg: Leg, splice: Splice) -> tuple[object, ...]:
    """All that one side of a call consists of."""
    reader, outbox = leg.inbound.reader, leg._outbox
    gate = getattr(reader, "_gate", None)
    parts = (leg, leg.socket, leg.inbound, reader, splice.side_of(leg), *([gate, gate._walker] if gate else []))
    waiting = outbox is not None and (outbox.control_waits or outbox.message)
    return tuple(map(_plain, (*parts, outbox) if waiting else parts))


def _plain(thing: object) -> tuple[object, ...]:
    """The values of its slots, as far as they are plain: flags, buffers, names of methods."""
    values = [getattr(thing, name, None) for name in _names(type(thing))]
    return tuple([value if type(value) in PLAIN else _value(value) for value in values])


@cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple(sorted({name for each in kind.__mro__ for name in getattr(each, "__slots__", ())} - COUNTERS))


def _value(value: object) -> object:
    if isinstance(value, Enum):
        return value._name_  # which has a faster hash
    if isinstance(value, tuple):
        return tuple([each if type(each) in PLAIN else _value(each) for each in value])
    if isinstance(value, Leg):
        return value.name
    return getattr(value, "__name__", type(value).__name__)


class Found(NamedTuple):
    """``states`` that were seen, how deep, and for each thing that is wrong the shortest ways to it."""

    states: int
    depth: int
    wrong: dict[str, list[Path]]


def explore(states: int, allowed: frozenset[str] = frozenset()) -> Found:
    """Walks the first ``states`` states of a call whose client may send what is ``allowed`` (none: anything)."""
    pairs = socket.socketpair()
    wrong: defaultdict[str, list[Path]] = defaultdict(list)

    def walked(path: Path) -> Call:
        call = Call(pairs, allowed)
        for event in path:
            call.happen(event)
        return call

    try:
        seen = {walked(()).state()}
        ways: deque[Path] = deque([()])
        path: Path = ()
        while ways and len(seen) < states:
            path = ways.popleft()
            call = walked(path)
            for number, event in enumerate(list(filter(call.may, EVENTS))):
                way = (*path, event)
                try:
                    if number:
                        call = walked(path)
                    call.happen(event)
                except Exception as problem:  # noqa: BLE001 - it is what is looked for
                    wrong[f"it raises {problem!r}"].append(way)
                    continue
                if (state := call.state()) in seen:
                    continue
                seen.add(state)
                if not call.ended:
                    ways.append(way)
                for each in call.wrong():
                    wrong[each].append(way)
                if call.splice.ending.ended_by and not call.ended:
                    call.let_time_pass()
                    for each in call.wrong() if call.ended else ("it never ends",):
                        wrong[each].append((*way, "..."))
    finally:
        for each in pairs:
            each.close()
    return Found(len(seen), len(path) + 1, {what: sorted(paths, key=len)[:3] for what, paths in wrong.items()})
