"""The two dialects of the protocol: GA, which the model speaks, and preview (beta).

A dialect turns a client's event into GA, and a GA event into what its client expects; None is an
event that dialect does not have. Fields of the other dialect are refused, as the service does.
"""

from collections.abc import Callable
from dataclasses import dataclass

from stage.gpt import preview
from stage.gpt.shapes import Event, Rejected, missing, require, unsupported


@dataclass(frozen=True)
class Dialect:
    name: str
    incoming: Callable[[Event], Event]
    outgoing: Callable[[Event], Event | None]


_SESSION_TYPES = ("realtime", "transcription")


def _ga_incoming(event: Event) -> Event:
    if event.get("type") == "session.update":
        session = require(event, "session", dict)
        if "type" not in session:
            raise missing("session.type")
        if session["type"] not in _SESSION_TYPES:
            raise unsupported("session.type", session["type"], _SESSION_TYPES)
        _refuse(session, preview.ONLY_IN_PREVIEW, "session")
    elif event.get("type") == "response.create" and isinstance(response := event.get("response"), dict):
        _refuse(response, preview.ONLY_IN_PREVIEW, "response")
    return event


def _preview_incoming(event: Event) -> Event:
    if event.get("type") == "session.update":
        session = require(event, "session", dict)
        _refuse(session, preview.ONLY_IN_GA, "session")
        for index, tool in enumerate(session.get("tools") or ()):
            if isinstance(tool, dict) and tool.get("type") == "mcp":
                raise unsupported(f"session.tools[{index}].type", "mcp", ["function"])
    return preview.to_ga(event)


def _refuse(fields: Event, names: frozenset[str], within: str) -> None:
    for name in fields:
        if name in names:
            raise Rejected("unknown_parameter", f"Unknown parameter: '{within}.{name}'.", f"{within}.{name}")


GA = Dialect("ga", _ga_incoming, lambda event: event)
PREVIEW = Dialect("preview", _preview_incoming, preview.from_ga)
