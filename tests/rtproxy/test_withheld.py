"""What long messages may take that are withheld until they are whole: memory, time, and none of it from others."""

import asyncio
import base64
import json
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtproxy.call.gate import Gate, _type_and_id
from rtproxy.call.room import FREE, Room, memory
from rtproxy.call.sketch import BLOCK, Sketch
from rtproxy.carry import ROSTER, SHARED
from rtproxy.wire.frames import Count
from stage.rawpeer import CLOSE, TEXT, close_payload, frame
from tests.conftest import DEADLINE_S, CallFactory, Limits

KIB, MIB = 1 << 10, 1 << 20
LISTED = "response.create, input_audio_buffer.append"
CREATE = b'{"type":"response.create"}'
HEAD = b'{"type":"input_audio_buffer.append","audio":"'


def append(size: int) -> bytes:
    """An append of ``size`` bytes."""
    return HEAD + b"A" * (size - len(HEAD) - 2) + b'"}'


# What is read of them.


def sketched(text: bytes, cuts: list[int]) -> bytes:
    sketch, at = Sketch(), 0
    for cut in sorted(each % (len(text) + 1) for each in cuts):
        sketch.add(text[at:cut])
        at = cut
    sketch.add(text[at:])
    return sketch.text()


def read(text: bytes) -> tuple[str, str | None] | None:
    try:
        return _type_and_id(text)
    except ValueError:
        return None


LONG = st.integers(0, 4 * BLOCK).map(lambda size: base64.b64encode(bytes(size)).decode())
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=20), LONG),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | LONG, inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(["type", "Type", "event_id", "audio", "x"]), VALUES, max_size=4),
    st.lists(st.integers(0, 1 << 20), max_size=4),
    st.booleans(),
)
def test_a_long_message_is_read_by_its_sketch_as_it_would_be_whole(
    event: dict[str, object], cuts: list[int], ascii_only: bool
) -> None:
    text = json.dumps(event, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    said = read(text)
    told = read(sketched(text, cuts))
    if said is not None and len(said[0]) >= BLOCK:  # no type that could be listed
        assert told is not None
        assert len(told[0]) > 512
    else:
        assert told == said


@given(st.integers(0, 3 * BLOCK), st.sampled_from([b"1", b"-1", b"0", b"tru", b'"']), st.sampled_from([b"", b'"']))
def test_no_text_is_sound_by_its_sketch_alone(size: int, opening: bytes, closing: bytes) -> None:
    text = b'{"type":"a","x":' + opening + b"0" * size + closing + b"}"
    if read(text) is None:
        assert read(sketched(text, [])) is None


def test_a_sketch_of_audio_is_short_however_it_is_cut() -> None:
    assert len(sketched(append(8 * MIB), [])) < 3 * BLOCK
    assert len(sketched(append(8 * MIB), list(range(0, 8 * MIB, 1500)))) < 3 * BLOCK


# Their sum.


def test_a_client_has_half_of_a_quarter_of_the_memory_and_usual_messages_need_none() -> None:
    all_of_it = Room(80 * MIB)
    alices, bobs = all_of_it.share("alice"), all_of_it.share("bob")
    assert alices.hold(10 * MIB + FREE)
    more = all_of_it.share("alice")
    assert not more.hold(FREE + 1)
    assert more.hold(FREE)
    assert bobs.hold(10 * MIB + FREE)
    assert not all_of_it.share("carol").hold(FREE + 1), "both together have all there is"
    alices.release()
    alices.release()
    assert more.hold(10 * MIB)
    more.release()
    bobs.release()
    assert (all_of_it.taken, dict(all_of_it._by_client)) == (0, {})


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"sys/fs/cgroup/memory.max": "1073741824\n"}, 1 << 30),
        ({"sys/fs/cgroup/memory.max": "max\n"}, None),
        ({"sys/fs/cgroup/memory/memory.limit_in_bytes": "536870912\n"}, 1 << 29),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/memory.max": "max\n",
                "sys/fs/cgroup/a/memory.max": "7\n",
            },
            7,
        ),
        ({"proc/self/cgroup": "4:cpu,memory:/a\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "9\n"}, 9),
        ({}, None),
    ],
)
def test_the_memory_is_the_containers_or_else_the_machines(
    files: dict[str, str], limit: int | None, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert memory(tmp_path) == (machine if limit is None else limit)


async def test_a_client_whose_messages_would_take_too_much_memory_gets_1013_and_others_go_on(call: CallFactory) -> None:
    first, first_model, relay = await call(RTPROXY_CLIENT_EVENTS=LISTED)
    second, second_model, _ = await call(relay)
    all_of_it = relay.app[SHARED].room
    all_of_it.limit, all_of_it.client_limit = 8 * MIB, 4 * MIB
    await first.write(frame(TEXT, append(3 * MIB), masked=True)[:-100])
    async with asyncio.timeout(DEADLINE_S):
        while all_of_it.taken < 2 * MIB:  # noqa: ASYNC110 - it is this test's own loop
            await asyncio.sleep(0.01)
    await second.write(frame(TEXT, append(3 * MIB), masked=True)[:-100])
    assert (await second.read()).code == 1013
    assert (await second_model.read()).code == 1001
    await second.ended()
    assert (await relay.event("connection.closed"))["ended_by"] == "limit"
    assert all_of_it.taken < 3 * MIB, "it gave back what it had"
    await first.write(frame(TEXT, append(3 * MIB), masked=True)[-100:] + frame(TEXT, CREATE, masked=True))
    assert len((await first_model.read()).payload) == 3 * MIB
    assert (await first_model.read()).payload == CREATE
    assert all_of_it.taken == 0


@pytest.mark.parametrize("how", ["is refused", "is binary", "hangs up"])
async def test_the_room_of_a_message_that_does_not_go_on_is_given_back(call: CallFactory, how: str) -> None:
    client, _, relay = await call(RTPROXY_CLIENT_EVENTS="response.create")
    all_of_it = relay.app[SHARED].room
    raw = frame(2 if how == "is binary" else TEXT, append(MIB), masked=True)
    await client.write(raw[:-1])
    async with asyncio.timeout(DEADLINE_S):
        if how != "is binary":
            while all_of_it.taken < MIB // 2:  # noqa: ASYNC110 - it is this test's own loop
                await asyncio.sleep(0.01)
        if how == "hangs up":
            client.reset()
            await relay.event("connection.closed")
        else:
            await client.write(raw[-1:])
            await client.read_until(TEXT)
    assert (all_of_it.taken, dict(all_of_it._by_client)) == (0, {})


# Their time.


async def test_a_long_message_that_does_not_become_whole_in_its_time_gets_1008(
    call: CallFactory, shorten: Limits
) -> None:
    shorten(whole_s=0.3)
    client, model, relay = await call(RTPROXY_CLIENT_EVENTS=LISTED)
    await client.write(frame(TEXT, append(MIB), masked=True)[:-1])
    told = await client.read()
    assert (told.code, told.reason) == (1008, "a message took longer than 60 s")
    assert (await model.read()).code == 1001
    closed = await relay.event("connection.closed")
    assert (closed["ended_by"], closed["client_code"], closed["upstream_code"]) == ("limit", 1008, 1001)
    assert relay.app[SHARED].room.taken == 0


async def test_the_time_of_a_message_is_its_own_and_short_ones_have_none(call: CallFactory, shorten: Limits) -> None:
    shorten(whole_s=0.5)
    client, model, _ = await call(RTPROXY_CLIENT_EVENTS=LISTED)
    for _ in range(4):
        raw = frame(TEXT, append(200 * KIB), masked=True)
        await client.write(raw[:-1])
        await asyncio.sleep(0.2)
        await client.write(raw[-1:])
        assert len((await model.read()).payload) == 200 * KIB
    raw = frame(TEXT, append(FREE // 2), masked=True)
    await client.write(raw[:-1])
    await asyncio.sleep(0.7)
    await client.write(raw[-1:])
    assert len((await model.read()).payload) == FREE // 2


# How they go on.


async def test_a_long_message_goes_on_in_pieces_and_the_relays_close_waits_for_its_end(call: CallFactory) -> None:
    client, model, relay = await call(RTPROXY_CLIENT_EVENTS=LISTED)
    model.reader._transport.pause_reading()
    (session,) = relay.app[ROSTER].sessions
    splice = session._splice
    assert splice is not None
    splice.upstream.socket._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * KIB)
    said = append(8 * MIB)
    await client.write(frame(TEXT, said, masked=True))
    async with asyncio.timeout(DEADLINE_S):
        while not splice.upstream.socket.full:  # noqa: ASYNC110 - it is this test's own loop
            await asyncio.sleep(0.01)
    assert len(splice.upstream.socket._unsent) <= 256 * KIB, "a piece, not the message"
    session.close()
    assert (await client.read()).code == 1012
    await client.send(CLOSE, close_payload(1012))
    model.reader._transport.resume_reading()
    async with asyncio.timeout(DEADLINE_S):
        assert (await model.read()).payload == said
        assert (await model.read()).code == 1001


def test_no_go_of_the_longest_message_takes_or_passes_on_more_than_some_pieces() -> None:
    gate = Gate(frozenset(("input_audio_buffer.append",)), [].append, Room(1 << 30).share("alice"), Count())
    raw = frame(TEXT, append(16 * MIB), masked=True)
    passed = [gate.feed(raw[at : at + 64 * KIB]) for at in range(0, len(raw), 64 * KIB)]
    assert [len(each) for each in passed[:-1] if each] == []
    while gate.releasing:
        passed.append(gate.feed(b""))
    assert b"".join(passed) == raw
    assert max(map(len, passed)) <= 128 * KIB
