"""Calls at random, a crowd of them through a relay that is drained: none is cut while somebody in it owes something.

The judge is what the caller and the model of each call know, never the relay (`scripted.ledger`):

- An event counts when it has arrived at the other side. Then the relay passed it on before its Close, and knew of it;
  what crossed with the Close does not count. Only for an event that was sent in pieces a tenth of a second is granted.
- A call gets one Close, 1012, and its model 1001. Where either party owes something at that moment and is going to pay,
  the Close comes at the drain's deadline, no sooner, and connection.closed does not call the turn quiet.
- Where nobody owes anything, the turn is quiet, and the call does not wait: it closes within a second after a turn that
  ended after SIGTERM, and else within the time over which a drain spreads the quiet calls.
- A debt that the caller will never pay, which only the caller can know, allows both.

`nox -s fuzz` sets HYPOTHESIS_PROFILE=long: 1,000 calls, some of whose parties take 10 s for one thing.
"""

import functools
import os
import random

import pytest

from tests.rtproxy.scripted.drawing import drawn
from tests.rtproxy.scripted.script import Script
from tests.rtproxy.scripted.trial import drained

EVENTS = (
    "session.update,transcription_session.update,input_audio_buffer.append,input_audio_buffer.commit,"
    "input_audio_buffer.clear,conversation.item.create,conversation.item.truncate,conversation.item.retrieve,"
    "response.create,response.cancel"
)
SETTINGS = ({"RTPROXY_HEARTBEAT_SECONDS": "4"}, {"RTPROXY_CLIENT_EVENTS": EVENTS})
"""Its own pings and their answers are no turn; and a relay that reads each event knows as much as one that does not."""
LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
SEED = random.SystemRandom().randrange(1 << 32) if LONG else 0
CALLS = 50
CROWDS = range(20 if LONG else 2)
SHOWN = 3
"""Calls that a failure shows whole."""


@functools.cache
def crowds(window_s: int) -> list[list[Script]]:
    """All crowds that are drained within ``window_s``."""
    count = sum(window_of(number) == window_s for number in CROWDS)
    scripts = drawn(count * CALLS, window_s * 500, SEED + window_s)
    return [scripts[number::count] for number in range(count)]


def window_of(number: int) -> int:
    return (8, 6, 20)[number % (3 if LONG else 2)]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", CROWDS)
async def test_no_call_is_cut_while_its_caller_or_its_model_owes_something(number: int) -> None:
    window_s = window_of(number)
    scripts = crowds(window_s)[[each for each in CROWDS if window_of(each) == window_s].index(number)]
    after_s = random.Random(SEED + number).uniform(0.3, 2.5)
    calls = await drained(scripts, window_s, after_s, **SETTINGS[number % 2])
    faulty = [call for call in calls if call.faults]
    shown = "\n\n".join(str(call) for call in sorted(faulty, key=lambda call: len(call.history))[:SHOWN])
    assert not faulty, f"{len(faulty)} of {len(scripts)}, seed {SEED}, SIGTERM after {after_s:.3f} s\n{shown}"
