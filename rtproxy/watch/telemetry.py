"""OpenTelemetry over OTLP: one span for each call, and the metrics of /metrics. Imported only when an endpoint is set.

The SDK reads the standard OTEL_* variables itself. No call waits for it: an ended span goes into a bounded queue, which
a thread of the SDK sends; metrics are added up when another thread of the SDK asks for them.
"""

import asyncio
import contextlib
import logging
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial

from aiohttp import web
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from prometheus_client.core import Metric

from rtproxy import __version__
from rtproxy.call.trace import Trace, untraced
from rtproxy.settings import Settings, not_taken
from rtproxy.watch.callspan import SpanOf
from rtproxy.watch.metrics import Metrics

FLUSH_S = 2.0
"""How long a collector that does not answer may delay the exit after a drain; the template allows 5 s from there to
SIGKILL."""
COLLECT_S = 5.0
"""How long the SDK's thread waits for metrics, which the loop adds up between two frames."""
SAME_COLLECTION_S = 0.1
"""The SDK asks for each instrument separately. Metrics of this age belong to the same collection."""
LOG_EVERY_S = 3600.0


@contextlib.asynccontextmanager
async def exporting(settings: Settings, metrics: Metrics) -> AsyncIterator[Callable[[web.Request], Trace]]:
    """Exports what ``settings.telemetry`` names; yields a function that opens the trace of a call.

    Raises SettingsError when the SDK refuses an OTEL_* variable. On exit it takes FLUSH_S at most.
    """
    _limit_sdk_log()
    try:
        resource = _resource(settings)
        tracers = _tracers(resource) if "traces" in settings.telemetry else None
        meters = _meters(resource) if "metrics" in settings.telemetry else None
    except Exception as problem:  # each variable can fail in its own way
        raise not_taken(problem) from problem
    if meters is not None:
        await _Figures(metrics).report(meters.get_meter("rtproxy", __version__))
    try:
        yield untraced if tracers is None else SpanOf(tracers.get_tracer("rtproxy", __version__), settings)
    finally:
        await _shut_down([each.shutdown for each in (tracers, meters) if each is not None])


def _resource(settings: Settings) -> Resource:
    own = {
        "service.name": "rtproxy",
        "service.version": __version__,
        "service.instance.id": settings.replica,
        "rtproxy.app": settings.app or "",
        "rtproxy.revision": settings.revision,
    }
    # The environment has precedence: OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES.
    return Resource.create(own).merge(OTELResourceDetector().detect())


def _tracers(resource: Resource) -> TracerProvider:
    tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return tracers


def _meters(resource: Resource) -> MeterProvider:
    reader = PeriodicExportingMetricReader(OTLPMetricExporter())
    return MeterProvider([reader], resource=resource, shutdown_on_exit=False)


async def _shut_down(shutdowns: list[Callable[[], None]]) -> None:
    """Sends what is left, in threads that are abandoned when they take too long: the SDK itself would wait for 30 s."""
    loop = asyncio.get_running_loop()
    waiting = {shutdown: loop.create_future() for shutdown in shutdowns}

    def shut(shutdown: Callable[[], None]) -> None:
        try:
            shutdown()
        except Exception:  # noqa: BLE001 - the relay must end in order, whatever the SDK raises
            logging.getLogger("opentelemetry.rtproxy").warning("the last figures were not sent")
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            loop.call_soon_threadsafe(waiting[shutdown].set_result, None)

    for shutdown in shutdowns:
        threading.Thread(target=shut, args=(shutdown,), daemon=True).start()
    await asyncio.wait(waiting.values(), timeout=FLUSH_S)


class _Figures:
    """The families of /metrics as OpenTelemetry instruments, read on the loop that owns the sessions."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._read_at = -SAME_COLLECTION_S
        self._families: dict[str, Metric] = {}

    async def report(self, meter: Meter) -> None:
        """Makes an instrument for each family: rtproxy_frames is named rtproxy.frames here."""
        for family in await self._metrics.families():
            create = meter.create_observable_counter if family.type == "counter" else meter.create_observable_gauge
            unit = "By" if family.name == "rtproxy_bytes" else ""
            name = family.name.replace("_", ".", 1)
            create(name, [partial(self._observe, family.name)], unit=unit, description=family.documentation)

    def _observe(self, name: str, options: CallbackOptions) -> Iterator[Observation]:
        future = asyncio.run_coroutine_threadsafe(self._family(name), self._loop)
        for sample in future.result(COLLECT_S).samples:
            yield Observation(sample.value, sample.labels)

    async def _family(self, name: str) -> Metric:
        now = self._loop.time()
        if now - self._read_at >= SAME_COLLECTION_S:
            self._families = {family.name: family for family in await self._metrics.families()}
            self._read_at = now
        return self._families[name]


def _limit_sdk_log() -> None:
    """Limits the SDK to one log line an hour, without a traceback, while a collector is down."""
    logger = logging.getLogger("opentelemetry")
    logger.propagate = False
    logger.addHandler(_HourlyHandler())


class _HourlyHandler(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self._silent_until = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        if time.monotonic() < self._silent_until:
            return
        self._silent_until = time.monotonic() + LOG_EVERY_S
        # The SDK quotes the value of a malformed header, which may be a key.
        text = "OTEL_EXPORTER_OTLP_HEADERS is malformed" if record.name.endswith("util.re") else record.getMessage()
        print(f"rtproxy: telemetry: {text}", file=sys.stderr, flush=True)  # noqa: T201
