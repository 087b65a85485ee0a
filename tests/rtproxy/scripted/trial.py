"""Many scripts at once through one relay process that gets SIGTERM, and what there is to say of each call then."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

from stage.rawpeer import RawServer, connect
from stage.replica import Replica
from tests.conftest import KEY, settings_for
from tests.rtproxy.scripted.call import Call
from tests.rtproxy.scripted.caller import ScriptedCaller
from tests.rtproxy.scripted.model import ScriptedModel
from tests.rtproxy.scripted.script import Script
from tests.rtproxy.scripted.wire import Line
from tests.standstill import standstill

CROSSED_S = 0.1
"""An event in pieces: its first ones may pass the relay before it decides, its last ones behind that."""
PROMPT_S = 1.0
"""In how much time a call ends whose time has come; what the machine takes is added."""


class Window(NamedTuple):
    """The parts of a drain, as `rtproxy.drain` documents them, in seconds after SIGTERM."""

    spread_s: float
    late_s: float

    @classmethod
    def of(cls, seconds: float) -> "Window":
        late_s = seconds - min(2.0, seconds * 0.2)
        closing_s = late_s - min(3.0, seconds * 0.25)
        return cls(late_s - min(15.0, closing_s * 0.3), late_s)


class Drained(NamedTuple):
    """What became of a call; ``faults`` are empty where all is well."""

    script: Script
    faults: list[str]
    closed_s: float
    """When its caller got the Close, after SIGTERM."""
    turn: str
    """As the relay's summary has it."""
    history: list[str]

    def __str__(self) -> str:
        head = f"{' / '.join(self.faults)}; closed {self.closed_s:.3f} s after SIGTERM, {self.turn}"
        return "\n".join((head, f"  {self.script!r}", *(f"    {line}" for line in self.history[-120:])))


class Played:
    """One call, from its two ends."""

    def __init__(self, script: Script, client: Line, model: Line, session: str) -> None:
        self.script, self.session = script, session
        self._call = Call(script)
        self._caller = ScriptedCaller(self._call, client)
        self._model = ScriptedModel(self._call, model)
        self._broken: BaseException | None = None

    @property
    def greeted(self) -> asyncio.Event:
        """That the caller has heard of its session: on a busy machine that takes a second."""
        return self._caller.greeted

    async def play(self) -> None:
        """Until both have got their Close; then nothing counts any more."""
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._caller.run())
                both.create_task(self._model.run())
        except* Exception as broken:  # noqa: BLE001 - what it was is said of this call, and the others go on
            self._broken = broken
        self._call.ledger.freeze()
        for party in (self._caller, self._model):
            await party.line.peer.closed()

    def judged(
        self, sigterm: float, started: float, window: Window, lost_s: float, summaries: list[dict[str, Any]]
    ) -> Drained:
        """By what both of its parties know; ``summaries`` are the relay's connection.closed, all of them.

        The drain began after ``sigterm`` and before ``started``.
        """
        mine = [each for each in summaries if each["session"] == self.session]
        turn = mine[0]["turn"] if mine else "unknown"
        faults = self._faults(sigterm, started, window, lost_s, mine)
        return Drained(self.script, faults, self._caller.closed_at - sigterm, turn, self._call.ledger.history)

    def _faults(
        self, sigterm: float, started: float, window: Window, lost_s: float, closed: list[dict[str, Any]]
    ) -> list[str]:
        ledger, end = self._call.ledger, self._caller.closed_with
        if self._broken is not None or end is None:
            return [f"no Close came: {_first(self._broken)!r}"]
        if end.code != 1012 or self._model.closed_with is None or self._model.closed_with.code != 1001:
            return [f"closed with {end.code}, {self._model.closed_with}"]
        if len(closed) != 1:
            return [f"{len(closed)} summaries"]
        (summary,) = closed
        closed_s = self._caller.closed_at - sigterm
        found = []
        owed = {f"{ledger.debts[name].owner}'s {ledger.debts[name].kind}" for name in ledger.sure}
        kinds = " and ".join(sorted(owed))
        crossed = self._crossed(ledger.owed_since)
        if closed_s < 0:
            found.append("closed before SIGTERM")
        if owed and closed_s < window.late_s - 0.05 and not crossed:
            found.append(f"cut while owed: {kinds}")
        for since, until in ledger.clear:
            # A turn that ends after SIGTERM ends its call; a call that was quiet waits for its place in the spread.
            due = since if since > started else started + window.spread_s
            if min(until, self._caller.closed_at) > due + PROMPT_S + lost_s:
                found.append("kept though nothing was owed")
                break
        if self._model.said_at < self._caller.closed_at - CROSSED_S and not crossed:
            if owed and summary["turn"] == "quiet":
                found.append(f"called quiet while owed: {kinds}")
            if not ledger.debts and summary["turn"] != "quiet":
                found.append(f"called {summary['turn']} though nothing was owed")
        return found

    def _crossed(self, since: float | None) -> bool:
        """Whether the debt may have begun with an event that the relay did not have whole when it decided."""
        cut_at = max(self._caller.line.cut_at, self._model.line.cut_at)
        earliest = self._caller.closed_at - CROSSED_S
        return since is not None and since > earliest and cut_at > earliest


def _first(broken: BaseException | None) -> BaseException | None:
    while isinstance(broken, BaseExceptionGroup):
        broken = broken.exceptions[0]
    return broken


async def drained(scripts: list[Script], window_s: int, after_s: float, **settings: str) -> list[Drained]:
    """Plays them all through one relay, which gets SIGTERM ``after_s`` seconds after the last one was greeted."""
    async with RawServer() as upstream, _replica(upstream.port, window_s, settings) as replica:
        calls = [await _dialed(upstream, replica, script) for script in scripts]
        with standstill() as machine:
            playing = [asyncio.create_task(call.play()) for call in calls]
            for call, each in zip(calls, playing, strict=True):
                greeted = asyncio.create_task(call.greeted.wait())
                await asyncio.wait((greeted, each), return_when=asyncio.FIRST_COMPLETED)
                greeted.cancel()
            await asyncio.sleep(after_s)
            sigterm = time.monotonic()
            replica.signal(signal.SIGTERM)
            await replica.event("drain.started")
            started = time.monotonic()
            await asyncio.wait(playing, timeout=window_s + 10)
            code = await replica.exited() if all(each.done() for each in playing) else None
        for each in playing:
            each.cancel()
        await asyncio.gather(*playing, return_exceptions=True)
        assert code == 0, (code, replica.stderr)
        summaries = [event for event in replica.events if event["event"] == "connection.closed"]
        window = Window.of(window_s)
        return [call.judged(sigterm, started, window, machine.lost_s, summaries) for call in calls]


@contextlib.asynccontextmanager
async def _replica(port: int, window_s: int, settings: Mapping[str, str]) -> AsyncIterator[Replica]:
    replica = await Replica.start(settings_for(port, RTPROXY_DRAIN_SECONDS=str(window_s), **settings))
    try:
        yield replica
    finally:
        await replica.kill()


async def _dialed(upstream: RawServer, replica: Replica, script: Script) -> Played:
    connecting = asyncio.create_task(connect(replica.port, headers={"api-key": KEY}))
    model = await upstream.request()
    await model.answer()
    client = await connecting
    assert client.status == 101
    session = client.headers["x-rtproxy-session"]
    return Played(script, Line(client, script.noise), Line(model, script.noise + 1), session)
