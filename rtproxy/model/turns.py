"""The turn of a call: who speaks, who answers, and what one side still owes to the other. It does no I/O.

A turn begins when the caller speaks, types or sends a request, and ends when nothing of it is owed any more. No event
announces most of what is owed: an answer to a committed buffer, the output of a tool, the request for an answer after
it. So the state is a ledger: each event adds a debt, pays one, or does neither. TABLE has one row for each event.

A debt has no time limit: tools and people take minutes, and a drain has a deadline. There is one exception, SETTLE_S: a
request that clients send automatically, without a person or a tool in between, may also never come.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from rtproxy.model.usage import Usage, as_object

SETTLE_S = 3.0
"""How long the relay waits for a request that a client sends automatically, if it sends one: `response.create` after
the output of a tool or an MCP call (at once), and after a failed response (again after 1 to 1.5 s: clients of throttled
Azure deployments). A silent tool, or a client that gives up, sends none."""
DEBTS_LIMIT = 256
"""The most debts that are remembered at once; if a model names more, the rest are ignored."""
ID_LIMIT = 128
"""The most characters of an id, a session's name and an error's code; the last two are logged."""

QUIET, SPEAKING, RESPONDING, WAITING = "quiet", "speaking", "responding", "waiting"
STATES = (QUIET, SPEAKING, RESPONDING, WAITING)

Event = dict[str, Any]
Debt = tuple[str, str | None]
"""What is owed, and the id that its payment names: the output of a ``call``, the end of an ``mcp`` call, the answer to
an ``approval`` request, a ``transcript``."""


class Turns:
    """The turn of one call, changed by the events of both sides (`events.Tap`).

    ``on_change`` is called after each event that may have changed the turn, ``on_event`` with the type of each of the
    model's events in TABLE. ``messages`` returns how many messages the client has sent, read or not. It is needed where
    the model detects no turns and not every message is read: a message that no answer of the model accounts for is
    audio, and audio means that the caller speaks.
    """

    __slots__ = (
        "_accounted",
        "_audio_seen",
        "_automatic",
        "_debts",
        "_manual",
        "_now",
        "_paid",
        "_read",
        "_request_due",
        "_requests",
        "_retry_expected",
        "_settle_until",
        "_speech_item",
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
        # The settings of the session.
        self._manual = False
        self._automatic = True
        self._transcribing = False
        self._transcribes = False
        # The debts.
        self._request_due = False
        self._retry_expected = False
        self._debts: dict[Debt, None] = {}
        self._paid: dict[Debt, None] = {}
        self._requests: dict[bytes, int] = {}
        self._settle_until = 0.0
        self._speech_item: str | None = None
        # Whether the caller sends audio in a call without turn detection, by counting messages.
        self._audio_seen = False
        self._read = 0
        self._accounted = 0

    @property
    def state(self) -> str:
        """One of STATES. A response in progress has precedence over speech, and speech over debts."""
        if self.active:
            return RESPONDING
        if self.speaking or (self._manual and self._caller_sends_audio()):
            return SPEAKING
        return WAITING if self._anything_owed() or self.settling_s() > 0 else QUIET

    @property
    def quiet(self) -> bool:
        """Whether nobody speaks and nothing is owed: the call may be closed now."""
        return self.state is QUIET

    def settling_s(self) -> float:
        """For how many seconds a request is still awaited that may never come; 0 or less when none is."""
        return self._settle_until - self._now() if self._settle_until else 0.0

    def model_event(self, kind: bytes, event: Event) -> None:
        """Takes an event of the model whose type is in TABLE; ``event`` is empty when its text could not be parsed."""
        row = TABLE[kind]
        if row.effect is not None:
            row.effect(self, event)
        if (request := _ANSWERS.get(kind)) is not None:
            self._answer_of(request, event)
        if self.on_event is not None:
            self.on_event(kind.decode())
        if self.on_change is not None:
            self.on_change()

    def client_event(self, kind: bytes) -> None:
        """Takes the type of a client's event.

        Most are not read: then the model's answer shows that there was a request.
        """
        may_change = False
        if kind == APPEND:
            self._read += 1
            may_change = self._manual and not self._audio_seen
            self._audio_seen = self._manual
        elif kind in REQUESTS:
            self._read += 1
            self._requests[kind] = self._requests.get(kind, 0) + 1
            if kind in (COMMIT, CLEAR):
                self._end_audio()  # what follows belongs to another turn
            may_change = True
        if may_change and self.on_change is not None:
            self.on_change()

    def _anything_owed(self) -> bool:
        requested = any(self._requests.get(kind) for kind in (CREATE, COMMIT, CLEAR))
        return bool(self.answer_due or self._request_due or self._debts or requested)

    def _settle(self) -> None:
        self._settle_until = self._now() + SETTLE_S

    # Whether the caller speaks, where the model does not report it.

    def _unread(self) -> int:
        return self.messages() - self._read

    def _caller_sends_audio(self) -> bool:
        return self._audio_seen or self._unread() > self._accounted

    def _end_audio(self) -> None:
        self._audio_seen = False
        self._accounted = self._unread()

    def _answer_of(self, request: bytes, event: Event) -> None:
        """The model answered a ``request``: one that was read, or one that was only counted."""
        if waiting := self._requests.get(request):
            self._requests[request] = waiting - 1
        elif request != b"conversation.item.create" or self._made_by_client(event):
            self._account_for_one()

    def _account_for_one(self) -> None:
        """One of the messages that were not read is accounted for: it was not audio."""
        if self._accounted < self._unread():
            self._accounted += 1

    def _made_by_client(self, event: Event) -> bool:
        item = as_object(event.get("item"))
        if item.get("type") == "message":
            return item.get("role") != "assistant" and _id(item) != self._speech_item
        return item.get("type") in ("function_call_output", "mcp_approval_response")

    # The effects of the rows of TABLE.

    def _session_created(self, event: Event) -> None:
        self.upstream_session = _printable(as_object(event.get("session")).get("id"))
        self._session_updated(event)

    def _session_updated(self, event: Event) -> None:
        session = as_object(event.get("session"))
        if event.get("type") in ("transcription_session.created", "transcription_session.updated"):
            self._transcribing = True
        elif isinstance(session.get("type"), str):
            self._transcribing = session["type"] == "transcription"
        # In GA they are under audio.input, in the preview at the top.
        audio_input = as_object(as_object(session.get("audio")).get("input"))
        if "turn_detection" in audio_input or "turn_detection" in session:
            self._detect(audio_input.get("turn_detection", session.get("turn_detection")))
        for source, name in ((audio_input, "transcription"), (session, "input_audio_transcription")):
            if name in source:
                self._transcribes = isinstance(source[name], dict)

    def _detect(self, detection: object) -> None:
        manual = detection is None
        self._automatic = isinstance(detection, dict) and detection.get("create_response") is not False
        if manual and not self._manual:
            self._end_audio()
            self._audio_seen, self.speaking = self.speaking, False  # the speech so far is still in the buffer
        self._manual = manual

    def _speech_started(self, event: Event) -> None:
        self.speaking = True

    def _speech_stopped(self, event: Event) -> None:
        self.speaking = False
        self._speech_item = _text(event.get("item_id"))
        if self._transcribing:
            self._settle()  # until the buffer is committed, which leads to a transcript
        elif self._automatic:
            self.answer_due = True
        else:
            self._request_due = True

    def _timeout_triggered(self, event: Event) -> None:
        self._speech_item = _text(event.get("item_id"))
        self.answer_due = True

    def _committed(self, event: Event) -> None:
        item = _text(event.get("item_id"))
        by_the_model = not self._manual and not self.speaking and item == self._speech_item and item is not None
        self.speaking = False
        self._speech_item = item
        if not self._requests.get(COMMIT):
            self._end_audio()
        if self._transcribing or self._transcribes:
            self._owe("transcript", item)
        if self._transcribing:
            self._settle_until = 0.0
        elif not by_the_model and not self.answer_due:
            self._request_due = True

    def _cleared(self, event: Event) -> None:
        self.speaking = False
        if not self._requests.get(CLEAR):
            self._end_audio()

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
            case "message" if item.get("role") == "user" and _id(item) != self._speech_item:
                self._request_due = True
            case "message" if item.get("role") == "assistant" and not self.active:
                self._request_due = False  # the client restores a conversation: this is an old answer

    def _item_deleted(self, event: Event) -> None:
        self._debts.pop(("transcript", _text(event.get("item_id"))), None)

    def _mcp_begun(self, event: Event) -> None:
        self._owe("mcp", _text(event.get("item_id")))

    def _mcp_ended(self, event: Event) -> None:
        self._pay("mcp", _text(event.get("item_id")))

    def _owe(self, kind: str, name: str | None) -> None:
        if name and (kind, name) not in self._paid and len(self._debts) < DEBTS_LIMIT:
            self._debts[kind, name] = None

    def _pay(self, kind: str, name: str | None) -> None:
        """Pays a debt, perhaps before it was known. The client then sends the request that follows."""
        self._debts.pop((kind, name), None)
        if len(self._paid) < DEBTS_LIMIT:
            self._paid[kind, name] = None
        self._settle()

    def _response_created(self, event: Event) -> None:
        self.active += 1
        out_of_band = _out_of_band(event)
        if out_of_band or not self.answer_due:  # otherwise it is the automatic answer, and a request stays open
            self._answer_of(CREATE, event)
        if not out_of_band:
            self.answer_due = self._request_due = False
            self._settle_until = 0.0

    def _response_done(self, event: Event) -> None:
        response = as_object(event.get("response"))
        self.usage.of_response(as_object(response.get("usage")))
        self.responses += 1
        self.active = max(0, self.active - 1)
        if _out_of_band(event):
            return
        if self._retry_expected or response.get("status") == "failed":
            self._settle()
        self._retry_expected = False
        output = response.get("output")
        for item in output if isinstance(output, list) else ():
            self._owe_for(as_object(item))
        if not self.active:
            self._paid.clear()

    def _owe_for(self, item: Event) -> None:
        """Adds what an item of a finished response leaves open."""
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
        if self._paid:  # paid before the response ended: the client sends its request now
            self._settle()

    def _error(self, event: Event) -> None:
        error = as_object(event.get("error"))
        code = _text(error.get("code"))
        self.error_code = _printable(code)
        if code == "input_audio_buffer_commit_empty":
            if not self._requests.get(COMMIT):
                self._end_audio()
            self._requests[COMMIT] = 0
        elif code == "response_cancel_not_active":
            self._account_for_one()
        elif self._requests.get(CREATE) and self._refuses_response_create(error):
            # The client sends it again soon, at the latest when the current response is over, or gives up.
            self._requests[CREATE] -= 1
            self._request_due = False
            self._retry_expected = bool(self.active)
            self._settle()
        elif other := next((kind for kind in _ANSWERS.values() if self._requests.get(kind)), None):
            self._requests[other] -= 1
        else:
            self._account_for_one()

    def _refuses_response_create(self, error: Event) -> bool:
        """Whether an error refuses a response.create. It need not name its event.

        An error that may be about another request leaves the response.create open, so that no call is closed too early.
        """
        param = error.get("param")
        if error.get("code") == "conversation_already_has_active_response":
            return True
        if isinstance(param, str):
            return param.startswith("response")
        return not any(self._requests.get(kind) for kind in _ANSWERS.values())


def no_messages() -> int:
    """The count for a call that is not established."""
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
"""A client's events other than audio. The model answers each of them; the last two leave nothing open."""
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
    """The effect of a model's event on the turn, and the reason (``why``).

    ``effect`` is None where it only answers a request.
    """

    effect: Callable[[Turns, Event], None] | None
    why: str


TABLE: dict[bytes, Row] = {
    # The session: how turns are detected in it.
    b"session.created": Row(Turns._session_created, "has the session's name and whether the model detects turns"),
    b"session.updated": Row(Turns._session_updated, "the whole session in force: turn detection, transcription, type"),
    b"transcription_session.created": Row(Turns._session_created, "preview: as session.created, for transcription"),
    b"transcription_session.updated": Row(Turns._session_updated, "preview: as session.updated, for transcription"),
    # Speech, where the model detects turns (server_vad, semantic_vad).
    b"input_audio_buffer.speech_started": Row(
        Turns._speech_started, "the caller speaks, until stopped, committed or cleared"
    ),
    b"input_audio_buffer.speech_stopped": Row(
        Turns._speech_stopped, "the model owes an answer; with create_response false the client owes a request for one"
    ),
    b"input_audio_buffer.timeout_triggered": Row(
        Turns._timeout_triggered,
        "idle_timeout_ms is over: the model speaks without a request and without an event of speech",
    ),
    # The buffer, also where the model detects no turns (turn_detection null): each message then is the caller speaking.
    b"input_audio_buffer.committed": Row(
        Turns._committed,
        "the speech has ended; after a client's commit it owes a request; with transcription, a transcript",
    ),
    b"input_audio_buffer.cleared": Row(Turns._cleared, "the speech has ended, and the audio is discarded"),
    # Items: what clients add to a conversation, and what a person or a tool has to answer.
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
    # MCP calls continue after the response that made them, for 10 to 15 s; then the client requests the answer.
    b"response.mcp_call.in_progress": Row(Turns._mcp_begun, "the service owes the end of this call"),
    b"response.mcp_call.completed": Row(Turns._mcp_ended, "the client requests the answer now"),
    b"response.mcp_call.failed": Row(Turns._mcp_ended, "as completed"),
    # Responses, also those without a request, and those out of band (conversation "none", conversation_id null).
    b"response.created": Row(Turns._response_created, "the model answers; one out of band pays no other debt"),
    b"response.done": Row(
        Turns._response_done,
        "the answer is over; a function call owes its output, an MCP call its end, an approval request its answer; "
        "after a failed response the client may send it again",
    ),
    b"error": Row(Turns._error, "a request was refused, or the session ends"),
}
"""Every event of the model that changes a turn. Sources: the types of the locked `openai` package (GA and beta), whose
other events change none (tests/rtproxy/test_turns.py has both lists); OpenAI, "Realtime with tools" for MCP; Microsoft
Learn, "GPT Realtime 2.x" for preambles, parallel and silent tools."""


def _out_of_band(event: Event) -> bool:
    response = as_object(event.get("response"))
    return "conversation_id" in response and response["conversation_id"] is None


def _id(item: Event) -> str | None:
    return _text(item.get("id"))


def _text(value: object) -> str | None:
    return value[:ID_LIMIT] if isinstance(value, str) else None


def _printable(value: object) -> str | None:
    """A text of the model for a log: characters that end a line, reverse it or control a terminal become ``?``."""
    text = _text(value)
    return None if text is None else "".join(each if each.isprintable() else "?" for each in text)
