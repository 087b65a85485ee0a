"""Prometheus exposition, added up from the live sessions when somebody scrapes. Labels come from closed lists."""

import asyncio
from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from rtproxy.admission import Admission, Door
from rtproxy.closing import ENDINGS
from rtproxy.events import Log
from rtproxy.live import Live
from rtproxy.turns import STATES
from rtproxy.upstream import FAILURE_CAUSES

_BY_DIRECTION = {
    "frames": ("Frames passed on, by direction.", "direction", ("up", "down")),
    "bytes": ("Bytes passed on, by direction.", "direction", ("up", "down")),
    "tokens": ("Tokens the model reported, by direction.", "direction", ("in", "out")),
}


class Metrics:
    """A collector for one replica; nothing is counted twice and nothing per frame."""

    def __init__(self, live: Live, admission: Admission, log: Log) -> None:
        self._live = live
        self._admission = admission
        self._log = log
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def exposition(self) -> bytes:
        """The text format, as of now."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Called by prometheus-client for each scrape, in the loop."""
        live = self._live
        states = Counter(session.turns.state for session in live.sessions)
        totals = live.ended.copy()
        for session in live.sessions:
            totals.update(session.counts())
        sessions = GaugeMetricFamily("rtproxy_sessions", "Live sessions, by turn.", labels=["turn"])
        for state in STATES:
            sessions.add_metric([state], states[state])
        yield sessions
        draining = self._admission.door is not Door.OPEN
        yield GaugeMetricFamily("rtproxy_draining", "1 from SIGTERM on.", value=int(draining))
        # A call that stands has none: what grows here with the calls is left behind.
        yield GaugeMetricFamily("rtproxy_tasks", "Tasks of the event loop.", value=len(asyncio.all_tasks()))
        yield CounterMetricFamily("rtproxy_responses", "Responses the model finished.", value=totals["responses"])
        for name, (text, label, values) in _BY_DIRECTION.items():
            family = CounterMetricFamily(f"rtproxy_{name}", text, labels=[label])
            for value in values:
                family.add_metric([value], totals[f"{name}_{value}"])
            yield family
        yield CounterMetricFamily(
            "rtproxy_events_refused", "Client events that the gate did not let pass.", value=totals["events_refused"]
        )
        endings = CounterMetricFamily(
            "rtproxy_sessions_ended", "Ended sessions, by who ended them.", labels=["ended_by"]
        )
        for ended_by in sorted({ending.ended_by for ending in ENDINGS.values()}):
            endings.add_metric([ended_by], live.endings[ended_by])
        yield endings
        refusals = CounterMetricFamily("rtproxy_refusals", "Calls not let in.", labels=["status", "code"])
        for (status, code), count in live.refusals.items():
            refusals.add_metric([str(status), code], count)
        yield refusals
        failures = CounterMetricFamily("rtproxy_dial_failures", "Calls the model did not take.", labels=["cause"])
        for cause in FAILURE_CAUSES:
            failures.add_metric([cause], live.dial_failures[cause])
        yield failures
        yield CounterMetricFamily("rtproxy_log_lines_lost", "Log lines that nobody read in time.", value=self._log.lost)
