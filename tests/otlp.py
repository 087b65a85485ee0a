"""An OTLP receiver on loopback, as a platform's agent is one: gRPC, traces and metrics, kept for whoever asks."""

import asyncio
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Self

# Read at import. We fork to exec, and gRPC's care for forks that go on crashes some of those before the exec.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

import grpc  # type: ignore[import-untyped]
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan


class Span(NamedTuple):
    """A span as it came: identifiers in hex, ``events`` with their attributes, in the order they happened."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    state: str
    attributes: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]
    error: str | None
    duration_s: float
    resource: dict[str, Any]


Series = dict[tuple[str, frozenset[tuple[str, str]]], float]
"""The latest value of each series, by name and attributes."""


class Collector:
    """The receiver: ``spans`` and ``series`` grow as exports come. ``headers`` are those of the last export."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.series: Series = {}
        self.resource: dict[str, Any] = {}
        self.headers: dict[str, str] = {}
        self.port = 0
        self._pool = ThreadPoolExecutor(4)
        self._server = grpc.server(self._pool)
        self._news = asyncio.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        for service, export, request in (
            ("trace.v1.TraceService", self._traces, ExportTraceServiceRequest),
            ("metrics.v1.MetricsService", self._metrics, ExportMetricsServiceRequest),
        ):
            method = grpc.unary_unary_rpc_method_handler(
                export, request_deserializer=request.FromString, response_serializer=_serialized
            )
            name = f"opentelemetry.proto.collector.{service}"
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"Export": method}),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.to_thread(self._server.stop(0).wait)
        self._pool.shutdown(wait=False)

    async def span(self, **attributes: object) -> Span:
        """Waits for the first span that has these rtproxy.* attributes."""
        wanted = {f"rtproxy.{name}": value for name, value in attributes.items()}.items()

        def found() -> list[Span]:
            return [span for span in self.spans if wanted <= span.attributes.items()]

        async with self._news:
            await self._news.wait_for(found)
        return found()[0]

    async def value(self, wanted: float, name: str, **attributes: str) -> None:
        """Waits until a series has a value."""
        key = (name, frozenset(attributes.items()))
        async with self._news:
            await self._news.wait_for(lambda: self.series.get(key) == wanted)

    # What the server calls, in threads of its own.

    def _traces(self, request: ExportTraceServiceRequest, context: Any) -> ExportTraceServiceResponse:
        for of_resource in request.resource_spans:
            resource = _plain(of_resource.resource.attributes)
            spans = [_span(span, resource) for scope in of_resource.scope_spans for span in scope.spans]
            self._came(context, resource, spans=spans)
        return ExportTraceServiceResponse()

    def _metrics(self, request: ExportMetricsServiceRequest, context: Any) -> ExportMetricsServiceResponse:
        for of_resource in request.resource_metrics:
            series: Series = {}
            for metric in (metric for scope in of_resource.scope_metrics for metric in scope.metrics):
                for point in (metric.sum if metric.HasField("sum") else metric.gauge).data_points:
                    value = point.as_double if point.HasField("as_double") else point.as_int
                    series[metric.name, frozenset(_plain(point.attributes).items())] = value
            self._came(context, _plain(of_resource.resource.attributes), series=series)
        return ExportMetricsServiceResponse()

    def _came(self, context: Any, resource: dict[str, Any], **what: Any) -> None:
        headers = {entry.key: entry.value for entry in context.invocation_metadata()}
        asyncio.run_coroutine_threadsafe(self._keep(headers, resource, **what), self._loop).result()

    async def _keep(
        self,
        headers: dict[str, str],
        resource: dict[str, Any],
        spans: Sequence[Span] = (),
        series: Series | None = None,
    ) -> None:
        async with self._news:
            self.spans += spans
            self.series |= series or {}
            self.resource, self.headers = resource, headers
            self._news.notify_all()


def _serialized(message: ExportTraceServiceResponse | ExportMetricsServiceResponse) -> bytes:
    return bytes(message.SerializeToString())


def _span(span: ProtoSpan, resource: dict[str, Any]) -> Span:
    return Span(
        name=span.name,
        kind=ProtoSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        state=span.trace_state,
        attributes=_plain(span.attributes),
        events=[(event.name, _plain(event.attributes)) for event in span.events],
        error=span.status.message if span.status.code == span.status.STATUS_CODE_ERROR else None,
        duration_s=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        resource=resource,
    )


def _plain(attributes: Iterable[KeyValue]) -> dict[str, Any]:
    return {each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in attributes}
