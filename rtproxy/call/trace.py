"""A call's place in a distributed trace: W3C Trace Context, from the client's handshake to the model's.

Without telemetry the relay takes no part in a trace, and passes a valid context on unchanged (W3C, section 3.2). With
telemetry, `telemetry` adds a span in between.
"""

import re
from collections.abc import Mapping

from aiohttp import web

from rtproxy.log import Field
from rtproxy.model.turns import Turns

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
STATE_LIMIT = 512
"""Every system must pass on a tracestate of this many characters; a longer one is dropped whole."""
_PARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{0,64})?")


def context_of(request: web.Request) -> dict[str, str]:
    """The headers of a valid trace context; empty for a malformed one."""
    parents = request.headers.getall(TRACEPARENT, [])
    match = _PARENT.fullmatch(parents[0].strip()) if len(parents) == 1 else None
    if match is None or (match[1] == "00" and match[2] is not None):
        return {}
    state = ",".join(request.headers.getall(TRACESTATE, [])).strip()
    valid = 0 < len(state) <= STATE_LIMIT and state.isascii() and state.isprintable()
    return {TRACEPARENT: match[0]} | ({TRACESTATE: state} if valid else {})


class Trace:
    """Receives what happens to a call. This class does nothing: it is used without telemetry.

    ``headers`` are sent with the dial. Either `end` or `fail` is called, once, and nothing after it.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers = headers

    def follow(self, session: str, client: str, turns: Turns) -> None:
        """Sets the session and its client, and follows its turns."""

    def event(self, name: str, **fields: Field) -> None:
        """One of the log events happened to the call."""

    def fail(self, status: int, code: str) -> None:
        """The call was refused after its admission."""

    def end(self, fields: Mapping[str, Field]) -> None:
        """The call is over; ``fields`` are those of its summary record."""


def untraced(request: web.Request) -> Trace:
    """The trace of a call for which the relay makes no span."""
    return Trace(context_of(request))
