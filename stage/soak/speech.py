"""What is said: bodies of data frames, to which `End.tell` adds their number, and bytes that are no sound frame."""

import random
from collections.abc import Iterator

from stage.rawpeer import BINARY, CLOSE, PING, frame
from stage.soak.account import ModelSide
from stage.soak.end import End
from stage.soak.plan import Life

UP = b'{"type":"input_audio_buffer.append","audio":"' + b"A" * 1700 + b'",'
BIG = b'{"type":"input_audio_buffer.append","audio":"' + b"A" * (1 << 20) + b'",'
OVERSIZE = 16 * 1024 * 1024 + 1
_DELTA = b'{"type":"response.output_audio.delta","event_id":"event_1","delta":"'
AUDIO = _DELTA + b"A" * 4000 + b'",'
FLOOD = _DELTA + b"A" * 32_000 + b'",'
BROKEN_UP = (
    frame(1, b"bare", masked=False),
    frame(1, b"reserved bit", masked=True, rsv=4),
    frame(3, b"reserved opcode", masked=True),
    frame(PING, b"in pieces", masked=True, fin=False),
    frame(0, b"the end of nothing", masked=True),
    frame(PING, b"long" * 32, masked=True),
    frame(CLOSE, (1005).to_bytes(2), masked=True),
    frame(CLOSE, b"1", masked=True),
)
BROKEN_DOWN = (
    frame(1, b"masked", masked=True),
    frame(1, b"reserved bit", masked=False, rsv=2),
    frame(PING, b"long" * 32, masked=False),
    frame(0, b"the end of nothing", masked=False),
    frame(11, b"reserved opcode", masked=False),
)


def speak(end: End, chance: random.Random) -> None:
    """What a client says in a period: nearly always a frame of audio."""
    now = chance.random()
    if now < 0.0005:
        end.tell(BIG)
    elif now < 0.02:
        end.say(PING, b"soak?")
    elif now < 0.04:
        end.tell(UP[:100], BINARY, fin=False)
        end.say(PING, b"soak between")
        end.tell(b"", 0, fin=False)
        end.tell(UP[:600], 0)
    else:
        end.tell(UP)


def events(life: Life, side: ModelSide) -> Iterator[bytes]:
    """What it says in each period, for ever; empty: nothing. ``side`` counts what was said."""
    yield b'{"type":"session.created","session":{"id":"soak-%d"},' % life.number
    while True:
        yield b'{"type":"input_audio_buffer.speech_started",'
        yield from (b"",) * life.chance.randrange(10)
        yield b'{"type":"input_audio_buffer.speech_stopped",'
        yield b'{"type":"response.created",'
        yield from (AUDIO,) * life.chance.randrange(40)
        tokens_in, tokens_out = life.chance.randrange(1, 100), life.chance.randrange(1, 100)
        usage = b'{"input_tokens":%d,"output_tokens":%d}' % (tokens_in, tokens_out)
        side.responses += 1
        side.tokens_in += tokens_in
        side.tokens_out += tokens_out
        yield b'{"type":"response.done","response":{"usage":%b},' % usage
        yield from (b"",) * life.chance.randrange(5)
