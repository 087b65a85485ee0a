"""Scripts at random: any order of events of both sides that the service allows."""

import functools
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.rtproxy.scripted.script import Answer, Aside, Ask, Detect, Mcp, Pause, Script, Step, Talk, Tool, Type

SHORT = st.integers(5, 150)
SOON = SHORT | st.integers(150, 2000)
DELTAS = st.integers(0, 10)
RETRIES = st.integers(1000, 1500) | st.none()
MOSTLY, SOMETIMES = st.sampled_from([True, True, True, False]), st.sampled_from([False, False, False, True])
SELDOM = st.sampled_from([False] * 9 + [True])
ENDS = st.sampled_from(["stop", "stop", "stop", "stop", "stop", "stop", "commit", "clear", "clear", "leave"])
ASIDES = st.sampled_from(["system", "update", "truncate", "retrieve", "cancel", "commit_empty", "ping"]).map(Aside)
EITHER = st.booleans()
IDLE, NOISE = st.integers(300, 1500), st.integers(0, 2**32)
# No request is about as long as an append: a relay that reads no audio may take it for one.
WORDS, CHUNK_MS = st.sampled_from([0, 0, 600, 2500]), st.sampled_from([40, 60, 100])
CHUNK_BYTES = st.sampled_from([160, 960, 4800])
DETECTIONS = st.sampled_from(["server_vad", "semantic_vad", "none"])
# Numbers would do for these, but hypothesis draws 0 more often than others.
CALLS = st.sampled_from(["talk", "talk", "talk", "talk", "text", "transcription"])
BAD, MUTE = st.sampled_from(["failed", "incomplete", "refused"]), st.sampled_from(["unborn", "endless"])
OUTCOMES = st.sampled_from(
    ["plain", "plain", "plain", "tools", "tools", "tools", "mcp", "mcp", "bad", "throttled", "mute"]
)


@functools.cache
def waits(longest_ms: int) -> st.SearchStrategy[int]:
    """Mostly short, for many turns; what people and tools take may be longer than any guess."""
    return SHORT | st.integers(150, 900) | st.integers(900, longest_ms)


@functools.cache
def some(each: st.SearchStrategy[Any], least: int, most: int) -> st.SearchStrategy[tuple[Any, ...]]:
    """A tuple of them."""
    return st.lists(each, min_size=least, max_size=most).map(tuple)


@functools.cache
def silences(longest_ms: int, detection: str) -> st.SearchStrategy[int]:
    """After how much silence the model notices the end of speech."""
    if detection == "semantic_vad":
        return st.integers(100, 400) | st.integers(100, longest_ms * 2 // 3)
    return st.integers(60, 300)


@functools.cache
def tools(longest_ms: int, least: int, most: int) -> st.SearchStrategy[tuple[Tool, ...]]:
    """The function calls of a response."""
    each = st.tuples(waits(longest_ms), MOSTLY, MOSTLY).map(lambda fields: Tool(*fields))
    return some(each, least, most)


@functools.cache
def mcp(longest_ms: int) -> st.SearchStrategy[tuple[Mcp, ...]]:
    """The calls of MCP servers in a response."""
    long = waits(longest_ms)
    each = st.tuples(long, SOMETIMES, MOSTLY, st.none() | long, MOSTLY, MOSTLY).map(lambda fields: Mcp(*fields))
    return some(each, 1, 2)


@functools.cache
@st.composite
def answers(draw: st.DrawFn, longest_ms: int, beta: bool) -> Answer:
    """A response: most are plain."""
    long = waits(longest_ms)
    # A program asks for the next response at once, or soon: a relay may take seconds of silence for a no.
    ask_ms = draw(SOON)
    plain = Answer(draw(long), draw(DELTAS), draw(SHORT), ask_ms=ask_ms)
    match draw(OUTCOMES):
        case "tools":
            return plain._replace(tools=draw(tools(longest_ms, 1, 3)))
        case "mcp" if not beta:
            return plain._replace(mcp=draw(mcp(longest_ms)), tools=draw(tools(longest_ms, 0, 1)))
        case "bad":
            return plain._replace(outcome=draw(BAD))
        case "throttled":
            return plain._replace(outcome="throttled", deltas=0, retry_ms=draw(RETRIES))
        case "mute" if draw(SOMETIMES):
            return plain._replace(outcome=draw(MUTE))
    return plain


@functools.cache
def steps(longest_ms: int, kind: str) -> st.SearchStrategy[Step]:
    """One step of a call."""
    long = waits(longest_ms)
    rests = st.sampled_from([0, 0, 0, 500, longest_ms * 2 // 3])
    talk = st.tuples(
        st.integers(200, 900), rests, ENDS, long | long | long | st.none(), SOMETIMES, SOMETIMES, SELDOM, MOSTLY
    )
    talks: st.SearchStrategy[Step] = talk.map(lambda fields: Talk(*fields))
    pauses = long.map(Pause)
    if kind == "transcription":
        return talks | talks | pauses
    typed = st.tuples(long | SHORT | st.none(), MOSTLY).map(lambda fields: Type(*fields))
    asked = st.tuples(SOMETIMES, st.none() | SHORT, MOSTLY, SOMETIMES).map(lambda fields: Ask(*fields))
    if kind == "text":
        return typed | typed | asked | pauses | ASIDES
    return talks | talks | talks | talks | talks | pauses | typed | asked | ASIDES | DETECTIONS.map(Detect)


@functools.cache
@st.composite
def scripts(draw: st.DrawFn, longest_ms: int) -> Script:
    """A call of any kind, in which nobody takes longer than ``longest_ms`` for one thing."""
    kind, beta, detection = draw(CALLS), draw(SOMETIMES), draw(DETECTIONS)
    transcription = kind == "transcription"
    idle = detection == "server_vad" and not beta and not transcription and draw(SOMETIMES)
    transcribes = transcription or draw(EITHER)
    return Script(
        steps=draw(some(steps(longest_ms, kind), 2, 6)),
        answers=draw(some(answers(longest_ms, beta), 2, 5)),
        api="beta" if beta else "ga",
        detection=detection,
        creates=draw(MOSTLY),
        interrupts=draw(MOSTLY),
        # The preview's session.created does not say that a session only transcribes.
        born_so=draw(EITHER) and not (beta and transcription),
        transcription=transcription,
        transcript_ms=draw(waits(1500)) if transcribes else None,
        silence_ms=draw(some(silences(longest_ms, detection), 1, 3)),
        idle_ms=draw(IDLE) if idle else None,
        writes=draw(EITHER),
        wordy=draw(WORDS),
        chunk_ms=draw(CHUNK_MS),
        chunk_bytes=draw(CHUNK_BYTES),
        noise=draw(NOISE),
    )


SIMPLE, FRESH = 2, 10
"""The first two examples of hypothesis are small ones; those after ten are mostly earlier ones, a little changed."""


def drawn(count: int, longest_ms: int, first_seed: int) -> list[Script]:
    """As many scripts, the same ones for the same seed. A crowd of calls in one draw would be too large."""
    crowd: list[Script] = []
    while len(crowd) < count:
        crowd += _examples(scripts(longest_ms), first_seed + len(crowd))[SIMPLE:]
    return crowd[:count]


def _examples(strategy: st.SearchStrategy[Script], number: int) -> list[Script]:
    examples: list[Script] = []

    @seed(number)
    @settings(
        max_examples=FRESH,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def draw(script: Script) -> None:
        examples.append(script)

    draw()
    return examples
