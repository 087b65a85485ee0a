"""A call's place in a distributed trace: W3C Trace Context, from the client's handshake to the model's.

Without telemetry the relay takes no part in a trace and passes a sound context on as it came (W3C, section 3.2).
With it, `telemetry` puts a span in between.
"""

import re
from collections.abc import Mapping

from aiohttp import web

from rtproxy.log import Field
from rtproxy.model.turns import Turns

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
STATE_LIMIT = 512
"""Characters of a tracestate that everybody has to pass on; a longer one is dropped whole."""
_PARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{0,64})?")


def context_of(request: web.Request) -> dict[str, str]:
    """The headers of a sound trace context, all that a client may say to the model; empty for a malformed one."""
    parents = request.headers.getall(TRACEPARENT, [])
    found = _PARENT.fullmatch(parents[0].strip()) if len(parents) == 1 else None
    if found is None or (found[1] == "00" and found[2] is not None):
        return {}
    state = ",".join(request.headers.getall(TRACESTATE, [])).strip()
    sound = 0 < len(state) <= STATE_LIMIT and state.isascii() and state.isprintable()
    return {TRACEPARENT: found[0]} | ({TRACESTATE: state} if sound else {})


class Trace:
    """What a call tells about itself while it lives. This one tells nobody: the form of it without telemetry.

    ``headers`` go out with the dial. One of `end` and `fail` is called, once, and nothing after it.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers = headers

    def follow(self, session: str, client: str, turns: Turns) -> None:
        """Says whose call it is, and tells of its turns too."""

    def event(self, name: str, **fields: Field) -> None:
        """Something of the list of log events happened to the call."""

    def fail(self, status: int, code: str) -> None:
        """The call was answered with a refusal after all."""

    def end(self, fields: Mapping[str, Field]) -> None:
        """The call is over; ``fields`` are those of its summary record."""


def untraced(request: web.Request) -> Trace:
    """The trace of a call when it gets no span of ours."""
    return Trace(context_of(request))
