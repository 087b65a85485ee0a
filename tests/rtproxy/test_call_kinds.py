"""Each kind of turn by itself, through a relay that is drained in the middle of it (`scripted`): what a call waits for.

All calls go through one relay at once, which gets SIGTERM after a second and has eight. What somebody owes is paid some
four seconds after that: later than the last quiet call closes, or than any guess, and before the deadline.
"""

import asyncio
from typing import Any

import pytest
import uvloop

from tests.rtproxy.scripted.script import Answer, Aside, Ask, Detect, Mcp, Pause, Script, Step, Talk, Tool, Type
from tests.rtproxy.scripted.trial import Drained, drained

WINDOW_S, SIGTERM_S = 8, 1.0
PAID_S, DEADLINE_S = 2.9, 6.4
"""After SIGTERM: the earliest moment at which a debt here is paid, and the drain's deadline."""


PROMPT = Answer()


def call(*steps: Step, answer: Answer = PROMPT, then: Answer = PROMPT, **session: Any) -> Script:
    """A call whose caller does this once and then no more; its model begins with ``answer``."""
    return Script((*steps, Pause(600_000)), (answer, then, then, then), **session)


def tool(*tools: Tool) -> Answer:
    return Answer(tools=tools)


SPEAKS = Talk(300)
THROTTLED = Answer(outcome="throttled", deltas=0, retry_ms=1400)
MOVED_AFTER_ITS_TURN = {
    "the caller speaks": call(Talk(4400)),
    "the caller stops sending in mid-sentence and goes on": call(Talk(800, rest_ms=3600)),
    "the model hears late that the caller fell silent": call(SPEAKS, detection="semantic_vad", silence_ms=(4200,)),
    "the model answers late": call(SPEAKS, answer=Answer(before_ms=4200)),
    "the model answers long": call(SPEAKS, answer=Answer(deltas=30, gap_ms=140)),
    "the caller is to ask for the answer": call(Talk(300, ask_ms=4200), creates=False),
    "the caller has committed its speech by hand": call(Talk(300, then="commit", ask_ms=4200)),
    "the caller holds the button": call(Talk(4400), detection="none"),
    "the caller holds the button from the first event on": call(Talk(4400), detection="none", born_so=True),
    "the caller holds the button of a preview client": call(Talk(4400), detection="none", api="beta"),
    "the caller holds the button and says nothing": call(Talk(800, rest_ms=3600), detection="none"),
    "the caller holds the button, having cleared": call(Talk(800, rest_ms=3600, fresh=True), detection="none"),
    "the session changes while the caller holds the button": call(
        Talk(800, rest_ms=3600, updates=True), detection="none"
    ),
    "the caller holds the button again while it is answered": call(
        Type(waits=False), Talk(800, rest_ms=3600), detection="none", answer=Answer(before_ms=1500)
    ),
    "the caller lets the button go and asks late": call(Talk(300, ask_ms=4200), detection="none"),
    "the caller holds the button, having turned detection off": call(Detect("none"), Talk(4400)),
    "the model answers push to talk late": call(SPEAKS, detection="none", answer=Answer(before_ms=4200)),
    "the caller types and asks late": call(Type(4200)),
    "the session changes while the caller speaks": call(Talk(800, rest_ms=3600, updates=True)),
    "the caller asks again where it asked too early": call(
        Ask(waits=False), Pause(100), Ask(rude=True), answer=Answer(deltas=30, gap_ms=130), then=Answer(before_ms=600)
    ),
    "the caller asks for two responses, and one begins late": call(
        Ask(out_of_band=True, waits=False), Ask(), answer=Answer(before_ms=4400)
    ),
    "the model answers a text late": call(Type(), answer=Answer(before_ms=4400)),
    "the model greets late": call(Ask(), answer=Answer(before_ms=4400)),
    "the model greets late, and there is nothing yet to cancel": call(
        Ask(cancel_ms=100), answer=Answer(before_ms=4400)
    ),
    "the caller takes back what it said before the model greets": call(
        Ask(waits=False), Talk(400, then="clear"), answer=Answer(before_ms=4400)
    ),
    "the model answers a long request late": call(Ask(), answer=Answer(before_ms=4400), wordy=4000),
    "the model answers out of band late": call(Ask(out_of_band=True), answer=Answer(before_ms=4400)),
    "a tool takes long": call(SPEAKS, answer=tool(Tool(4200))),
    "a tool of a preview client takes long": call(SPEAKS, answer=tool(Tool(4200)), api="beta"),
    "one of two tools takes long": call(Type(), answer=tool(Tool(20), Tool(4200))),
    "a tool takes long while the caller talks on": call(Type(waits=False), Pause(400), SPEAKS, answer=tool(Tool(4200))),
    "an MCP call outlives its response": call(Type(), answer=Answer(mcp=(Mcp(4200),))),
    "an MCP call fails late": call(Type(), answer=Answer(mcp=(Mcp(4200, fails=True),))),
    "an MCP call waits for approval": call(Type(), answer=Answer(mcp=(Mcp(20, approval_ms=4200),))),
    "an MCP call waits for denial": call(Type(), answer=Answer(mcp=(Mcp(20, approval_ms=4200, approves=False),))),
    "an approved MCP call takes long": call(Type(), answer=Answer(mcp=(Mcp(4000, approval_ms=200),))),
    "the model is throttled again and again": Script(
        (Type(), Pause(600_000)), (THROTTLED, THROTTLED, THROTTLED, PROMPT)
    ),
    "the model speaks unasked": call(idle_ms=300, answer=Answer(before_ms=4400)),
    "the transcript comes late": call(SPEAKS, transcription=True, transcript_ms=4200),
    "the transcript of push to talk comes late": call(
        SPEAKS, transcription=True, transcript_ms=4200, detection="none", api="beta"
    ),
}
MOVED_BETWEEN_TURNS = {
    "nothing was said": call(),
    "a turn is over": call(SPEAKS),
    "the caller took back what it said": call(Talk(300, then="clear")),
    "the caller let the button go and took back what it said": call(Talk(300, then="clear"), detection="none"),
    "the caller's commit by hand was answered": call(Talk(300, then="commit")),
    "push to talk was answered": call(SPEAKS, detection="none"),
    "a transcript was written": call(SPEAKS, transcription=True, transcript_ms=20),
    "a tool was used": call(SPEAKS, answer=tool(Tool(20), Tool(20))),
    "an MCP call was used": call(Type(), answer=Answer(mcp=(Mcp(50), Mcp(20, outlives=False)))),
    "a response was cancelled": call(Ask(cancel_ms=60), answer=Answer(deltas=20)),
    "a response was cut off": call(Ask(), answer=Answer(outcome="incomplete")),
    "the service refused to commit nothing": call(Aside("commit_empty"), detection="none"),
    "an answer out of band is over": call(Ask(out_of_band=True)),
}
CUT_AT_THE_DEADLINE = {
    "the model never begins to answer": call(SPEAKS, answer=Answer(outcome="unborn")),
    "the model never ends its answer": call(SPEAKS, answer=Answer(outcome="endless")),
    "a tool takes minutes": call(SPEAKS, answer=tool(Tool(120_000))),
    "the caller goes on speaking": call(Talk(60_000)),
    "the caller goes on holding the button": call(Talk(60_000), detection="none"),
}
MOVED_SOME_TIME = {
    "the caller went mute in mid-sentence": call(Talk(300, then="leave")),
    "the caller let the button go and sends no commit": call(Talk(300, then="leave"), detection="none"),
    "a tool says nothing": call(SPEAKS, answer=tool(Tool(20, output=False))),
    "the service refused the request for a response": call(Ask(), answer=Answer(outcome="refused")),
    "nothing is said after a tool": call(SPEAKS, answer=tool(Tool(20, asks=False))),
    "nobody asks again after a throttled response": call(SPEAKS, answer=Answer(outcome="throttled")),
}
CALLS = MOVED_AFTER_ITS_TURN | MOVED_BETWEEN_TURNS | CUT_AT_THE_DEADLINE | MOVED_SOME_TIME


@pytest.fixture(scope="module")
def ended() -> dict[str, Drained]:
    """What became of each call."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return dict(zip(CALLS, runner.run(drained(list(CALLS.values()), WINDOW_S, SIGTERM_S)), strict=True))


@pytest.mark.parametrize("kind", MOVED_AFTER_ITS_TURN)
def test_a_call_is_moved_after_its_turn_when(kind: str, ended: dict[str, Drained]) -> None:
    assert not ended[kind].faults, str(ended[kind])
    assert ended[kind].closed_s > PAID_S, str(ended[kind])
    assert ended[kind].turn == "quiet", str(ended[kind])


@pytest.mark.parametrize("kind", MOVED_BETWEEN_TURNS)
def test_a_call_is_moved_between_turns_when(kind: str, ended: dict[str, Drained]) -> None:
    assert not ended[kind].faults, str(ended[kind])
    assert ended[kind].turn == "quiet", str(ended[kind])


@pytest.mark.parametrize("kind", CUT_AT_THE_DEADLINE)
def test_a_call_is_cut_at_the_deadline_only_when(kind: str, ended: dict[str, Drained]) -> None:
    assert not ended[kind].faults, str(ended[kind])
    assert ended[kind].closed_s > DEADLINE_S - 0.05, str(ended[kind])
    assert ended[kind].turn != "quiet", str(ended[kind])


@pytest.mark.parametrize("kind", MOVED_SOME_TIME)
def test_a_call_is_moved_between_turns_or_at_the_deadline_when(kind: str, ended: dict[str, Drained]) -> None:
    assert not ended[kind].faults, str(ended[kind])
