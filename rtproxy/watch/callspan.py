"""One span a call, from its admission to its end. Nothing here runs per frame: a turn has about four events.

A span keeps its latest 128 events (OTEL_SPAN_EVENT_COUNT_LIMIT); what a long call's would lose stands in attributes.
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
_UNTOLD = frozenset(
    (
        "session.updated",
        "transcription_session.updated",
        "input_audio_buffer.committed",
        "input_audio_buffer.cleared",
        *(f"conversation.item.{what}" for what in ("added", "created", "deleted", "retrieved", "truncated")),
    )
)
"""Events that move a turn and would only fill the span: another one tells the same, or nobody asks."""
# Where a semantic convention has a name; any other field is rtproxy.FIELD, the word of the log.


class SpanOf:
    """Opens the span of a call that was let in; a refusal is a figure only, so that no stranger makes us write."""

    def __init__(self, tracer: Tracer, settings: Settings) -> None:
        self._tracer = tracer
        self._about = {
            "http.request.method": "GET",
            "gen_ai.provider.name": "azure.ai.openai",
            "gen_ai.request.model": settings.deployment,
            "rtproxy.revision": settings.revision,
            "rtproxy.replica": settings.replica,
        }

    def __call__(self, request: web.Request) -> Trace:
        parent = _CONTEXT.extract(context_of(request))
        about = {**self._about, "http.route": path_of(request)}
        return CallSpan(self._tracer.start_span("call", parent, SpanKind.SERVER, about))


class CallSpan(Trace):
    """The span of one call; ``headers`` make it the parent of what the model does."""

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
            turns.on_event = self._first

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

    def _first(self, kind: str) -> None:
        """The model's first frame is ``session.created``, or the error in its place."""
        self.event("first_frame", first_frame_ms=round((time.monotonic() - self._started) * 1000, 1))
        self._turns.on_event = self._heard
        self._heard(kind)

    def _heard(self, kind: str) -> None:
        if kind in _UNTOLD:
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
