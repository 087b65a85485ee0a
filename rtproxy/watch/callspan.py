"""One span for each call, from its admission to its end. Nothing here runs per frame; a turn has about four events.

A span keeps its latest 128 events (OTEL_SPAN_EVENT_COUNT_LIMIT). What a long call would lose is in attributes, too.
"""

import time
from collections.abc import Mapping

from aiohttp import web
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from rtproxy.call.ending import VANISHED
from rtproxy.call.trace import Trace, context_of
from rtproxy.log import Field
from rtproxy.model.turns import Turns
from rtproxy.settings import Settings
from rtproxy.upgrade import path_of

_CONTEXT = TraceContextTextMapPropagator()
_FAILURES = ("error", "heartbeat", "limit")
_NAMES = {
    "tokens_in": "gen_ai.usage.input_tokens",
    "tokens_out": "gen_ai.usage.output_tokens",
    "upstream_session": "gen_ai.conversation.id",
}
_NOT_EXPORTED = frozenset(
    (
        "session.updated",
        "transcription_session.updated",
        "input_audio_buffer.committed",
        "input_audio_buffer.cleared",
        *(f"conversation.item.{what}" for what in ("added", "created", "deleted", "retrieved", "truncated")),
    )
)
"""Events that change a turn and would only fill the span: another event has the same information, or nobody needs
it.
"""
# Names of a semantic convention; every other field is rtproxy.FIELD, with its name in the log.


class SpanOf:
    """Opens the span of an admitted call. A refusal is only counted, so that unknown clients cause no spans."""

    def __init__(self, tracer: Tracer, settings: Settings) -> None:
        self._tracer = tracer
        self._attributes_of_all = {
            "http.request.method": "GET",
            "gen_ai.provider.name": "azure.ai.openai",
            "gen_ai.request.model": settings.deployment,
            "rtproxy.revision": settings.revision,
            "rtproxy.replica": settings.replica,
        }

    def __call__(self, request: web.Request) -> Trace:
        parent = _CONTEXT.extract(context_of(request))
        attributes = {**self._attributes_of_all, "http.route": path_of(request)}
        return CallSpan(self._tracer.start_span("call", parent, SpanKind.SERVER, attributes))


class CallSpan(Trace):
    """The span of one call. Its ``headers`` make it the parent of the model's spans."""

    def __init__(self, span: Span) -> None:
        headers: dict[str, str] = {}
        _CONTEXT.inject(headers, set_span_in_context(span))
        super().__init__(headers)
        self._span = span
        self._started = time.monotonic()
        self._turns = Turns()
        self._tokens = (0, 0)

    def follow(self, session: str, client: str, turns: Turns) -> None:
        self._span.set_attributes({"rtproxy.session": session, "rtproxy.client": client})
        if self._span.is_recording():
            self._turns = turns
            turns.on_event = self._add_first_event

    def event(self, name: str, **fields: Field) -> None:
        attributes = _attributes(fields)
        self._span.add_event(name, attributes)
        self._span.set_attributes(attributes)
        if name == "client.connected":
            self._span.set_attribute("http.response.status_code", 101)

    def fail(self, status: int, code: str) -> None:
        self._span.set_attribute("http.response.status_code", status)
        self._close(error=code)

    def end(self, fields: Mapping[str, Field]) -> None:
        self._span.set_attributes(_attributes(fields))
        ended_by = str(fields["ended_by"])
        vanished = ended_by == "upstream" and fields["upstream_code"] == VANISHED
        self._close(error="upstream.vanished" if vanished else ended_by if ended_by in _FAILURES else None)

    def _close(self, error: str | None) -> None:
        if error is not None:
            self._span.set_attribute("error.type", error)
            self._span.set_status(StatusCode.ERROR, error)
        self._turns.on_event = None
        self._span.end()

    def _add_first_event(self, kind: str) -> None:
        """The model's first frame is ``session.created``, or an error instead of it."""
        self.event("first_frame", first_frame_ms=round((time.monotonic() - self._started) * 1000, 1))
        self._turns.on_event = self._add_turn_event
        self._add_turn_event(kind)

    def _add_turn_event(self, kind: str) -> None:
        if kind in _NOT_EXPORTED:
            return
        usage, fields = self._turns.usage, dict[str, Field]()
        if kind == "response.done":
            fields = {"tokens_in": usage.tokens_in - self._tokens[0], "tokens_out": usage.tokens_out - self._tokens[1]}
            self._tokens = (usage.tokens_in, usage.tokens_out)
        elif kind == "error":
            fields = {"upstream_error": self._turns.error_code}
        self._span.add_event(kind, _attributes(fields))


def _attributes(fields: Mapping[str, Field]) -> dict[str, str | int | float | bool]:
    return {_NAMES.get(name, f"rtproxy.{name}"): value for name, value in fields.items() if value is not None}
