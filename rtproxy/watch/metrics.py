"""Prometheus exposition, added up from the live sessions when it is requested. Labels come from closed lists.

Anybody may request it, so it is added up once in FRESH_S at most, in slices between which calls go on.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rtproxy.call.ending import ENDINGS
from rtproxy.call.roster import Roster
from rtproxy.call.session import Session
from rtproxy.log import Log
from rtproxy.model.turns import QUIET, STATES
from rtproxy.model.upstream import FAILURE_CAUSES

FRESH_S = 1.0
"""The greatest age of an answer."""
FEW = 50
"""Up to this number of calls, their turns are counted at once, in a tenth of the time of a probe."""
_BY_DIRECTION = {
    "frames": ("Frames passed on, by direction.", "direction", ("up", "down")),
    "bytes": ("Bytes passed on, by direction.", "direction", ("up", "down")),
    "tokens": ("Tokens the model reported, by direction.", "direction", ("in", "out")),
}


class Sum(NamedTuple):
    """The counters of all calls of this replica, ended ones too, by their names; the live calls by turn."""

    totals: Counter[str]
    states: Counter[str]


class Metrics:
    """The metrics of one replica. Nothing is counted twice, and nothing per frame."""

    def __init__(self, roster: Roster, draining: Callable[[], bool], log: Log) -> None:
        self._roster = roster
        self._draining = draining
        self._log = log
        self._adding_up: asyncio.Task[Sum] | None = None
        self._fresh_until = 0.0
        # Most calls are silent most of the time: their counters of the last time are still right.
        self._counted: dict[str, tuple[int, dict[str, int]]] = {}
        self._text: tuple[Sum | None, bytes] = None, b""

    async def exposition(self) -> bytes:
        """The text format, at most FRESH_S old."""
        added_up = await self._sum()
        if self._text[0] is not added_up:
            self._text = added_up, generate_latest(_Collected(self._families(added_up)))
        return self._text[1]

    async def quiet(self) -> int:
        """The number of calls between two turns: current for up to FEW calls, else at most FRESH_S old."""
        if len(self._roster) <= FEW:
            return self._roster.quiet
        return min((await self._sum()).states[QUIET], len(self._roster))

    async def families(self) -> Sequence[Metric]:
        """The current metrics as prometheus-client's families, for a caller with an interval of its own."""
        return self._families(await self._add_up())

    async def _sum(self) -> Sum:
        now = time.monotonic()
        if self._adding_up is None or (self._adding_up.done() and now >= self._fresh_until):
            self._adding_up = asyncio.create_task(self._add_up())
            self._fresh_until = now + FRESH_S
        # The first request may be cancelled while others wait for the same sum.
        return await asyncio.shield(self._adding_up)

    async def _add_up(self) -> Sum:
        # Taken now: a call that ends meanwhile is counted as a live one, and not as an ended one.
        totals, states = self._roster.ended.copy(), Counter[str]()
        before, self._counted = self._counted, {}

        def add(session: Session) -> None:
            states[session.turns.state] += 1
            moved, counts = session.progress, before.get(session.id)
            if counts is None or counts[0] != moved:
                counts = moved, {name: count for name, count in session.counts().items() if count}
            self._counted[session.id] = counts
            for name, count in counts[1].items():
                totals[name] += count

        await self._roster.for_each(add)
        return Sum(totals, states)

    def _families(self, added_up: Sum) -> Sequence[Metric]:
        roster, totals = self._roster, added_up.totals
        sessions = GaugeMetricFamily("rtproxy_sessions", "Live sessions, by turn.", labels=["turn"])
        for state in STATES:
            sessions.add_metric([state], added_up.states[state])
        draining = GaugeMetricFamily("rtproxy_draining", "1 from SIGTERM on.", value=int(self._draining()))
        # An established call has no task: if this number grows with the calls, tasks are not ended.
        tasks = GaugeMetricFamily("rtproxy_tasks", "Tasks of the event loop.", value=len(asyncio.all_tasks()))
        responses = CounterMetricFamily("rtproxy_responses", "Responses the model finished.", value=totals["responses"])
        moved = []
        for name, (text, label, values) in _BY_DIRECTION.items():
            moved.append(CounterMetricFamily(f"rtproxy_{name}", text, labels=[label]))
            for value in values:
                moved[-1].add_metric([value], totals[f"{name}_{value}"])
        events = CounterMetricFamily(
            "rtproxy_events_refused", "Client events that the gate did not let pass.", value=totals["events_refused"]
        )
        endings = CounterMetricFamily(
            "rtproxy_sessions_ended", "Ended sessions, by who ended them.", labels=["ended_by"]
        )
        for ended_by in sorted({ending.ended_by for ending in ENDINGS.values()}):
            endings.add_metric([ended_by], roster.endings[ended_by])
        refusals = CounterMetricFamily("rtproxy_refusals", "Calls not let in.", labels=["status", "code"])
        for (status, code), count in roster.refusals.items():
            refusals.add_metric([str(status), code], count)
        failures = CounterMetricFamily("rtproxy_dial_failures", "Calls the model did not take.", labels=["cause"])
        for cause in FAILURE_CAUSES:
            failures.add_metric([cause], roster.dial_failures[cause])
        lost = CounterMetricFamily(
            "rtproxy_log_lines_lost", "Log lines that nobody read in time.", value=self._log.lost
        )
        return (sessions, draining, tasks, responses, *moved, events, endings, refusals, failures, lost)


class _Collected(Collector):
    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Sequence[Metric]:
        return self._families
