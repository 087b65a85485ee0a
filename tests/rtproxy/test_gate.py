"""Events of the types that RTPROXY_CLIENT_EVENTS lists reach the model as they came; no others do, however put."""

import asyncio
import json
import socket
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import aiohttp
import pytest
import uvloop
from aiohttp.pytest_plugin import AiohttpServer
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openai import AsyncOpenAI

from rtproxy.call.gate import IN_ONE_GO, INNER_LIMIT, PARTS_FROM, PARTS_LIMIT, SKETCH_LIMIT, TOO_MUCH, Gate
from rtproxy.call.heartbeat import Wheel
from rtproxy.call.leg import Runtime
from rtproxy.call.patience import Times
from rtproxy.call.room import Room, Share
from rtproxy.call.session import Session
from rtproxy.call.splice import Splice
from rtproxy.carry import ROSTER
from rtproxy.model.turns import Turns
from rtproxy.wire.credit import Allowance
from rtproxy.wire.frames import Count, head
from rtproxy.wire.poller import Poller
from rtproxy.wire.takeover import DetachedSocket
from stage.gpt.options import Options
from stage.rawpeer import BINARY, CLOSE, PING, PONG, TEXT, RawPeer, RawServer, announced, close_payload, frame
from stage.realtime import make_app
from tests.conftest import DEADLINE_S, KEY, Caller, CallFactory, Limits, Relay, RelayFactory

MIB = 1024 * 1024
LISTED = "response.create, input_audio_buffer.append"
ALLOWED = frozenset(("response.create", "input_audio_buffer.append"))
CREATE = b'{"type":"response.create"}'
UPDATE = b'{"type":"session.update"}'
APPEND = b'{"type":"input_audio_buffer.append","audio":"' + b"QUJD" * 450 + b'"}'


def sent(opcode: int, payload: bytes, *, fin: bool = True, key: bytes = b"\x93\x07\xff\x41") -> bytes:
    """A client's frame with a real mask where `stage.rawpeer.frame` has one of zeros."""
    whole = frame(opcode, payload, masked=True, fin=fin)
    start = len(whole) - len(payload)
    return whole[: start - 4] + key + bytes(byte ^ key[i & 3] for i, byte in enumerate(payload))


def share() -> Share:
    """Of a room that is large enough."""
    return Room(1 << 30).share("alice")


class Sifted(NamedTuple):
    """What became of a client's stream."""

    passed: bytes
    errors: list[dict[str, Any]]
    halt: str


def event_in(raw: bytes) -> dict[str, Any]:
    """The event in one unmasked text frame."""
    assert raw[:2] == b"\x81\x7e"
    assert len(raw) == 4 + int.from_bytes(raw[2:4])
    return dict(json.loads(raw[4:]))


def sifted(chunks: Iterable[bytes], allowed: frozenset[str] = ALLOWED) -> Sifted:
    gate = Gate(allowed, [].append, share(), Count())
    passed, errors = b"", []
    for chunk in chunks:
        passed += gate.feed(chunk)
        while gate.refusal or gate.rest or gate.releasing:
            if gate.refusal:
                errors.append(event_in(gate.refusal))
                gate.refusal = b""
            passed += gate.feed(b"")
    return Sifted(passed + gate.close, errors, gate.halt)


@pytest.mark.parametrize(
    "event",
    [
        CREATE,
        APPEND,
        b' \t\r\n{ "type" : "response.create" } ',
        b'{"response":{"type":"session.update","Type":"x"},"x":[{"type":"y"}],"type":"response.create"}',
        rb'{"ty\u0070e":"response.create"}',
        rb'{"type":"response\u002ecreate","x":"\ud800"}',
        b'{"type":"response.create","event_id":1,"n":1e999,"m":' + b"9" * 5000 + b"}",
        '{"type":"response.create","instructions":"短く答えて 🙂"}'.encode(),
        b'{"type":"response.create","x":' + b"[" * 200 + b"]" * 200 + b"}",
        b'{"types":"session.update","type":"response.create","_type":"x"}',
        CREATE[:-1] + b',"x":"' + b"," * 60_000 + rb"\n" * 60_000 + b'"}',
    ],
)
def test_an_event_passes_as_it_came_when_its_type_is_listed(event: bytes) -> None:
    raw = sent(TEXT, event)
    assert sifted([raw]) == (raw, [], "")


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (UPDATE, "'session.update'"),
        (b'{"type":"Response.create"}', "'Response.create'"),
        (b'{"type":"response.create "}', "'response.create '"),
        (rb'{"type":"response.create\u0000"}', r"'response.create\x00'"),
        (rb'{"type":"\ud800<b>"}', r"'\ud800<b>'"),
        (b'{"type":""}', "''"),
        (b'{"type":"' + b"x" * MIB + b'"}', "'" + "x" * 64 + "'"),
        (rb'{"ty\u0070e":"session.update"}', "'session.update'"),
    ],
)
def test_an_event_is_refused_by_its_name_when_its_type_is_not_listed(event: bytes, told: str) -> None:
    passed, (error,), halt = sifted([sent(TEXT, event)])
    assert (passed, halt) == (b"", "")
    assert error["error"]["code"] == "event_not_allowed"
    assert error["error"]["message"].startswith(f"Events of the type {told} are not allowed here: ")


ONE_TYPE = "does not have exactly one type"
NO_JSON = "is not JSON in UTF-8"
MUCH = b'{"type":"response.create","x":'.ljust(PARTS_FROM)


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (b'{"type":"session.update","type":"response.create"}', ONE_TYPE),
        (b'{"type":"response.create","type":"session.update"}', ONE_TYPE),
        (b'{"type":"response.create","x":1,"type":"response.create"}', ONE_TYPE),
        (rb'{"type":"response.create","ty\u0070e":"session.update"}', ONE_TYPE),
        (b'{"type":"response.create","Type":"session.update"}', ONE_TYPE),
        (rb'{"type":"response.create","TYP\u0045":"session.update"}', ONE_TYPE),
        (rb'{"type":"response.create","type\u0000":"session.update"}', ONE_TYPE),
        (b'{"Type":"response.create"}', ONE_TYPE),
        (b'{"x":{"type":"response.create"}}', ONE_TYPE),
        (b"{}", ONE_TYPE),
        (b'{"type":null}', "has a type that is not a string"),
        (b'{"type":5}', "has a type that is not a string"),
        (b'{"type":["response.create"]}', "has a type that is not a string"),
        (b'{"type":{"type":"response.create"}}', "has a type that is not a string"),
        (b'[["type","response.create"]]', "is not a JSON object"),
        (b'[{"type":"response.create"}]', "is not a JSON object"),
        (b'"response.create"', "is not a JSON object"),
        (b"", NO_JSON),
        (b"response.create", NO_JSON),
        (CREATE + CREATE, NO_JSON),
        (CREATE + b"\0", NO_JSON),
        (CREATE[:-1], NO_JSON),
        (b"\xef\xbb\xbf" + CREATE, NO_JSON),
        (CREATE.decode().encode("utf-16"), NO_JSON),
        (CREATE.decode().encode("utf-32"), NO_JSON),
        (b"{'type':'response.create'}", NO_JSON),
        (b'{"type":"response.create",}', NO_JSON),
        (b'{/*"type":"session.update"*/"type":"response.create"}', NO_JSON),
        (b'{"type":"response.create","x":NaN}', NO_JSON),
        (b'{"type":"response.create","x":-Infinity}', NO_JSON),
        (b'{"type":"response.create","x":"\xff"}', NO_JSON),
        (b'{"type":"response.create","x":"\xed\xa0\x80"}', NO_JSON),
        (b'{"type":"response.create","x":"\n"}', NO_JSON),
        (b'{"type":"response.create","x":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "is nested too deeply"),
        (MUCH + b'"' + b"," * (PARTS_LIMIT + 1) + b'"}', TOO_MUCH),
        (MUCH + b"[" + b"0," * (PARTS_LIMIT + 1) + b"0]}", TOO_MUCH),
        (MUCH + b"{" + b'"x":0,' * (PARTS_LIMIT // 2 + 1) + b'"x":0}}', TOO_MUCH),
        (MUCH + b"[" * 70_000 + b"]" * 70_000 + b"}", TOO_MUCH),
        (MUCH + b'"' + rb"\u0041" * (PARTS_LIMIT + 1) + b'"}', TOO_MUCH),
        (b'{"type":"response.create","x":[' + b"[]," * INNER_LIMIT + b"0]}", TOO_MUCH),
        (MUCH + b'"' + b"words " * (SKETCH_LIMIT // 6 + 1) + b'"}', TOO_MUCH),
        (MUCH + b"1" * 20_000 + b"}", NO_JSON),
    ],
)
def test_a_message_is_refused_when_parsers_might_not_agree_on_its_type(event: bytes, told: str) -> None:
    passed, (error,), halt = sifted([sent(TEXT, event)])
    assert (passed, halt) == (b"", "")
    assert error["error"]["code"] == "invalid_event"
    assert told in error["error"]["message"]


def test_messages_are_counted_each_for_itself() -> None:
    raw = sent(TEXT, MUCH + b"[" + b"0," * (PARTS_LIMIT - 1) + b"0]}") * 2
    assert sifted([raw]) == (raw, [], "")


def test_a_binary_message_is_refused_whatever_it_holds() -> None:
    passed, (error,), _ = sifted([sent(BINARY, CREATE[:9], fin=False) + sent(0, CREATE[9:])])
    assert passed == b""
    assert "is binary" in error["error"]["message"]


@pytest.mark.parametrize(
    ("given_id", "told_id"),
    [
        ('"event_7"', "event_7"),
        (f'"{"i" * 512}"', "i" * 512),
        (f'"{"i" * 513}"', None),
        (r'"\ud800"', None),
        ("7", None),
        ("null", None),
    ],
)
def test_a_refusal_has_the_shape_of_the_models_own_errors(given_id: str, told_id: str | None) -> None:
    event = f'{{"event_id":{given_id},"type":"session.update"}}'
    _, (error,), _ = sifted([sent(TEXT, event.encode())])
    assert error == {
        "type": "error",
        "event_id": error["event_id"],
        "error": {
            "type": "invalid_request_error",
            "code": "event_not_allowed",
            "message": "Events of the type 'session.update' are not allowed here: "
            "the relay passes on only the events that its RTPROXY_CLIENT_EVENTS lists.",
            "param": "type",
            "event_id": told_id,
        },
    }
    assert error["event_id"].startswith("event_")


# However a stream is cut.

EVENTS = st.sampled_from(
    [
        (CREATE, True),
        (APPEND, True),
        (rb'{"x":{"type":"y"},"ty\u0070e":"response.create"}', True),
        (UPDATE, False),
        (b'{"type":"response.create","type":"response.create"}', False),
        (b"", False),
        ('{"type":"短く"}'.encode(), False),
    ]
)
KEYS = st.binary(min_size=4, max_size=4)


class Said(NamedTuple):
    """One message, whole or in fragments with control frames between them, and what of it is to pass."""

    raw: bytes
    passes: bytes
    refused: int


@st.composite
def messages(draw: st.DrawFn) -> Said:
    payload, listed = draw(EVENTS)
    opcode = draw(st.sampled_from([TEXT, TEXT, TEXT, BINARY]))
    listed = listed and opcode == TEXT
    cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=4)))
    raw = data = controls = b""
    for start, stop in pairwise([0, *cuts, len(payload)]):
        part = sent(opcode, payload[start:stop], fin=not cuts, key=draw(KEYS))
        opcode = 0
        raw += part
        data += part
        if cuts and draw(st.integers(0, 3)) == 0:
            control = sent(draw(st.sampled_from([PING, PONG])), draw(st.binary(max_size=125)), key=draw(KEYS))
            raw += control
            controls += control
    if cuts:  # an empty fragment ends it
        last = sent(0, b"", key=draw(KEYS))
        raw, data = raw + last, data + last
    return Said(raw, controls + (data if listed else b""), not listed)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[bytes], bytes, int]:
    said = draw(st.lists(messages(), max_size=6))
    stream = b"".join(each.raw for each in said)
    at = sorted({0, len(stream), *draw(st.lists(st.integers(0, len(stream)), max_size=12))})
    chunks = [stream[a:b] for a, b in pairwise(at)]
    if draw(st.integers(0, 9)) == 0:
        chunks = [stream[i : i + 1] for i in range(len(stream))]
    return chunks, b"".join(each.passes for each in said), sum(each.refused for each in said)


def in_bytes(stream: bytes) -> list[bytes]:
    return [stream[at : at + 1] for at in range(len(stream))]


TINY = b"".join(sent(0 if at else TEXT, CREATE[at : at + 1], fin=at == len(CREATE) - 1) for at in range(len(CREATE)))


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(cases())
@example((in_bytes(TINY), TINY, 0))
@example((in_bytes(sent(TEXT, UPDATE)), b"", 1))
def test_every_cut_of_every_stream_passes_the_listed_events_and_nothing_else(
    case: tuple[list[bytes], bytes, int],
) -> None:
    chunks, passes, refused = case
    seen = sifted(chunks)
    assert seen.passed == passes
    assert len(seen.errors) == refused
    assert seen.halt == ""


def test_a_close_is_told_only_when_it_passes() -> None:
    gate, close = Gate(ALLOWED, [].append, share(), Count()), sent(CLOSE, close_payload(4000))
    assert gate.feed(sent(TEXT, UPDATE) + close) == b""
    assert (gate.halt, gate.rest) == ("", close)
    assert sifted([sent(TEXT, UPDATE) + close]).halt == "close"


def test_many_small_messages_take_more_than_one_go() -> None:
    gate = Gate(ALLOWED, [].append, share(), Count())
    stream = sent(TEXT, CREATE) * 1000
    goes = [gate.feed(stream)]
    while gate.rest:
        goes.append(gate.feed(b""))
    assert b"".join(goes) == stream
    assert len(goes) == 16


def test_messages_of_many_values_take_more_goes_than_messages_of_few() -> None:
    def goes(event: bytes) -> int:
        gate, stream = Gate(ALLOWED, [].append, share(), Count()), sent(TEXT, event) * 8
        passed, count = gate.feed(stream), 1
        while gate.rest:
            passed, count = passed + gate.feed(b""), count + 1
        assert passed == stream
        return count

    many = b'{"type":"response.create","x":{' + b'"name":0,' * (IN_ONE_GO // 2) + b'"name":0}}'
    assert goes(many) == 4
    assert goes(b'{"type":"response.create","x":"' + bytes(len(many) - 32).replace(b"\0", b"A") + b'"}') == 1


@pytest.mark.parametrize("length", [0, 1, 5000])
def test_a_message_is_given_up_when_its_fragments_come_to_more_than_the_limit(length: int) -> None:
    gate, fed = Gate(ALLOWED, [].append, share(), Count(), 100_000), 0
    fragment = sent(0, b" " * length, fin=False)
    assert gate.feed(sent(TEXT, CREATE, fin=False)) == b""
    while not gate.halt:
        assert gate.feed(fragment) == b""
        fed += len(fragment)
        assert gate.withheld <= 100_000
    assert gate.halt == "too_big"
    assert 90_000 < fed < 110_000


# Between the model's messages.


@st.composite
def dialogues(draw: st.DrawFn) -> list[tuple[str, bytes]]:
    """The model's messages, cut anywhere, and the client's events between the pieces: (who, what)."""
    stream = b""
    for _ in range(draw(st.integers(1, 4))):
        cuts = draw(st.integers(0, 3))
        for number in range(cuts + 1):
            payload = draw(st.sampled_from([b"", b"m", b"m" * 125, b"m" * 126, b"m" * 300]))
            stream += frame(0 if number else TEXT, payload, masked=False, fin=number == cuts)
            if draw(st.booleans()):
                stream += frame(PING, b"p" * draw(st.integers(0, 3)), masked=False)
    at = sorted({0, len(stream), *draw(st.lists(st.integers(0, len(stream)), max_size=8))})
    steps = []
    for start, stop in pairwise(at):
        steps.append(("model", stream[start:stop]))
        said = draw(st.lists(st.sampled_from([UPDATE, CREATE]), max_size=2))
        steps += [("client", sent(TEXT, event)) for event in said]
    return steps


async def spoken(steps: list[tuple[str, bytes]]) -> tuple[bytes, bytes]:
    """Plays a dialogue through a splice, and returns what came to the client and to the model."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    (client, client_leg), (model, model_leg) = socket.socketpair(), socket.socketpair()
    for each in (client, client_leg, model, model_leg):
        each.setblocking(False)
    poller = Poller()
    legs = DetachedSocket(client_leg, None, b""), DetachedSocket(model_leg, None, b"")
    runtime = Runtime(poller, Wheel(25, 30), loop, Times(), Allowance())
    splice = Splice(*legs, Count(), Count(), Turns(), runtime, over.set, ALLOWED, share())
    splice.start(b"", b"")
    gate = Gate(ALLOWED, [].append, share(), Count())
    gate.feed(sent(TEXT, UPDATE))
    errors = sum(len(gate.refusal) for _, said in steps if said == sent(TEXT, UPDATE))
    from_model = sum(len(said) for who, said in steps if who == "model")
    passing = sum(len(said) for _, said in steps if said == sent(TEXT, CREATE))
    down = up = b""
    async with asyncio.timeout(DEADLINE_S):
        for who, said in steps:
            await loop.sock_sendall(client if who == "client" else model, said)
            await asyncio.sleep(0)
        while len(down) < from_model + errors:
            down += await loop.sock_recv(client, 1 << 16)
        while len(up) < passing:
            up += await loop.sock_recv(model, 1 << 16)
        splice.cut()
        splice.cut()
        await over.wait()
    client.close()
    model.close()
    poller.close()
    return down, up


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(dialogues())
def test_a_refusal_comes_between_two_messages_of_the_model_wherever_it_is_asked_for(
    steps: list[tuple[str, bytes]],
) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        down, up = runner.run(spoken(steps))
    assert up == b"".join(said for _, said in steps if said == sent(TEXT, CREATE))
    theirs, at, amid = b"", 0, False
    while at < len(down):
        start = at
        first, at, length = head(down, at)
        at += length
        if down[start:at].find(b"event_not_allowed") >= 0:
            assert not amid
            event_in(down[start:at])
        else:
            theirs += down[start:at]
            amid = amid if first & 8 else first < 0x80
    assert theirs == b"".join(said for who, said in steps if who == "model")


# Through a relay.


async def error_of(client: RawPeer) -> dict[str, Any]:
    got = await client.read_until(TEXT)
    assert got.first == 0x80 | TEXT
    event = json.loads(got.payload)
    assert event["type"] == "error"
    return dict(event["error"])


async def refused(relay: Relay) -> Session:
    """The relay's one session, as soon as it has refused an event."""
    (session,) = relay.app[ROSTER].sessions
    async with asyncio.timeout(DEADLINE_S):
        while not session.counts()["events_refused"]:  # noqa: ASYNC110 - it is this test's own loop
            await asyncio.sleep(0)
    return session


async def test_a_refused_event_reaches_no_model_its_client_is_told_and_the_call_goes_on(call: CallFactory) -> None:
    client, model, relay = await call(RTPROXY_CLIENT_EVENTS=LISTED)
    appended = sent(TEXT, APPEND)
    await client.write(sent(TEXT, b'{"type":"session.update","event_id":"mine"}') + appended)
    assert (await error_of(client))["event_id"] == "mine"
    assert await model.reader.readexactly(len(appended)) == appended, "as it came, and nothing before it"
    await model.send(TEXT, b"{}")
    assert (await client.read()).payload == b"{}"
    async with aiohttp.ClientSession() as http, http.get(relay.url + "/metrics") as answer:
        assert "rtproxy_events_refused_total 1.0" in await answer.text()
    client.hang_up()
    closed = await relay.event("connection.closed")
    assert (closed["frames_up"], closed["events_refused"]) == (2, 1)


@pytest.mark.parametrize("size", [0, 300, 70_000])
async def test_the_shortcut_of_a_usual_frame_is_none_past_the_gate(call: CallFactory, size: int) -> None:
    client, model, _ = await call(RTPROXY_CLIENT_EVENTS=LISTED)
    for _ in range(3):
        await client.send(TEXT, UPDATE.ljust(size))
        assert (await error_of(client))["code"] == "event_not_allowed"
        await client.send(TEXT, CREATE.ljust(size))
        assert (await model.read()).payload == CREATE.ljust(size)


@pytest.mark.parametrize("message", [sent(TEXT, UPDATE), sent(BINARY, b"\0"), sent(TEXT, b"", fin=False)])
async def test_everything_passes_when_nothing_is_listed(call: CallFactory, message: bytes) -> None:
    client, model, relay = await call()
    await client.write(message)
    assert await model.reader.readexactly(len(message)) == message
    client.hang_up()
    assert (await relay.event("connection.closed"))["events_refused"] == 0


async def test_events_in_the_segment_of_the_upgrade_are_judged_too(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller
) -> None:
    relay = await relay_for(upstream.port, RTPROXY_CLIENT_EVENTS=LISTED)
    early = sent(TEXT, UPDATE) + sent(TEXT, CREATE) + sent(TEXT, UPDATE)
    connecting = asyncio.create_task(dial(relay.port, then=early))
    model = await upstream.request()
    created = frame(TEXT, b'{"type":"session.created","session":{"id":"sess_1"}}', masked=False)
    await model.answer(then=created)
    client = await connecting
    assert (await client.read()).payload == created[2:]
    assert [(await error_of(client))["code"] for _ in range(2)] == ["event_not_allowed"] * 2
    assert (await model.read()).payload == CREATE


async def test_more_listed_events_than_are_looked_at_in_one_go_pass_all_the_same(call: CallFactory) -> None:
    client, model, _ = await call(RTPROXY_CLIENT_EVENTS=LISTED)
    events = sent(TEXT, CREATE) * 1000 + sent(CLOSE, close_payload(1000))
    await client.write(events)
    async with asyncio.timeout(DEADLINE_S):
        assert await model.reader.readexactly(len(events)) == events


async def test_control_frames_pass_at_once_while_a_message_is_withheld(call: CallFactory) -> None:
    client, model, _ = await call(RTPROXY_CLIENT_EVENTS=LISTED, RTPROXY_HEARTBEAT_SECONDS="0.3")
    first, last = sent(TEXT, CREATE[:5], fin=False), sent(0, CREATE[5:])
    await client.write(first + sent(PING, b"between") + last[:-1])
    assert await model.read() == (0x80 | PING, b"between")
    assert (await model.read()).payload == b"rtproxy", "the relay's own ping need not wait, either"
    await model.send(PONG, b"rtproxy")
    await client.write(last[-1:])
    whole = await model.reader.readexactly(len(first + last))
    assert whole == first + last


@pytest.mark.parametrize("payload", [close_payload(4000, "enough"), b""])
async def test_a_close_amid_a_message_passes_and_what_was_withheld_does_not(call: CallFactory, payload: bytes) -> None:
    client, model, relay = await call(RTPROXY_CLIENT_EVENTS=LISTED)
    await client.write(sent(TEXT, CREATE, fin=False) + sent(CLOSE, payload))
    assert await model.read() == (0x80 | CLOSE, payload)
    await model.send(CLOSE, payload)
    assert (await client.read()).opcode == CLOSE
    assert (await relay.event("connection.closed"))["ended_by"] == "client"


@pytest.mark.parametrize("end", ["fin", "close"])
async def test_what_stands_behind_a_refused_event_is_heard_before_the_end(call: CallFactory, end: str) -> None:
    client, model, relay = await call(RTPROXY_CLIENT_EVENTS=LISTED)
    last = b"" if end == "fin" else sent(CLOSE, close_payload(4001))
    await client.write(sent(TEXT, UPDATE) + sent(TEXT, CREATE) + last)
    client.half_close()
    assert (await model.read()).payload == CREATE
    assert (await model.read()).code == (1001 if end == "fin" else 4001)
    await model.send(CLOSE, close_payload(1000))
    assert (await error_of(client))["code"] == "event_not_allowed"
    assert (await relay.event("connection.closed"))["ended_by"] == "client"


async def test_a_refusal_waits_for_the_end_of_the_models_message(call: CallFactory) -> None:
    client, model, _ = await call(RTPROXY_CLIENT_EVENTS=LISTED, RTPROXY_HEARTBEAT_SECONDS="0.5")
    first = frame(TEXT, b"a" * 300, masked=False, fin=False)
    await model.write(first[:100])
    await client.reader.readexactly(100)
    await model.read_until(PING)  # a heartbeat: one to the client waits now, too
    await client.write(sent(TEXT, UPDATE) + sent(PING, b"behind it"))
    await model.write(first[100:200])
    await client.reader.readexactly(100)
    # The rest of the frame, a pong, a fragment, the end, and the next message already.
    second = frame(0, b"b", masked=False, fin=False) + frame(PONG, b"p", masked=False) + frame(0, b"c", masked=False)
    after = frame(TEXT, b"d" * 200, masked=False)
    await model.write(first[200:] + second + after[:50])
    assert await client.reader.readexactly(100 + 4) == first[200:]
    got = [await client.read() for _ in range(5)]
    assert [each.payload for each in got if each.opcode == PING] == [b"rtproxy"]
    theirs = [tuple(each) for each in got[:-1] if each.opcode != PING]
    assert theirs == [(0, b"b"), (0x8A, b"p"), (0x80, b"c")]
    assert json.loads(got[-1].payload)["type"] == "error"
    await model.write(after[50:])
    assert (await client.read_until(TEXT)).payload == b"d" * 200
    assert (await model.read_until(PING)).payload == b"behind it"


async def test_a_refusal_is_written_at_the_end_of_a_message_that_ends_with_its_segment(call: CallFactory) -> None:
    client, model, _ = await call(RTPROXY_CLIENT_EVENTS=LISTED)
    await model.send(TEXT, b"one", fin=False)
    await client.read()
    await client.write(sent(TEXT, UPDATE) + sent(TEXT, CREATE))
    await model.send(PING, b"")
    assert (await client.read()).opcode == PING
    await model.send(0, b"two")
    assert (await client.read()).payload == b"two"
    assert (await error_of(client))["code"] == "event_not_allowed"
    assert (await model.read()).payload == CREATE


async def test_a_drain_closes_both_legs_at_once_while_a_message_is_withheld(call: CallFactory) -> None:
    client, model, relay = await call(RTPROXY_CLIENT_EVENTS=LISTED)
    await client.write(sent(TEXT, CREATE, fin=False) + sent(PING, b"heard"))
    await model.read_until(PING)
    (session,) = relay.app[ROSTER].sessions
    session.close()
    assert (await model.read()).code == 1001
    assert (await client.read()).code == 1012
    await client.write(sent(0, b"") + sent(TEXT, UPDATE) + sent(CLOSE, close_payload(1012)))
    await model.send(CLOSE, close_payload(1001))
    assert await model.reader.read() == b""
    assert await client.reader.read() == b"", "no refusal behind a Close"
    closed = await relay.event("connection.closed")
    assert (closed["ended_by"], closed["client_code"], closed["upstream_code"]) == ("drain", 1012, 1001)


async def test_a_drain_comes_between_fragments_before_a_refusal_that_waits_and_nothing_after_it(
    call: CallFactory, shorten: Limits
) -> None:
    shorten(answer_s=60)
    client, model, relay = await call(RTPROXY_CLIENT_EVENTS=LISTED)
    await model.send(TEXT, b"one", fin=False)
    await client.read()
    await client.write(sent(TEXT, UPDATE))
    session = await refused(relay)
    await client.send(CLOSE, close_payload(4000))  # nobody reads it until the relay has said its last
    await model.send(PING, b"")
    assert (await client.read()).opcode == PING
    session.close()
    assert (await client.read()).code == 1012
    await model.send(0, b"two")
    assert (await model.read()).code == 1001
    await model.send(CLOSE, close_payload(1001))
    assert await client.reader.read() == b""
    closed = await relay.event("connection.closed")
    assert (closed["ended_by"], closed["client_code"], closed["upstream_code"]) == ("drain", 1012, 1001)


async def test_a_drain_amid_a_frame_is_told_to_the_client_after_its_refusal_and_then_to_the_model(
    call: CallFactory, shorten: Limits
) -> None:
    shorten(answer_s=60)
    client, model, relay = await call(RTPROXY_CLIENT_EVENTS=LISTED)
    await model.write(announced(BINARY, 100, masked=False) + b"a" * 50)
    await client.reader.readexactly(52)
    await client.write(sent(TEXT, UPDATE))
    session = await refused(relay)
    session.close()
    await model.write(b"a" * 50 + frame(TEXT, b"dropped", masked=False))
    assert await client.reader.readexactly(50) == b"a" * 50
    assert (await error_of(client))["code"] == "event_not_allowed"
    assert (await client.read()).code == 1012
    assert (await model.read()).code == 1001
    await model.send(TEXT, b"dropped, too")
    await model.send(CLOSE, close_payload(1001))
    await client.send(CLOSE, close_payload(1012))
    assert await client.reader.read() == b""


async def test_a_client_whose_model_reads_nothing_is_let_go_in_a_drain(call: CallFactory, shorten: Limits) -> None:
    shorten(answer_s=1)
    client, model, relay = await call(RTPROXY_CLIENT_EVENTS=LISTED)
    await model.send(TEXT, b"one", fin=False)
    await client.read()
    model.reader._transport.pause_reading()
    (session,) = relay.app[ROSTER].sessions
    session._splice.upstream.socket._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
    head = b'{"type":"input_audio_buffer.append","audio":"'
    await client.write(frame(TEXT, head + b"A" * 15 * MIB + b'"}', masked=True) + sent(TEXT, UPDATE))
    async with asyncio.timeout(DEADLINE_S):
        while not session._splice.upstream.socket.full:  # noqa: ASYNC110 - it is this test's own loop
            await asyncio.sleep(0.01)
        session.close()
        assert (await client.read()).code == 1012
        await client.send(CLOSE, close_payload(1012))
        await client.ended()
    model.hang_up()


async def test_a_client_is_held_back_by_its_model_when_some_of_what_it_says_is_refused(call: CallFactory) -> None:
    client, model, relay = await call(RTPROXY_CLIENT_EVENTS=LISTED)
    model.reader._transport.pause_reading()
    (session,) = relay.app[ROSTER].sessions
    leg = session._splice.upstream.socket
    leg._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
    sending = asyncio.create_task(client.write((sent(TEXT, APPEND) + sent(TEXT, UPDATE)) * 10_000))
    drinking = asyncio.create_task(client.ended())
    async with asyncio.timeout(DEADLINE_S):
        while not leg.full:  # noqa: ASYNC110 - it is this test's own loop
            await asyncio.sleep(0.01)
    _, stuck = await asyncio.wait((sending,), timeout=0.5)
    assert stuck
    assert len(leg._unsent) < 256 * 1024
    sending.cancel()
    client.reset()
    await drinking


async def test_a_client_is_not_read_while_it_does_not_take_its_refusals(call: CallFactory) -> None:
    client, model, relay = await call(RTPROXY_CLIENT_EVENTS=LISTED, receive_buffer=64 * 1024)
    client.reader._transport.pause_reading()
    (session,) = relay.app[ROSTER].sessions
    leg = session._splice.client.socket
    leg._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
    many = 2000
    sending = asyncio.create_task(client.write(sent(TEXT, b"{}".ljust(10_000)) * many + sent(TEXT, CREATE)))
    refused = 0
    async with asyncio.timeout(DEADLINE_S):
        # Its leg is full by then; or the kernel is, and drops what arrives, acknowledgements included.
        while refused != session.counts()["events_refused"] or not refused:
            refused = session.counts()["events_refused"]
            for _ in range(3):
                await asyncio.sleep(0.1)
    assert not sending.done()
    assert refused < many
    assert len(leg._unsent) < 1024, "a part of one refusal"
    client.reader._transport.resume_reading()
    for _ in range(many):
        assert (await error_of(client))["code"] == "invalid_event"
    await sending
    assert (await model.read()).payload == CREATE


@pytest.mark.parametrize(("ending", "code"), [("fault", 1002), ("too_big", 1009)])
async def test_a_refusal_is_told_before_the_close_that_follows_it(call: CallFactory, ending: str, code: int) -> None:
    client, model, _ = await call(RTPROXY_CLIENT_EVENTS=LISTED)
    last = {"fault": sent(3, b""), "too_big": announced(TEXT, 16 * MIB + 1, masked=True)}[ending]
    await client.write(sent(TEXT, UPDATE) + last)
    assert (await error_of(client))["code"] == "event_not_allowed"
    assert (await client.read()).code == code
    assert (await model.read()).code == 1001


async def test_a_model_that_breaks_the_framing_gets_1002_and_not_its_clients_answer_too(call: CallFactory) -> None:
    client, model, _ = await call(RTPROXY_CLIENT_EVENTS=LISTED)
    await model.send(3)
    assert (await client.read()).code == 1011
    await client.send(CLOSE, close_payload(1011))
    assert (await model.read()).code == 1002
    assert await model.ended() == "fin"


async def test_a_message_over_16_mib_in_fragments_gets_1009_and_none_of_it_passes(call: CallFactory) -> None:
    client, model, relay = await call(RTPROXY_CLIENT_EVENTS=LISTED)
    part = bytes(MIB)

    async def send() -> None:
        await client.send(TEXT, part, fin=False)
        for _ in range(16):
            await client.send(0, part, fin=False)

    sending = asyncio.create_task(send())
    assert (await client.read()).code == 1009
    assert (await model.read()).code == 1001
    closed = await relay.event("connection.closed")
    assert (closed["ended_by"], closed["client_code"], closed["upstream_code"]) == ("limit", 1009, 1001)
    await asyncio.gather(sending, return_exceptions=True)


async def test_an_append_of_16_mib_passes_the_gate_to_a_slow_model_and_what_follows_it_in_order(
    call: CallFactory,
) -> None:
    client, model, _ = await call(RTPROXY_CLIENT_EVENTS=LISTED)
    head = b'{"type":"input_audio_buffer.append","audio":"'
    append = head + b"A" * (16 * MIB - len(head) - 2) + b'"}'
    model.reader._transport.pause_reading()
    follow = (sent(TEXT, CREATE) + sent(TEXT, UPDATE)) * 300
    sending = asyncio.create_task(client.write(frame(TEXT, append, masked=True) + follow))
    await asyncio.wait((sending,), timeout=0.3)
    model.reader._transport.resume_reading()
    async with asyncio.timeout(DEADLINE_S):
        assert (await model.read()).payload == append
        for _ in range(300):
            assert (await model.read()).payload == CREATE
            assert (await error_of(client))["code"] == "event_not_allowed"
    await sending


async def test_a_client_that_takes_no_refusal_for_30_s_is_given_up(call: CallFactory, shorten: Limits) -> None:
    shorten(stall_s=0.5)
    shorten(answer_s=0.2)
    client, model, relay = await call(RTPROXY_CLIENT_EVENTS=LISTED, receive_buffer=64 * 1024)
    client.reader._transport.pause_reading()
    (session,) = relay.app[ROSTER].sessions
    session._splice.client.socket._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
    sending = asyncio.create_task(client.write(sent(TEXT, b"{}") * 20_000))
    assert (await model.read_until(CLOSE)).code == 1001
    await model.send(CLOSE, close_payload(1001))
    closed = await relay.event("connection.closed")
    assert (closed["ended_by"], closed["client_code"], closed["upstream_code"]) == ("limit", 1008, 1001)
    sending.cancel()


async def test_a_flood_of_refused_messages_costs_other_calls_little(call: CallFactory) -> None:
    flooder, _, relay = await call(RTPROXY_CLIENT_EVENTS=LISTED)
    client, model, _ = await call(relay)
    stop = asyncio.Event()

    async def flood() -> None:
        while not stop.is_set():
            await flooder.write(sent(TEXT, b"{}") * 1000)

    async def drink() -> int:
        size = 0
        while data := await flooder.reader.read(1 << 16):
            size += len(data)
        return size

    flooding, drinking = asyncio.create_task(flood()), asyncio.create_task(drink())
    took = []
    for _ in range(50):
        started = asyncio.get_running_loop().time()
        await client.write(sent(TEXT, APPEND))
        await model.read()
        took.append(asyncio.get_running_loop().time() - started)
    stop.set()
    flooding.cancel()
    assert await drinking > 100_000
    assert (await relay.event("connection.closed"))["ended_by"] == "limit", "it went on for too long"
    assert sorted(took)[25] < 0.5, "s"


async def test_the_sdk_hears_of_a_refusal_as_of_an_error_of_the_model(
    relay_for: RelayFactory, aiohttp_server: AiohttpServer
) -> None:
    server = await aiohttp_server(make_app(Options(key="model-key")))
    assert server.port is not None
    relay = await relay_for(server.port, RTPROXY_CLIENT_EVENTS="input_audio_buffer.append,input_audio_buffer.clear")
    client = AsyncOpenAI(api_key=KEY, websocket_base_url=f"ws://127.0.0.1:{relay.port}/openai/v1")
    async with asyncio.timeout(DEADLINE_S), client.realtime.connect(model="gpt-realtime") as connection:
        assert (await connection.recv()).type == "session.created"
        await connection.session.update(session={"type": "realtime", "instructions": "Say it all."}, event_id="mine")
        told = await connection.recv()
        assert told.type == "error"
        assert (told.error.type, told.error.code) == ("invalid_request_error", "event_not_allowed")
        assert (told.error.param, told.error.event_id) == ("type", "mine")
        assert "'session.update'" in told.error.message
        assert "RTPROXY_CLIENT_EVENTS" in told.error.message
        await connection.input_audio_buffer.clear()
        assert (await connection.recv()).type == "input_audio_buffer.cleared"
    await client.close()
