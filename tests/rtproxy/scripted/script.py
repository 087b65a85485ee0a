"""What happens in a call, as data: what its caller does, step by step, and what its model does at each turn.

A script says all that is decided; what follows from it is the protocol's. All times are milliseconds.
"""

from typing import NamedTuple


class Tool(NamedTuple):
    """A function call in a response, and what the caller does about it."""

    wait_ms: int
    output: bool = True
    """Whether the caller sends an output at all: a silent "wait" tool needs none."""
    asks: bool = True
    """Whether it asks for an answer then."""


class Mcp(NamedTuple):
    """A call of an MCP server, which the service makes itself."""

    lasts_ms: int
    fails: bool = False
    outlives: bool = True
    """``response.done`` comes before the end of the call."""
    approval_ms: int | None = None
    """A person has to approve first, and takes so long."""
    approves: bool = True
    asks: bool = True


class Answer(NamedTuple):
    """A response of the model."""

    before_ms: int = 20
    """From what asked for it to ``response.created``."""
    deltas: int = 3
    gap_ms: int = 20
    outcome: str = "completed"
    """Or ``failed``, ``throttled``, ``incomplete``; ``refused``: an error is all that comes; ``unborn``: nothing comes;
    ``endless``: no response.done comes."""
    tools: tuple[Tool, ...] = ()
    mcp: tuple[Mcp, ...] = ()
    ask_ms: int = 20
    """From the last output to the caller's request for the next response."""
    retry_ms: int | None = None
    """After how long the caller asks again where it was throttled; None: it does not."""


class Pause(NamedTuple):
    """The caller does nothing; with turn detection its silence is heard."""

    ms: int


class Talk(NamedTuple):
    """The caller speaks, or holds the button and speaks where turn detection is off."""

    ms: int
    rest_ms: int = 0
    """It sends nothing for so long in the middle of it."""
    then: str = "stop"
    """``stop``: falls silent, or commits; ``commit``, ``clear``; ``leave``: sends no audio in this call any more."""
    ask_ms: int | None = 20
    """Where the model does not answer by itself: when the caller asks after its audio was committed. None: never."""
    fresh: bool = False
    """It clears the buffer first: the answer to that arrives when it speaks already."""
    updates: bool = False
    """It changes its instructions in the middle of it."""
    takes_over: bool = False
    """It turns the turn detection off in the middle of it, and commits at the end."""
    waits: bool = True
    """Whether it waits until nobody owes anything, or goes on with its next step at once: a barge-in, say."""


class Type(NamedTuple):
    """The caller sends text, and asks for an answer so long after, or never."""

    ask_ms: int | None = 20
    waits: bool = True


class Ask(NamedTuple):
    """The caller asks for a response with nothing before it; perhaps out of band; perhaps it cancels it again."""

    out_of_band: bool = False
    cancel_ms: int | None = None
    waits: bool = True
    rude: bool = False
    """Though a response is under way: the service refuses it, and the caller asks again after that."""


class Aside(NamedTuple):
    """The caller sends an event that asks for nothing."""

    kind: str


class Detect(NamedTuple):
    """The caller changes the turn detection between two turns."""

    detection: str


Step = Pause | Talk | Type | Ask | Aside | Detect


class Script(NamedTuple):
    """A whole call. ``steps`` and ``answers`` begin anew at their end, for as long as the call lasts."""

    steps: tuple[Step, ...]
    answers: tuple[Answer, ...] = (Answer(),)
    api: str = "ga"
    """Or ``beta``: the names of events and the shape of a session of the preview."""
    detection: str = "server_vad"
    """Or ``semantic_vad``, ``none``."""
    creates: bool = True
    """create_response: the model answers by itself."""
    interrupts: bool = True
    """interrupt_response: it falls silent when the caller speaks."""
    born_so: bool = False
    """The session is so from session.created on; otherwise the caller asks for it."""
    transcription: bool = False
    """The session only writes down what it hears."""
    transcript_ms: int | None = None
    """The model writes down what it hears, and says so that long after it was committed."""
    silence_ms: tuple[int, ...] = (120,)
    """After how much silence the model notices the end of speech."""
    idle_ms: int | None = None
    """After how much silence the model speaks unasked."""
    writes: bool = False
    """It answers in text."""
    wordy: int = 0
    """Bytes of instructions in each of the caller's requests for a response."""
    chunk_ms: int = 60
    chunk_bytes: int = 160
    noise: int = 0
    """Seeds how events are written and cut."""
