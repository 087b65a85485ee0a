"""What one session hears, event by event: is it whole, is it in order, and is it this call's.

Only what no healthy service does is a fault. Responses may come unasked (after `timeout_triggered`), several may run at
once, MCP events carry no response_id and outlive their response, and one event (`dtmf_event_received`) has no id.

The service makes its ids at random, so one that two calls hear reached one of them by mistake.
"""

import re
import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clients.events import Event, field_of, parse, part_of, text_of
from clients.observations import FaultName
from clients.responses import Response

# Minutes of a few calls, half a minute of 500: a misdirected event arrives soon, and a hold's memory stays bounded.
REMEMBERED = 50_000
AUDIO_DELTAS = frozenset({"response.output_audio.delta", "response.audio.delta"})  # GA, beta
AUDIO_DONE = frozenset({"response.output_audio.done", "response.audio.done"})
TRANSCRIPT_DELTAS = frozenset({"response.output_audio_transcript.delta", "response.audio_transcript.delta"})
ITEM_ADDED = frozenset({"conversation.item.added", "conversation.item.created"})  # GA, beta
WORD_DELTAS = TRANSCRIPT_DELTAS | {"response.output_text.delta", "response.text.delta"}
# Errors that a healthy service sends to a caller who did nothing wrong: the call grew too old, the deployment is busy.
EXPECTED_ERRORS = frozenset({"session_expired", "rate_limit_exceeded", "inference_rate_limit_exceeded"})
ENDED_REMEMBERED = 50
# Of each kind: a broken model must not fill the disk.
MOST_FAULTS = 100
_LONGEST_ID = 64


@dataclass(frozen=True, slots=True, eq=False)
class Owner:
    """One session of a call; a call that comes back is another owner."""

    call: int
    session: str | None

    def __str__(self) -> str:
        return f"call {self.call}" + (f" (session {self.session})" if self.session else "")


class Ids:
    """Which call of a hold heard an id first. At least the last `REMEMBERED` ids, at most twice as many."""

    def __init__(self) -> None:
        self._newer: dict[str, Owner] = {}
        self._older: dict[str, Owner] = {}

    def claim(self, name: str, owner: Owner) -> Owner | None:
        """Who heard it before, which may be `owner`; None: nobody, and `owner` has it from now on."""
        known = self._newer.get(name) or self._older.get(name)
        if known is None:
            if len(self._newer) >= REMEMBERED:
                self._older, self._newer = self._newer, {}
            self._newer[name] = owner
        return known


class Hearing:
    """`hear` returns the event when it is this call's own, else None; faults go to `fault`, each at once."""

    def __init__(self, owner: Owner, ids: Ids, fault: Callable[[FaultName, str], None]) -> None:
        self.upstream_session: str | None = None
        self.responses: dict[str, Response] = {}
        self._owner = owner
        self._ids = ids
        self._note_fault = fault
        self._faults: Counter[FaultName] = Counter()
        self._ended: dict[str, Response] = {}
        self._unconfirmed: dict[str, None] = {}
        self._began = False
        self._handlers: dict[str, Callable[[Event, float], Event | None]] = {
            "session.created": self._session_created,
            "session.updated": self._session_updated,
            "response.created": self._response_created,
            "response.done": self._response_done,
            "error": self._error,
        }

    def hear(self, message: bytes) -> Event | None:
        event = parse(message)
        kind = event and event.get("type")
        if event is None or not isinstance(kind, str):
            self.fault("broken_json", f"a message of {len(message)} bytes is no event")
            return None
        if not self._began and kind != "error":  # which a refusal after the 101 begins with
            self._began = True
            if kind != "session.created":
                self.fault("out_of_order", f"{printed(kind)} before session.created")
        if isinstance(event_id := event.get("event_id"), str) and not self._is_new(event_id, kind):
            return None
        now = time.monotonic()
        if handle := self._handlers.get(kind):
            return handle(event, now)
        if "response_id" in event or (kind.startswith("response.") and kind.endswith(".delta")):
            return event if self._hear_of_response(event, kind, now) else None
        if kind in ITEM_ADDED:
            self._unconfirmed.pop(str(part_of(event, "item").get("id")), None)
        return event if self._owns_items(event, kind) else None

    def own_item(self) -> str:
        """An id for an item that the caller creates: whoever else hears of it hears this call."""
        name = f"hold_{secrets.token_hex(8)}"
        self._ids.claim(name, self._owner)
        self._unconfirmed[name] = None
        return name

    def answered(self) -> None:
        """A turn was answered: what the caller created in it is in the conversation by now, or is lost."""
        for name in self._unconfirmed:
            self.fault("lost_item", f"item {printed(name)} was never added, and the answer came without it")
        self._unconfirmed.clear()

    def fault(self, fault: FaultName, detail: str) -> None:
        self._faults[fault] += 1
        if self._faults[fault] <= MOST_FAULTS:
            self._note_fault(fault, detail)

    def _is_new(self, event_id: str, kind: str) -> bool:
        """False only for another call's: an event that comes twice is handled twice."""
        owner = self._ids.claim(event_id, self._owner)
        if owner is None:
            return True
        if owner is self._owner:
            self.fault("repeated_id", f"event {printed(event_id)} came again: {printed(kind)}")
            return True
        return self._cross_talk("event", event_id, owner, kind)

    def _owns(self, what: str, name: Any, kind: str) -> bool:
        """Claims an id that is new. What is no id belongs to nobody."""
        if not isinstance(name, str):
            return True
        owner = self._ids.claim(name, self._owner)
        return owner is None or owner is self._owner or self._cross_talk(what, name, owner, kind)

    def _cross_talk(self, what: str, name: str, owner: Owner, kind: str) -> bool:
        self.fault("cross_talk", f"{printed(kind)} with {what} {printed(name)} of {owner}")
        return False

    def _owns_items(self, event: Event, kind: str) -> bool:
        item = event.get("item")
        names = [event.get("item_id"), item.get("id") if isinstance(item, dict) else None]
        if event.get("previous_item_id") != "root":
            names.append(event.get("previous_item_id"))
        return all(self._owns("item", name, kind) for name in names) and self._owns(
            "conversation", field_of(event, "conversation", "id"), kind
        )

    def _session_created(self, event: Event, now: float) -> Event | None:
        session = field_of(event, "session", "id")
        if self.upstream_session is not None:
            self.fault("out_of_order", f"a second session.created, with session {printed(session)}")
            return None
        self.upstream_session = session
        return event if self._owns("session", session, "session.created") else None

    def _session_updated(self, event: Event, now: float) -> Event | None:
        session = field_of(event, "session", "id")
        if session is None or session == self.upstream_session:
            return event
        if self._owns("session", session, "session.updated"):
            self.fault("session_differs", f"id is {printed(session)}, not {printed(self.upstream_session)}")
        return None

    def _response_created(self, event: Event, now: float) -> Event | None:
        response = part_of(event, "response")
        name = response.get("id")
        if not isinstance(name, str):
            self.fault("unknown_response", "response.created without an id")
            return None
        if name in self.responses or name in self._ended:
            self.fault("repeated_id", f"response {printed(name)} was created again")
            return None
        ours = self._owns("response", name, "response.created")
        if not ours or not self._owns("conversation", response.get("conversation_id"), "response.created"):
            return None
        self.responses[name] = Response(name, now)
        return event

    def _response_done(self, event: Event, now: float) -> Event | None:
        given = part_of(event, "response")
        response = self._find(given.get("id"), "response.done")
        if response is None:
            return None
        if self.responses.pop(response.id, None) is None:
            self.fault("out_of_order", f"response.done for {printed(response.id)}, which was done")
            return None
        self._ended[response.id] = response
        if len(self._ended) > ENDED_REMEMBERED:
            del self._ended[next(iter(self._ended))]
        response.end(given)
        if wrong := response.wrong_length():
            self.fault("audio_length", f"response {printed(response.id)}: {wrong}")
        elif response.is_silent():
            self.fault("silent_audio", f"response {printed(response.id)}: {response.audio_bytes} bytes without a sound")
        if other := response.other_words(given):
            self.fault("other_words", f"response {printed(response.id)}: {other}")
        return event

    def _error(self, event: Event, now: float) -> Event | None:
        error = part_of(event, "error")
        if str(error.get("code")) not in EXPECTED_ERRORS:
            self.fault("error_event", f"{printed(error.get('type'))}, code {printed(error.get('code'))}")
        return event

    def _find(self, name: Any, kind: str) -> Response | None:
        """A response of this call, also one that has ended."""
        if isinstance(name, str):
            if response := self.responses.get(name) or self._ended.get(name):
                return response
            if not self._owns("response", name, kind):
                return None
        self.fault("unknown_response", f"{printed(kind)} for response {printed(name)}, of which nothing was created")
        return None

    def _hear_of_response(self, event: Event, kind: str, now: float) -> bool:
        response = self._find(event.get("response_id"), kind)
        if response is None:
            return False
        if kind.endswith(".delta"):
            item = text_of(event, "item_id")
            return self._hear_delta(response, item, event, kind, now)
        if kind in AUDIO_DONE:
            response.closed_parts.add(_part(event))
        elif kind == "response.output_item.added":
            if isinstance(added := part_of(event, "item").get("id"), str):
                response.open_items.add(added)
        elif kind == "response.output_item.done":
            response.open_items.discard(str(part_of(event, "item").get("id")))
        return self._owns_items(event, kind)

    def _hear_delta(self, response: Response, item: str | None, event: Event, kind: str, now: float) -> bool:
        if item not in response.open_items and not self._owns("item", item, kind):
            return False
        place = f"{kind} of item {printed(item)}, response {printed(response.id)}"
        if response.id in self._ended:
            self.fault("out_of_order", f"{place}, which was done")
        elif item not in response.open_items:
            self.fault("out_of_order", f"{place}, which was not open")
        if kind in AUDIO_DELTAS:
            if _part(event) in response.closed_parts:
                self.fault("out_of_order", f"{place}, whose audio was done")
            try:
                response.hear(item, event.get("delta", ""), now)
            except (ValueError, TypeError):
                self.fault("broken_json", f"{place}: no base64")
        elif kind in WORD_DELTAS:
            response.hear_words(item, text_of(event, "delta") or "")
        if kind not in TRANSCRIPT_DELTAS:
            response.heard_delta(item, now)
        return True


def _part(event: Event) -> tuple[str, str]:
    return str(event.get("item_id")), str(event.get("content_index"))


def printed(name: object) -> str:
    """An id or a type from the other end, as part of a line: short, and `?` for each unusual character."""
    return re.sub(r"[^\w.:-]", "?", str(name))[:_LONGEST_ID]
