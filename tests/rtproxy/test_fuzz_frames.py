"""Whatever stream arrives and however it is cut: the same bytes go on, the same is heard, and nothing raises.

Profiles of hypothesis: ``quick`` is the ordinary one; ``nox -s fuzz`` sets HYPOTHESIS_PROFILE=long, half an hour.
"""

import asyncio
import os
import socket
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import orjson
import pytest
import uvloop
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rtproxy.call.heartbeat import Wheel
from rtproxy.call.leg import Runtime
from rtproxy.call.patience import Times
from rtproxy.call.splice import Splice
from rtproxy.model.events import COLLECT_LIMIT, ClientEvents, ModelEvents
from rtproxy.model.turns import APPEND, CREATE, REQUESTS, TABLE, Turns
from rtproxy.wire.credit import Allowance
from rtproxy.wire.frames import Count
from rtproxy.wire.poller import Poller
from rtproxy.wire.takeover import DetachedSocket
from stage.rawpeer import BINARY, CLOSE, PING, PONG, TEXT, announced, frame
from tests.rtproxy.goes import a_walker, all_of

slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("quick", max_examples=100, deadline=None, derandomize=True, database=None)
settings.register_profile("long", max_examples=60_000, deadline=None, database=None, suppress_health_check=slow)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

HELD_MAX = 144
"""The longest header and control frame, with room to spare."""
AUDIO = b'{"type":"response.output_audio.delta","delta":"'

MOVING = st.sampled_from(
    [
        b'{"type":"session.created","session":{"id":"sess_1"}}',
        b'{"type":"response.created","event_id":"event_1"}',
        b'{"event_id":"event_2","type":"response.done","response":{"usage":{"input_tokens":3,"output_tokens":5}}}',
        b'{"type":"input_audio_buffer.speech_started"}',
        b'{ "type" : "error", "error": {"code": "oops"}}',
        b'{"type":"response.done","response":{"output":[{"type":"function_call"}]}}',
    ]
)
PAYLOADS = st.one_of(
    MOVING,
    st.binary(max_size=300),
    st.builds(lambda size: AUDIO + b"a" * size + b'"}', st.sampled_from([0, 75, 76, 77, 78, 79, 80, 81, 82, 400])),
    # A type that matters, behind as much as one likes.
    st.builds(lambda text, size: b" " * size + text, MOVING, st.integers(0, 200)),
    st.builds(
        lambda a, b: b'{"type"' + b" " * a + b":" + b" " * b + b'"response.created"}',
        st.integers(0, 200),
        st.integers(0, 200),
    ),
)
CODES = st.one_of(st.integers(0, 65_535), st.sampled_from([1000, 1001, 1005, 4000]))


def sent(opcode: int, payload: bytes, *, masked: bool, fin: bool = True, rsv: int = 0) -> bytes:
    return frame(opcode, payload, masked=masked, fin=fin, rsv=rsv)


@st.composite
def messages(draw: st.DrawFn, masked: bool) -> bytes:
    """One message, in fragments or whole, control frames between them."""
    opcode = draw(st.sampled_from([TEXT, TEXT, TEXT, BINARY]))
    payload = draw(PAYLOADS)
    cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
    parts = [payload[a:b] for a, b in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
    raw = b""
    for number, part in enumerate(parts):
        raw += sent(0 if number else opcode, part, masked=masked, fin=number == len(parts) - 1)
        if draw(st.integers(0, 3)) == 0:
            raw += sent(draw(st.sampled_from([PING, PONG])), draw(st.binary(max_size=125)), masked=masked)
    return raw


def unsound(masked: bool) -> st.SearchStrategy[bytes]:
    """What may be a fault, or the end."""
    return st.one_of(
        st.builds(
            lambda opcode, payload, fin, rsv: sent(opcode, payload, masked=masked, fin=fin, rsv=rsv),
            st.integers(0, 15),
            st.binary(max_size=130),
            st.booleans(),
            st.sampled_from([0, 0, 1, 2, 4]),
        ),
        st.builds(
            lambda opcode, length: announced(opcode, length, masked=masked),
            st.integers(0, 15),
            st.integers(0, 2**64 - 1),
        ),
        st.builds(lambda code, why: sent(CLOSE, code.to_bytes(2) + why, masked=masked), CODES, st.binary(max_size=120)),
        st.sampled_from([sent(CLOSE, b"", masked=masked), sent(CLOSE, b"x", masked=masked)]),
        st.sampled_from([sent(TEXT, b"x", masked=not masked)]),
        st.binary(max_size=30),
    )


@st.composite
def streams(draw: st.DrawFn, masked: bool) -> bytes:
    """Messages, and then perhaps something else."""
    said = draw(st.lists(messages(masked), max_size=6))
    said += draw(st.lists(unsound(masked), max_size=2))
    return b"".join(said)


@st.composite
def cut(draw: st.DrawFn, stream: bytes, most: int = 12) -> list[bytes]:
    """The stream in chunks, none of them empty."""
    if stream and draw(st.integers(0, 9)) == 0:
        return [stream[at : at + 1] for at in range(len(stream))]
    at = sorted({*draw(st.lists(st.integers(0, len(stream)), max_size=most)), 0, len(stream)})
    return [stream[a:b] for a, b in pairwise(at)]


@st.composite
def cases(draw: st.DrawFn) -> tuple[bool, list[bytes]]:
    masked = draw(st.booleans())
    return masked, draw(cut(draw(streams(masked))))


@st.composite
def usual(draw: st.DrawFn, masked: bool) -> bytes:
    """A frame as nearly all are, or one that differs in a single thing."""
    length = draw(st.integers(122, 134) | st.integers(135, 400))
    text = draw(MOVING).ljust(length) if draw(st.integers(0, 4)) == 0 else AUDIO.ljust(length, b"a")
    odd = draw(st.integers(0, 19))
    if odd == 0:
        return sent(TEXT, text, masked=masked, fin=False) + sent(0, text, masked=masked)
    if odd == 1:
        return sent(BINARY, text, masked=masked)
    if odd == 2:
        return sent(TEXT, text, masked=masked, rsv=4)
    if odd == 3:
        return sent(TEXT, text, masked=not masked)
    if odd == 4:
        return sent(CLOSE, text, masked=masked)
    if odd == 5:
        return sent(PING, text[:125], masked=masked)
    return sent(TEXT, text, masked=masked)


@st.composite
def calm_cases(draw: st.DrawFn) -> tuple[bool, list[bytes]]:
    """A side's usual frames, most of them alone in their chunk; else with the next one, or a byte off."""
    masked = draw(st.booleans())
    said = draw(st.lists(usual(masked), min_size=1, max_size=8))
    chunks = [b""]
    for each in said:
        off = draw(st.sampled_from([0, 0, 0, 0, 1, 4, 8, len(each) - 1]))
        together = draw(st.integers(0, 3)) == 0
        chunks[-1] += each[:off]
        chunks = [*chunks[:-1], chunks[-1] + each[off:]] if together else [*chunks, each[off:]]
    return masked, [chunk for chunk in chunks if chunk]


class Heard:
    """A tap that wants everything and keeps it."""

    ignores = (b"",)
    parsed = 0

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bool]] = []

    def begin(self, data: bytes, start: int, stop: int, done: bool) -> bool:
        assert 0 <= start <= stop <= len(data)
        self.messages.append((data[start:stop], done))
        return not done

    def more(self, data: bytes, start: int, stop: int, done: bool) -> bool:
        assert 0 <= start <= stop <= len(data)
        begun, ended = self.messages[-1]
        assert not ended, "a message goes on after its last byte"
        self.messages[-1] = (begun + data[start:stop], done)
        return not done


class Walk(NamedTuple):
    """All that may be seen of a walk."""

    passed: bytes
    frames: int
    halt: str
    code: int
    skip: int
    heard: list[tuple[bytes, bool]]


def walk(chunks: Iterable[bytes], *, masked: bool) -> Walk:
    tap = Heard()
    walker = a_walker(masked=masked, finder=tap)
    passed, fed = b"", 0
    for chunk in chunks:
        passed += all_of(walker, chunk)
        fed += len(chunk)
        assert walker.halt or fed - len(passed) <= HELD_MAX
        assert not (walker.fast and (walker.skip or walker.halt or fed != len(passed)))
    return Walk(passed + walker.close, walker.count.frames, walker.halt, walker.code, walker.skip, tap.messages)


def reference(stream: bytes, masked: bool) -> Iterator[tuple[int, int, bytes]]:
    """The frames of a sound stream, read as RFC 6455 section 5.2 has it: first byte, end, payload (unmasked)."""
    at = 0
    while at < len(stream):
        first, length = stream[at], stream[at + 1] & 0x7F
        at += 2
        if length > 125:
            size = 2 if length == 126 else 8
            length = int.from_bytes(stream[at : at + size])
            at += size
        at += 4 * masked  # the masks of these streams are zero
        yield first, at + length, stream[at : at + length]
        at += length


@given(cases())
@example((True, [b"\x81\xfe\x00\x7e", b"\0\0\0\0" + b"x" * 126]))
def test_every_cut_of_a_stream_is_the_same_walk(case: tuple[bool, list[bytes]]) -> None:
    masked, chunks = case
    stream = b"".join(chunks)
    assert walk(chunks, masked=masked) == walk([stream] if stream else [], masked=masked)


@given(st.booleans().flatmap(lambda masked: st.tuples(st.just(masked), st.lists(messages(masked), max_size=8))))
def test_a_walk_of_sound_messages_is_that_of_the_rfc(case: tuple[bool, list[bytes]]) -> None:
    masked, said = case
    stream = b"".join(said)
    seen = walk([stream] if stream else [], masked=masked)
    assert (seen.passed, seen.halt, seen.skip) == (stream, "", 0)
    texts: list[bytes] = []
    opcode, count = 0, 0
    for first, _, payload in reference(stream, masked):
        count += 1
        if first & 8:
            continue
        opcode = first & 0xF or opcode
        if opcode == TEXT:
            texts = [*texts, payload] if first & 0xF else [*texts[:-1], texts[-1] + payload]
    assert seen.frames == count
    assert seen.heard == [(text, True) for text in texts]


@given(st.booleans(), st.lists(st.binary(max_size=200), max_size=20))
def test_arbitrary_bytes_never_raise_and_little_of_them_is_kept(masked: bool, chunks: list[bytes]) -> None:
    seen = walk(chunks, masked=masked)
    assert b"".join(chunks).startswith(seen.passed)


# What the model's events do.

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**64 - 1).filter(lambda n: n >= -(2**63)), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=12), inner, max_size=4)),
    max_leaves=12,
)
OUTPUT = st.one_of(
    JSON,
    st.lists(st.fixed_dictionaries({"type": st.sampled_from(["function_call", "mcp_call"]), "id": JSON}), max_size=3),
)
ITEMS = st.sampled_from(["message", "function_call", "function_call_output", "mcp_call", "mcp_approval_request", None])
TERMS = st.sampled_from(["turn_detection", "transcription", "format"])
KINDS = st.sampled_from([*sorted(kind.decode() for kind in TABLE), "response.output_audio.delta", "unheard.of"])


@st.composite
def events(draw: st.DrawFn) -> bytes:
    """An event of the right outline and with anything in it, at times spoiled."""
    usage = st.fixed_dictionaries({"input_tokens": JSON, "output_tokens": JSON})
    response = st.one_of(JSON, st.fixed_dictionaries({"usage": st.one_of(JSON, usage), "output": OUTPUT}))
    inside = {"response": response, "error": st.one_of(JSON, st.fixed_dictionaries({"code": JSON}))}
    audio = st.one_of(JSON, st.fixed_dictionaries({"input": st.dictionaries(TERMS, JSON, max_size=2)}))
    terms = st.fixed_dictionaries({}, optional={"id": JSON, "type": JSON, "audio": audio, "turn_detection": JSON})
    session = {"session": st.one_of(JSON, terms), "event_id": JSON, "item_id": JSON, "usage": st.one_of(JSON, usage)}
    item = {"item": st.one_of(JSON, st.fixed_dictionaries({"type": ITEMS, "id": JSON, "call_id": JSON, "role": JSON}))}
    event = {"type": draw(KINDS)} | draw(st.fixed_dictionaries({}, optional=inside | session | item))
    items = draw(st.permutations(list(event.items())))
    raw = orjson.dumps(dict(items))
    if draw(st.integers(0, 4)) == 0:
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.binary(max_size=5)) + raw[at + draw(st.integers(0, 5)) :]
    return raw


def state(turns: Turns) -> tuple[object, ...]:
    """All that anybody reads of a call's turns, but for the clock's part."""
    counts = (turns.active, turns.speaking, turns.responses, turns.usage.tokens(), turns.usage.transcription_s)
    owed = (turns.answer_due, turns._request_due, turns._debts, turns._requests, turns._manual, turns._audio_seen)
    return (*counts, *owed, turns.upstream_session, turns.error_code)


def listened(chunks: Iterable[bytes]) -> Turns:
    turns = Turns()
    walker = a_walker(masked=False, finder=ModelEvents((turns,)))
    for chunk in chunks:
        all_of(walker, chunk)
    assert not walker.halt
    return turns


@given(
    st.lists(events(), max_size=5).flatmap(lambda said: cut(b"".join(sent(TEXT, each, masked=False) for each in said)))
)
def test_events_of_any_shape_never_raise_and_count_no_nonsense(chunks: list[bytes]) -> None:
    turns = listened(chunks)
    assert all(0 <= tokens < 5 * 2**53 for tokens in turns.usage.tokens().values())
    assert 0 <= turns.usage.transcription_s <= 5 * 86_400
    assert isinstance(turns.upstream_session, str | None)
    assert isinstance(turns.error_code, str | None)
    orjson.dumps([turns.upstream_session, turns.error_code, turns.state])


@st.composite
def in_frames(draw: st.DrawFn, event: bytes) -> bytes:
    """An event of the client in fragments, each with a key of its own."""
    cuts = sorted(draw(st.lists(st.integers(0, len(event)), max_size=2)))
    parts = [event[a:b] for a, b in zip([0, *cuts], [*cuts, len(event)], strict=True)]
    last = len(parts) - 1
    return b"".join(sent(0 if n else TEXT, part, masked=True, fin=n == last) for n, part in enumerate(parts))


def in_two(event: bytes, at: int) -> list[bytes]:
    raw = sent(TEXT, event, masked=False)
    return [raw[:at], raw[at:]]


@given(
    st.lists(st.one_of(messages(masked=False), events().map(lambda event: sent(TEXT, event, masked=False))), max_size=6)
    .map(b"".join)
    .flatmap(cut)
)
@example(in_two(b'{"type"' + b" " * 200 + b':"response.created"}', 195))
@example(in_two(b'{"type":"response.created' + b" " * 200 + b'"}', 195))
def test_every_cut_of_the_models_events_moves_the_turn_alike(chunks: list[bytes]) -> None:
    assert state(listened(chunks)) == state(listened([b"".join(chunks)]))


ASKED = st.one_of(
    st.sampled_from([APPEND, *sorted(REQUESTS), b"unheard.of"]).map(lambda kind: b'{"type":"' + kind + b'"}'),
    st.builds(
        lambda kind, pad: b'{"a":"' + b"x" * pad + b'","type":"' + kind + b'"}',
        st.sampled_from([CREATE, APPEND]),
        st.sampled_from([1, 100, 200, 600]),
    ),
    st.binary(max_size=300),
)


def asked(chunks: Iterable[bytes]) -> Turns:
    turns, manual = Turns(), b'{"type":"session.created","session":{"turn_detection":null}}'
    ModelEvents((turns,)).begin(manual, 0, len(manual), True)
    walker = a_walker(masked=True, finder=ClientEvents((turns,)))
    turns.messages = walker.count.messages
    for chunk in chunks:
        all_of(walker, chunk)
    assert not walker.halt
    return turns


@given(st.lists(ASKED.flatmap(in_frames), max_size=6).map(b"".join).flatmap(cut))
def test_every_cut_of_the_clients_events_moves_the_turn_alike(chunks: list[bytes]) -> None:
    assert state(asked(chunks)) == state(asked([b"".join(chunks)]))


@pytest.mark.parametrize("head", [b'{"type":"response.done","x":"', b"", b'{"type":"response.output_audio.delta"'])
def test_a_message_of_any_length_is_kept_up_to_a_bound(head: bytes) -> None:
    tap = ModelEvents((Turns(),))
    walker = a_walker(masked=False, finder=tap)
    chunk = b"x" * 65_536
    walker.feed(announced(TEXT, len(head) + 16 * 1024 * 1024 - 64 * 1024, masked=False) + head)
    for _ in range(255):
        walker.feed(chunk)
        assert len(tap._text or b"") <= COLLECT_LIMIT + len(chunk)
    assert walker.skip == 0
    assert tap._text is None


# The relay's own path of a frame, over sockets: a calm leg takes a shortcut past the walk.


class Tapped(NamedTuple):
    """What came of one side's stream at the other side, and what the relay made of it."""

    passed: bytes
    frames: int
    received: int
    halt: str
    turns: tuple[object, ...]


def pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    for each in (near, far):
        each.setblocking(False)
    return near, far


async def relayed(chunks: list[bytes], *, masked: bool) -> Tapped:
    """Sends chunks through a splice, each alone on its way, from the client (masked) or from the model."""
    loop = asyncio.get_running_loop()
    poller, turns, over, counts = Poller(), Turns(), asyncio.Event(), (Count(), Count())
    runtime = Runtime(poller, Wheel(25, 30), loop, Times(), Allowance())
    (client, client_leg), (model, model_leg) = pair(), pair()
    splice = Splice(
        DetachedSocket(client_leg, None, b""), DetachedSocket(model_leg, None, b""), *counts, turns, runtime, over.set
    )
    splice.start(b"", b"")
    talker, listener, flow = (
        (client, model, splice.client.inbound) if masked else (model, client, splice.upstream.inbound)
    )
    count, ending = flow.reader.count, splice.ending
    given = 0
    async with asyncio.timeout(10):
        for chunk in chunks:
            await loop.sock_sendall(talker, chunk)
            given += len(chunk)
            while count.bytes < given and not ending.ended_by:  # noqa: ASYNC110 - it is this example's own loop
                await asyncio.sleep(0)
        frames, received, halt, moved = count.frames, count.bytes, flow.reader.halt, state(turns)
        talker.close()
        passed = b""
        while data := await loop.sock_recv(listener, 1 << 16):
            passed += data
            if halt or ending.ended_by:
                splice.cut()
        splice.cut()
        listener.close()
        await over.wait()
    poller.close()
    return Tapped(passed, frames, received, halt, moved)


LOOP = asyncio.Runner(loop_factory=uvloop.new_event_loop)


@pytest.fixture(scope="module", autouse=True)
def _loop_is_closed() -> Iterator[None]:
    yield
    LOOP.close()


@given(calm_cases() | cases())
@example((False, [sent(TEXT, AUDIO + b"a" * 400, masked=False)] * 3))
@example((False, [sent(TEXT, AUDIO + b"a" * 400, masked=False) * 2]))
@example((False, [sent(TEXT, b'{"type":"response.created"}'.ljust(200), masked=False)]))
@example((True, [sent(TEXT, b"a" * size, masked=True) for size in (117, 118, 119, 125, 126, 127, 128)]))
@example((False, [sent(TEXT, b"a" * size, masked=False) for size in (125, 126, 127, 128, 129, 130, 131)]))
def test_what_a_leg_lets_pass_is_what_the_walker_does(case: tuple[bool, list[bytes]]) -> None:
    masked, chunks = case
    turns = Turns()
    walker = a_walker(masked=masked, finder=None if masked else ModelEvents((turns,)))
    walked = b"".join(all_of(walker, chunk) for chunk in chunks) + walker.close
    seen = LOOP.run(relayed(chunks, masked=masked))
    assert seen.passed.startswith(walked)
    # Behind it comes at most one Close of the relay's own, and none into a frame.
    own = seen.passed[len(walked) :]
    assert own == b"" or (own[0] == 0x88 and walker.skip == 0 and len(own) == 2 + 4 * masked + (own[1] & 0x7F))
    assert (seen.frames, seen.halt, seen.turns) == (walker.count.frames, walker.halt, state(turns))
    if not walker.halt:
        assert seen.received == sum(map(len, chunks))
