"""Where a call is in its turn: who speaks, who answers, and what one side still owes the other. No I/O.

A turn begins when the caller speaks, types or asks, and ends when nothing of it is owed any more. Most of what is owed
no event announces: an answer to a committed buffer, the output of a tool, the request for an answer behind it. So the
state is a ledger: each event adds a debt, pays one, or does neither. TABLE says which, a row an event.

A debt has no time limit of its own: tools and people take minutes, and a drain has a deadline. There is one exception,
SETTLE_S: a request that clients send by themselves, without a person or a tool in between, may also never come.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from rtproxy.model.usage import Usage, as_object

SETTLE_S = 3.0
"""How long a request is awaited that a program sends by itself if it sends one: `response.create` behind the output of
a tool or an MCP call (at once), and behind a failed response (again after 1 to 1.5 s: clients of throttled Azure
deployments). A silent tool, or a client that gives up, sends none."""
DEBTS_LIMIT = 256
"""Debts that are remembered at once; a model that names more is not believed."""
ID_LIMIT = 128
"""Characters of an id, a session's name and an error's code; the last two go into the log."""

QUIET, SPEAKING, RESPONDING, WAITING = "quiet", "speaking", "responding", "waiting"
STATES = (QUIET, SPEAKING, RESPONDING, WAITING)

Event = dict[str, Any]
Debt = tuple[str, str | None]
"""What is owed, and the id that its payment names: the output of a ``call``, the end of an ``mcp`` call, the answer to
an ``approval`` request, a ``transcript``."""


class Turns:
    """The turn of one call, moved by the events of both sides (`tap`).

    ``on_change`` is called after each event that may have moved it, ``on_event`` with the type of each of the model's
    events in TABLE. ``messages`` tells how many messages the client has sent, read or not: where the model detects no
    turns, a message that nothing accounts for is audio, and audio means that the caller holds the floor. Where every
    message is read there is no need of it.
    """

    __slots__ = (
        "_again",
        "_answered",
        "_ask_due",
        "_automatic",
        "_counted",
        "_debts",
        "_floor",
        "_manual",
        "_now",
        "_read",
        "_requests",
        "_settle_until",
        "_spoken_item",
        "_transcribes",
        "_transcribing",
        "active",
        "answer_due",
        "error_code",
        "messages",
        "on_change",
        "on_event",
        "responses",
        "speaking",
        "upstream_session",
        "usage",
    )

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self.on_change: Callable[[], None] | None = None
        self.on_event: Callable[[str], None] | None = None
        self.messages: Callable[[], int] = no_messages
        self.active = 0
        self.speaking = False
        self.answer_due = False
        self.responses = 0
        self.usage = Usage()
        self.upstream_session: str | None = None
        self.error_code: str | None = None
        # What the session is set to.
        self._manual = False
        self._automatic = True
        self._transcribing = False
        self._transcribes = False
        # What is owed.
        self._ask_due = False
        self._again = False
        self._debts: dict[Debt, None] = {}
        self._answered: dict[Debt, None] = {}
        self._requests: dict[bytes, int] = {}
        self._settle_until = 0.0
        self._spoken_item: str | None = None
        # The floor of a call without turn detection, by counting messages.
        self._floor = False
        self._read = 0
        self._counted = 0

    @property
    def state(self) -> str:
        """One of STATES. A response under way goes before speech, and speech before what is owed."""
        if self.active:
            return RESPONDING
        if self.speaking or (self._manual and self._holds_the_floor()):
            return SPEAKING
        return WAITING if self._owed() or self.settling_s() > 0 else QUIET

    @property
    def quiet(self) -> bool:
        """Nobody speaks and nothing is owed: a moment at which a call may be closed."""
        return self.state is QUIET

    def settling_s(self) -> float:
        """Seconds for which a request is still awaited that may never come; 0 or less when none is."""
        return self._settle_until - self._now() if self._settle_until else 0.0

    def hear(self, kind: bytes, event: Event) -> None:
        """Takes an event of the model whose type is in TABLE; ``event`` is empty where its text could not be read."""
        row = TABLE[kind]
        if row.effect is not None:
            row.effect(self, event)
        if (request := _ANSWERS.get(kind)) is not None:
            self._answer_of(request, event)
        if self.on_event is not None:
            self.on_event(kind.decode())
        if self.on_change is not None:
            self.on_change()

    def ask(self, kind: bytes) -> None:
        """Takes the type of an event of the client. Most are not read: then the model's answer tells of a request."""
        moves = False
        if kind == APPEND:
            self._read += 1
            moves = self._manual and not self._floor
            self._floor = self._manual
        elif kind in REQUESTS:
            self._read += 1
            self._requests[kind] = self._requests.get(kind, 0) + 1
            if kind in (COMMIT, CLEAR):
                self._release_floor()  # what comes behind it is another turn's
            moves = True
        if moves and self.on_change is not None:
            self.on_change()

    def _owed(self) -> bool:
        asked = any(self._requests.get(kind) for kind in (CREATE, COMMIT, CLEAR))
        return bool(self.answer_due or self._ask_due or self._debts or asked)

    def _settle(self) -> None:
        self._settle_until = self._now() + SETTLE_S

    # Who holds the floor where the model does not say.

    def _unread(self) -> int:
        return self.messages() - self._read

    def _holds_the_floor(self) -> bool:
        return self._floor or self._unread() > self._counted

    def _release_floor(self) -> None:
        self._floor = False
        self._counted = self._unread()

    def _answer_of(self, request: bytes, event: Event) -> None:
        """The model answered a ``request``: one that was read, or else one that was only counted."""
        if waiting := self._requests.get(request):
            self._requests[request] = waiting - 1
        elif request != b"conversation.item.create" or self._made_by_client(event):
            self._count_one()

    def _count_one(self) -> None:
        """One of the messages that were not read is accounted for: it was no audio."""
        if self._counted < self._unread():
            self._counted += 1

    def _made_by_client(self, event: Event) -> bool:
        item = as_object(event.get("item"))
        if item.get("type") == "message":
            return item.get("role") != "assistant" and _id(item) != self._spoken_item
        return item.get("type") in ("function_call_output", "mcp_approval_response")

    # What the rows of TABLE do.

    def _session_created(self, event: Event) -> None:
        self.upstream_session = _plain(as_object(event.get("session")).get("id"))
        self._session_updated(event)

    def _session_updated(self, event: Event) -> None:
        session = as_object(event.get("session"))
        if event.get("type") in ("transcription_session.created", "transcription_session.updated"):
            self._transcribing = True
        elif isinstance(session.get("type"), str):
            self._transcribing = session["type"] == "transcription"
        # GA has them under audio.input, the preview on top.
        given = as_object(as_object(session.get("audio")).get("input"))
        if "turn_detection" in given or "turn_detection" in session:
            self._detect(given.get("turn_detection", session.get("turn_detection")))
        for terms, name in ((given, "transcription"), (session, "input_audio_transcription")):
            if name in terms:
                self._transcribes = isinstance(terms[name], dict)

    def _detect(self, detection: object) -> None:
        manual = detection is None
        self._automatic = isinstance(detection, dict) and detection.get("create_response") is not False
        if manual and not self._manual:
            self._release_floor()
            self._floor, self.speaking = self.speaking, False  # what was being said is still in the buffer
        self._manual = manual

    def _speech_started(self, event: Event) -> None:
        self.speaking = True

    def _speech_stopped(self, event: Event) -> None:
        self.speaking = False
        self._spoken_item = _text(event.get("item_id"))
        if self._transcribing:
            self._settle()  # until the buffer is committed, which brings a transcript
        elif self._automatic:
            self.answer_due = True
        else:
            self._ask_due = True

    def _timeout_triggered(self, event: Event) -> None:
        self._spoken_item = _text(event.get("item_id"))
        self.answer_due = True

    def _committed(self, event: Event) -> None:
        item = _text(event.get("item_id"))
        by_the_model = not self._manual and not self.speaking and item == self._spoken_item and item is not None
        self.speaking = False
        self._spoken_item = item
        if not self._requests.get(COMMIT):
            self._release_floor()
        if self._transcribing or self._transcribes:
            self._owe("transcript", item)
        if self._transcribing:
            self._settle_until = 0.0
        elif not by_the_model and not self.answer_due:
            self._ask_due = True

    def _cleared(self, event: Event) -> None:
        self.speaking = False
        if not self._requests.get(CLEAR):
            self._release_floor()

    def _transcribed(self, event: Event) -> None:
        self._debts.pop(("transcript", _text(event.get("item_id"))), None)
        self.usage.of_transcription(as_object(event.get("usage")))

    def _item_added(self, event: Event) -> None:
        item = as_object(event.get("item"))
        match item.get("type"):
            case "function_call_output":
                self._pay("call", _text(item.get("call_id")))
            case "mcp_approval_response":
                self._pay("approval", _text(item.get("approval_request_id")))
            case "mcp_approval_request":
                self._owe("approval", _id(item))
            case "message" if item.get("role") == "user" and _id(item) != self._spoken_item:
                self._ask_due = True
            case "message" if item.get("role") == "assistant" and not self.active:
                self._ask_due = False  # the client rebuilds a conversation, and this is the answer of then

    def _item_deleted(self, event: Event) -> None:
        self._debts.pop(("transcript", _text(event.get("item_id"))), None)

    def _mcp_begun(self, event: Event) -> None:
        self._owe("mcp", _text(event.get("item_id")))

    def _mcp_ended(self, event: Event) -> None:
        self._pay("mcp", _text(event.get("item_id")))

    def _owe(self, kind: str, name: str | None) -> None:
        if name and (kind, name) not in self._answered and len(self._debts) < DEBTS_LIMIT:
            self._debts[kind, name] = None

    def _pay(self, kind: str, name: str | None) -> None:
        """A debt is paid, perhaps before it was known of; what follows it the client asks for."""
        self._debts.pop((kind, name), None)
        if len(self._answered) < DEBTS_LIMIT:
            self._answered[kind, name] = None
        self._settle()

    def _response_created(self, event: Event) -> None:
        self.active += 1
        apart = _out_of_band(event)
        if apart or not self.answer_due:  # else it is the answer that comes by itself, and a request stays open
            self._answer_of(CREATE, event)
        if not apart:
            self.answer_due = self._ask_due = False
            self._settle_until = 0.0

    def _response_done(self, event: Event) -> None:
        response = as_object(event.get("response"))
        self.usage.of_response(as_object(response.get("usage")))
        self.responses += 1
        self.active = max(0, self.active - 1)
        if _out_of_band(event):
            return
        if self._again or response.get("status") == "failed":
            self._settle()
        self._again = False
        output = response.get("output")
        for item in output if isinstance(output, list) else ():
            self._owe_for(as_object(item))
        if not self.active:
            self._answered.clear()

    def _owe_for(self, item: Event) -> None:
        """What an item of a finished response leaves open."""
        match item.get("type"):
            case "function_call" if item.get("status", "completed") == "completed":
                self._owe("call", _text(item.get("call_id")) or _id(item) or "without a name")
            case "mcp_call":
                if item.get("output") is None and item.get("error") is None:
                    self._owe("mcp", _id(item))
                self._settle()
            case "mcp_approval_request":
                self._owe("approval", _id(item))
            case _:
                return
        if self._answered:  # paid before the response ended: the client asks now
            self._settle()

    def _error(self, event: Event) -> None:
        error = as_object(event.get("error"))
        code = _text(error.get("code"))
        self.error_code = _plain(code)
        if code == "input_audio_buffer_commit_empty":
            if not self._requests.get(COMMIT):
                self._release_floor()
            self._requests[COMMIT] = 0
        elif code == "response_cancel_not_active":
            self._count_one()
        elif self._requests.get(CREATE) and self._refuses_an_ask(error):
            # The client asks again soon, when the response under way is over at the latest, or gives up.
            self._requests[CREATE] -= 1
            self._ask_due = False
            self._again = bool(self.active)
            self._settle()
        elif other := next((kind for kind in _ANSWERS.values() if self._requests.get(kind)), None):
            self._requests[other] -= 1
        else:
            self._count_one()

    def _refuses_an_ask(self, error: Event) -> bool:
        """An error need not name its event. What may be about another request leaves the ask open: that cuts nobody."""
        param = error.get("param")
        if error.get("code") == "conversation_already_has_active_response":
            return True
        if isinstance(param, str):
            return param.startswith("response")
        return not any(self._requests.get(kind) for kind in _ANSWERS.values())


def no_messages() -> int:
    """The count of a call that does not stand."""
    return 0


APPEND, COMMIT, CLEAR = b"input_audio_buffer.append", b"input_audio_buffer.commit", b"input_audio_buffer.clear"
CREATE = b"response.create"
REQUESTS = frozenset(
    (
        b"session.update",
        b"transcription_session.update",
        COMMIT,
        CLEAR,
        b"conversation.item.create",
        b"conversation.item.delete",
        b"conversation.item.retrieve",
        b"conversation.item.truncate",
        CREATE,
        b"response.cancel",
        b"output_audio_buffer.clear",
    )
)
"""A client's events other than audio; the model answers each, but for the last two, which leave nothing open."""
_ANSWERS = {
    b"session.updated": b"session.update",
    b"transcription_session.updated": b"transcription_session.update",
    b"input_audio_buffer.committed": COMMIT,
    b"input_audio_buffer.cleared": CLEAR,
    b"conversation.item.added": b"conversation.item.create",
    b"conversation.item.created": b"conversation.item.create",
    b"conversation.item.deleted": b"conversation.item.delete",
    b"conversation.item.retrieved": b"conversation.item.retrieve",
    b"conversation.item.truncated": b"conversation.item.truncate",
}


class Row(NamedTuple):
    """What an event of the model does to the turn: ``effect`` by ``why``; None where it only answers a request."""

    effect: Callable[[Turns, Event], None] | None
    why: str


TABLE: dict[bytes, Row] = {
    # The session: how turns are found in it.
    b"session.created": Row(Turns._session_created, "tells the session's name and whether the model detects turns"),
    b"session.updated": Row(Turns._session_updated, "the whole session in force: turn detection, transcription, type"),
    b"transcription_session.created": Row(Turns._session_created, "preview: as session.created, for transcription"),
    b"transcription_session.updated": Row(Turns._session_updated, "preview: as session.updated, for transcription"),
    # Speech, where the model detects turns (server_vad, semantic_vad).
    b"input_audio_buffer.speech_started": Row(
        Turns._speech_started, "the caller speaks, until stopped or the buffer goes"
    ),
    b"input_audio_buffer.speech_stopped": Row(
        Turns._speech_stopped, "the model owes an answer; with create_response false the client owes a request for one"
    ),
    b"input_audio_buffer.timeout_triggered": Row(
        Turns._timeout_triggered, "idle_timeout_ms is over: the model speaks unasked, without any event of speech"
    ),
    # The buffer, also where the model detects none (turn_detection null): messages that come are the caller speaking.
    b"input_audio_buffer.committed": Row(
        Turns._committed,
        "the floor is free; committed by the client, it owes a request; with transcription, a transcript",
    ),
    b"input_audio_buffer.cleared": Row(Turns._cleared, "the floor is free, and what was said is forgotten"),
    # Items: what clients put into a conversation, and what a person or a tool has to answer.
    b"conversation.item.added": Row(
        Turns._item_added,
        "a typed message owes a request; the output of a tool and an answer to an approval request pay a debt",
    ),
    b"conversation.item.created": Row(Turns._item_added, "preview: as conversation.item.added"),
    b"conversation.item.deleted": Row(Turns._item_deleted, "no transcript of it is owed any more"),
    b"conversation.item.retrieved": Row(None, "answers a request"),
    b"conversation.item.truncated": Row(None, "answers a request"),
    b"conversation.item.input_audio_transcription.completed": Row(
        Turns._transcribed, "the transcript came, with its usage"
    ),
    b"conversation.item.input_audio_transcription.failed": Row(Turns._transcribed, "no transcript will come"),
    # MCP calls outlive the response that made them, for 10 to 15 s, and the client asks for the answer.
    b"response.mcp_call.in_progress": Row(Turns._mcp_begun, "the service owes the end of this call"),
    b"response.mcp_call.completed": Row(Turns._mcp_ended, "the client asks for the answer now"),
    b"response.mcp_call.failed": Row(Turns._mcp_ended, "as completed"),
    # Responses, also unasked and out of band ones (conversation "none", conversation_id null).
    b"response.created": Row(Turns._response_created, "the model answers; one out of band pays no other debt"),
    b"response.done": Row(
        Turns._response_done,
        "the answer is over; a function call owes its output, an MCP call its end, an approval request its answer; "
        "behind a failed one the client may ask again",
    ),
    b"error": Row(Turns._error, "a request was refused, or the session ends"),
}
"""Every event of the model that moves a turn. Sources: the types of the locked `openai` package (GA and beta), whose
other events move none (tests/rtproxy/test_turns.py has both lists); OpenAI, "Realtime with tools" for MCP; Microsoft
Learn, "GPT Realtime 2.x" for preambles, parallel and silent tools."""


def _out_of_band(event: Event) -> bool:
    response = as_object(event.get("response"))
    return "conversation_id" in response and response["conversation_id"] is None


def _id(item: Event) -> str | None:
    return _text(item.get("id"))


def _text(value: object) -> str | None:
    return value[:ID_LIMIT] if isinstance(value, str) else None


def _plain(value: object) -> str | None:
    """A text of the model for a log: what ends a line, turns its direction or controls a terminal is a ``?``."""
    text = _text(value)
    return None if text is None else "".join(each if each.isprintable() else "?" for each in text)
