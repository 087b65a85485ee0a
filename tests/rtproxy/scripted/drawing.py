"""Scripts at random: any order of events of both sides that the service allows."""

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.rtproxy.scripted.script import Answer, Aside, Ask, Detect, Mcp, Pause, Script, Step, Talk, Tool, Type

SHORT = st.integers(5, 150)
MOSTLY, SOMETIMES = st.sampled_from([True, True, True, False]), st.sampled_from([False, False, False, True])
ENDS = st.sampled_from(["stop", "stop", "stop", "stop", "stop", "stop", "commit", "clear", "clear", "leave"])
ASIDES = st.sampled_from(["system", "update", "truncate", "retrieve", "cancel", "commit_empty"]).map(Aside)
DETECTIONS = st.sampled_from(["server_vad", "semantic_vad", "none"])


def waits(longest_ms: int) -> st.SearchStrategy[int]:
    """Mostly short, for many turns; what people and tools take may be longer than any guess."""
    return SHORT | st.integers(150, 900) | st.integers(900, longest_ms)


@st.composite
def answers(draw: st.DrawFn, longest_ms: int, beta: bool) -> Answer:
    """A response: most are plain."""
    long = waits(longest_ms)
    # A program asks for the next response at once, or soon: a relay may take seconds of silence for a no.
    ask_ms = draw(SHORT | st.integers(150, 2000))
    plain = Answer(draw(SHORT | SHORT | long), draw(st.integers(0, 10)), draw(SHORT), ask_ms=ask_ms)
    tools = st.tuples(long, MOSTLY, MOSTLY).map(lambda fields: Tool(*fields))
    mcp = st.tuples(long, SOMETIMES, MOSTLY, st.none() | long, MOSTLY, MOSTLY).map(lambda fields: Mcp(*fields))
    match draw(st.sampled_from(["plain", "plain", "plain", "tools", "tools", "mcp", "bad", "throttled", "mute"])):
        case "tools":
            return plain._replace(tools=tuple(draw(st.lists(tools, min_size=1, max_size=3))))
        case "mcp" if not beta:
            calls = draw(st.lists(mcp, min_size=1, max_size=2))
            return plain._replace(mcp=tuple(calls), tools=tuple(draw(st.lists(tools, max_size=1))))
        case "bad":
            return plain._replace(outcome=draw(st.sampled_from(["failed", "incomplete", "refused"])))
        case "throttled":
            retry_ms = draw(st.integers(1000, 1500) | st.none())
            return plain._replace(outcome="throttled", deltas=0, retry_ms=retry_ms)
        case "mute" if draw(SOMETIMES):
            return plain._replace(outcome=draw(st.sampled_from(["unborn", "endless"])))
    return plain


def steps(longest_ms: int, transcription: bool) -> st.SearchStrategy[Step]:
    """One step of a call."""
    long = waits(longest_ms)
    rests = st.sampled_from([0, 0, 0, 500, longest_ms * 2 // 3])
    talk = st.tuples(st.integers(200, 900), rests, ENDS, long | long | long | st.none(), SOMETIMES, SOMETIMES, MOSTLY)
    heard: st.SearchStrategy[Step] = talk.map(lambda fields: Talk(*fields)) | long.map(Pause)
    if transcription:
        return heard
    typed = st.tuples(long | SHORT | st.none(), MOSTLY).map(lambda fields: Type(*fields))
    asked = st.tuples(SOMETIMES, st.none() | SHORT, MOSTLY, SOMETIMES).map(lambda fields: Ask(*fields))
    return heard | heard | typed | asked | ASIDES | DETECTIONS.map(Detect)


@st.composite
def scripts(draw: st.DrawFn, longest_ms: int) -> Script:
    """A call of any kind, in which nobody takes longer than ``longest_ms`` for one thing."""
    beta = draw(st.integers(0, 3)) == 0
    detection = draw(DETECTIONS)
    transcription = draw(st.integers(0, 7)) == 0
    semantic = st.integers(100, 400) | st.integers(100, longest_ms * 2 // 3)
    silence = semantic if detection == "semantic_vad" else st.integers(60, 300)
    idle = detection == "server_vad" and not beta and not transcription and draw(SOMETIMES)
    transcribes = transcription or draw(st.booleans())
    return Script(
        steps=tuple(draw(st.lists(steps(longest_ms, transcription), min_size=1, max_size=6))),
        answers=tuple(draw(st.lists(answers(longest_ms, beta), min_size=1, max_size=5))),
        api="beta" if beta else "ga",
        detection=detection,
        creates=draw(MOSTLY),
        interrupts=draw(MOSTLY),
        # The preview's session.created does not say that a session only transcribes.
        born_so=draw(st.booleans()) and not (beta and transcription),
        transcription=transcription,
        transcript_ms=draw(waits(1500)) if transcribes else None,
        silence_ms=tuple(draw(st.lists(silence, min_size=1, max_size=3))),
        idle_ms=draw(st.integers(300, 1500)) if idle else None,
        writes=draw(st.booleans()),
        chunk_ms=draw(st.sampled_from([40, 60, 100])),
        chunk_bytes=draw(st.sampled_from([160, 960, 4800])),
        noise=draw(st.integers(0, 2**32)),
    )


def drawn(count: int, longest_ms: int, *, at_random: bool) -> list[Script]:
    """As many scripts, each of a draw of its own: a crowd of calls in one is too large for hypothesis."""
    crowd: list[Script] = []

    @settings(
        max_examples=count,
        phases=[Phase.generate],
        derandomize=not at_random,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(scripts(longest_ms))
    def draw(script: Script) -> None:
        crowd.append(script)

    draw()
    return crowd
