"""The telling cases of the Autobahn test suite, through the relay and both ways: what is sound arrives byte for byte,
what is not ends the call with the code that RFC 6455 wants. The numbers are those of Autobahn's cases.
"""

import asyncio

import pytest

from stage.rawpeer import BINARY, CLOSE, PING, PONG, TEXT, RawPeer, close_payload, frame
from tests.conftest import Call, CallFactory
from tests.standstill import within

CONTINUATION = 0
KEY = b"\x93\x07\xff\x41"
SIDES = pytest.mark.parametrize("side", ["client", "upstream"])


def ends(call: Call, side: str) -> tuple[RawPeer, RawPeer]:
    """The end that talks and the one that listens."""
    return (call.client, call.model) if side == "client" else (call.model, call.client)


def said(opcode: int, payload: bytes = b"", *, masked: bool, fin: bool = True) -> bytes:
    """A sound frame, under a real mask where there is one."""
    whole = frame(opcode, payload, masked=masked, fin=fin)
    if not masked:
        return whole
    start = len(whole) - len(payload)
    return whole[: start - 4] + KEY + bytes(byte ^ KEY[i & 3] for i, byte in enumerate(payload))


def longwinded(opcode: int, payload: bytes, size: int, *, masked: bool) -> bytes:
    """A frame whose length takes ``size`` bytes though it needs fewer."""
    head = bytes((0x80 | opcode, masked << 7 | {2: 126, 8: 127}[size])) + len(payload).to_bytes(size)
    return head + bytes(4 * masked) + payload


def sound(masked: bool) -> dict[str, list[bytes]]:
    """What passes, in the chunks in which it is written."""

    def data(length: int, opcode: int = TEXT) -> bytes:
        return said(opcode, b"*" * length, masked=masked)

    def part(opcode: int, payload: bytes, fin: bool = False) -> bytes:
        return said(opcode, payload, masked=masked, fin=fin)

    def in_bytes(raw: bytes, size: int = 1) -> list[bytes]:
        return [raw[at : at + size] for at in range(0, len(raw), size)]

    ping, pong = said(PING, b"between", masked=masked), said(PONG, b"unasked", masked=masked)
    hello = part(TEXT, b"Hello-\xc2\xb5@"), part(CONTINUATION, b"\xc3\x9f\xc3\xb6", fin=True)
    lengths = (0, 1, 125, 126, 127, 128, 129, 130, 65_535, 65_536)
    return (
        {f"1.1 text of {length}": [data(length)] for length in lengths}
        | {f"1.2 binary of {length}": [data(length, BINARY)] for length in lengths}
        | {
            "1.1.8 text in chops of 997": in_bytes(data(65_536), 997),
            "2.1 empty ping": [said(PING, masked=masked)],
            "2.3 ping of binary": [said(PING, b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", masked=masked)],
            "2.4 ping of 125": [said(PING, b"\xfe" * 125, masked=masked)],
            "2.6 ping of 125 in bytes": in_bytes(said(PING, b"\xfe" * 125, masked=masked)),
            "2.7 unsolicited pong": [said(PONG, masked=masked), pong],
            "2.10 ten pings": [b"".join(said(PING, bytes((n,)), masked=masked) for n in range(10))],
            "5.3 text in two fragments": list(hello),
            "5.4 both at once": [b"".join(hello)],
            "5.5 in bytes": in_bytes(b"".join(hello)),
            "5.6 a ping between the fragments": [hello[0], ping, hello[1]],
            "5.7 all at once": [hello[0] + ping + hello[1]],
            "5.8 in bytes": in_bytes(hello[0] + ping + hello[1]),
            "5.19 pings between five fragments": [
                part(TEXT, b"1") + part(CONTINUATION, b"2") + ping,
                part(CONTINUATION, b"3") + part(CONTINUATION, b"") + ping + pong,
                part(CONTINUATION, b"5", fin=True),
            ],
            "6.1 empty fragments": [part(TEXT, b"") + part(CONTINUATION, b"") + part(CONTINUATION, b"", fin=True)],
            "6.2 a character cut by a fragment": [part(TEXT, b"\xce"), part(CONTINUATION, b"\xba", fin=True)],
            "6.3 invalid UTF-8 is the other side's to judge": [part(TEXT, b"\xce\xba\xed\xa0\x80\xff", fin=True)],
            "6.4 and in fragments": [part(TEXT, b"\xf4\x90"), part(CONTINUATION, b"\x80\x80\xff", fin=True)],
            "9.1 a message of 1 MiB": [data(1 << 20)],
            "9.3 in fragments of 4 KiB": [part(TEXT, b"*" * 4096)]
            + [part(CONTINUATION, b"*" * 4096)] * 63
            + [part(CONTINUATION, b"", fin=True)],
            "a length in two bytes that needs one": [longwinded(TEXT, b"x" * 125, 2, masked=masked)],
            "a length in eight bytes that needs one": [longwinded(TEXT, b"x" * 125, 8, masked=masked)],
            "a length in eight bytes that needs two": [longwinded(BINARY, b"x" * 65_535, 8, masked=masked)],
            "a length of nothing in two bytes": [longwinded(TEXT, b"", 2, masked=masked)],
        }
    )


@SIDES
async def test_what_is_sound_arrives_byte_for_byte(call: CallFactory, side: str) -> None:
    here, there = ends(await call(), side)
    for case, chunks in sound(here.masked).items():
        stream = b"".join(chunks)

        async def write(chunks: list[bytes] = chunks) -> None:
            for chunk in chunks:
                await here.write(chunk)

        writing = asyncio.create_task(write())
        async with within(5):
            assert await there.reader.readexactly(len(stream)) == stream, case
        await writing


def unsound(masked: bool) -> dict[str, bytes]:
    """What ends a call with 1002."""

    def sent(opcode: int, payload: bytes = b"x", *, fin: bool = True, rsv: int = 0) -> bytes:
        return frame(opcode, payload, masked=masked, fin=fin, rsv=rsv)

    def control_of_126(opcode: int) -> bytes:
        return longwinded(opcode, b"x" * 126, 2, masked=masked)

    kinds = {"text": TEXT, "binary": BINARY, "ping": PING, "pong": PONG, "close": CLOSE}
    codes = (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535)
    return (
        {
            f"3 reserved bits {rsv} of a {kind}": sent(opcode, rsv=rsv)
            for rsv in (1, 4, 7)
            for kind, opcode in kinds.items()
        }
        | {f"4 opcode {opcode}": sent(opcode, b"") for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)}
        | {f"7.9 close {code}": sent(CLOSE, close_payload(code)) for code in codes}
        | {
            "2.5 ping of 126": control_of_126(PING),
            "a pong of 126": control_of_126(PONG),
            "7.3.6 close of 126": control_of_126(CLOSE),
            "a ping of 5 whose length takes two bytes": longwinded(PING, b"x" * 5, 2, masked=masked),
            "a close of 2 whose length takes eight bytes": longwinded(CLOSE, close_payload(1000), 8, masked=masked),
            "5.1 ping in fragments": sent(PING, fin=False),
            "5.2 pong in fragments": sent(PONG, fin=False),
            "a close in fragments": sent(CLOSE, close_payload(1000), fin=False),
            "5.9 continuation of nothing": sent(CONTINUATION),
            "5.12 continuation of nothing that goes on": sent(CONTINUATION, fin=False),
            "7.3.2 close of one byte": sent(CLOSE),
            "7.5.1 a reason that is no UTF-8": sent(CLOSE, close_payload(1000) + b"\xce\xba\xed\xa0\x80edited"),
            "a mask the wrong way": frame(TEXT, b"x", masked=not masked),
            "a ping with a mask the wrong way": frame(PING, b"", masked=not masked),
            "a close with a mask the wrong way": frame(CLOSE, close_payload(1000), masked=not masked),
        }
    )


async def refused(call: Call, side: str, sent: list[bytes], passed: bytes, case: str = "") -> None:
    """What is ``passed`` arrives; then the offender is told 1002, the other end what the table says, and both close."""
    here, there = ends(call, side)
    for chunk in sent:
        await here.write(chunk)
    async with within(5):
        assert await there.reader.readexactly(len(passed)) == passed, case
        assert (await here.read()).code == 1002, case
        assert (await there.read()).code == (1001 if side == "client" else 1011), case
        assert (await here.ended(), await there.ended()) == ("fin", "fin"), case
    closed = await call.relay.event("connection.closed", session=call.client.headers["x-rtproxy-session"])
    assert closed["ended_by"] == "error", case


@SIDES
async def test_what_is_unsound_is_1002_and_what_came_before_it_arrives(call: CallFactory, side: str) -> None:
    opened = await call()
    refusals = []
    for case in unsound(True):
        each = await call(relay=opened.relay)
        masked = ends(each, side)[0].masked
        before = said(TEXT, b"sound", masked=masked) + said(PING, b"sound", masked=masked)
        sent = before + unsound(masked)[case] + said(TEXT, b"after", masked=masked)
        refusals.append(refused(each, side, [sent], before, case))
    await asyncio.gather(*refusals)


@SIDES
@pytest.mark.parametrize("case", ["3 reserved bits 4 of a text", "4 opcode 3", "2.5 ping of 126"])
async def test_what_is_unsound_is_1002_in_bytes_too(call: CallFactory, side: str, case: str) -> None:
    opened = await call()
    broken = unsound(ends(opened, side)[0].masked)[case]
    await refused(opened, side, [bytes((byte,)) for byte in broken], b"")


@SIDES
@pytest.mark.parametrize("case", ["5.15 continuation after the last", "5.18 a message inside a message"])
async def test_a_message_that_breaks_off_is_1002(call: CallFactory, side: str, case: str) -> None:
    opened = await call()
    masked = ends(opened, side)[0].masked
    first = said(TEXT, b"1", masked=masked, fin=False)
    if case.startswith("5.15"):
        first += said(CONTINUATION, b"2", masked=masked)
        second = said(CONTINUATION, b"3", masked=masked)
    else:
        second = said(TEXT, b"2", masked=masked)
    await refused(opened, side, [first + second], first)


@SIDES
async def test_what_was_said_before_a_fault_is_answered_before_the_1002(call: CallFactory, side: str) -> None:
    opened = await call()
    here, there = ends(opened, side)
    await here.write(said(TEXT, b"3.2", masked=here.masked) + frame(TEXT, b"", masked=here.masked, rsv=4))
    code = 1001 if side == "client" else 1011
    async with within(5):
        assert [(await there.read()).payload[:3], (await there.read()).code] == [b"3.2", code]
        await there.send(TEXT, b"4.1.3")
        await there.send(CLOSE, close_payload(code))
        assert [(await here.read()).payload, (await here.read()).code] == [b"4.1.3", 1002]
        assert (await there.ended(), await here.ended()) == ("fin", "fin")


@SIDES
@pytest.mark.parametrize("how", ["hangs up", "breaks the framing too"])
async def test_a_fault_is_1002_although_the_other_end(call: CallFactory, side: str, how: str) -> None:
    here, there = ends(await call(), side)
    await here.write(frame(TEXT, b"", masked=here.masked, rsv=4))
    async with within(5):
        await there.read_until(CLOSE)
        if how == "hangs up":
            there.hang_up()
        else:
            await there.write(frame(TEXT, b"", masked=there.masked, rsv=4))
        assert (await here.read()).code == 1002
        assert await here.ended() == "fin"


CLOSES = {
    "7.3.1 empty": b"",
    "7.3.3 a code": close_payload(1000),
    "7.3.4 a reason": close_payload(1000, "Hello World!"),
    "7.3.5 a reason of 123": close_payload(1000, "*" * 123),
    "a reason in UTF-8": close_payload(1000, "再起動\N{EARTH GLOBE ASIA-AUSTRALIA}"),
} | {
    f"7.7 {code}": close_payload(code)
    for code in (*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999)
}  # fmt: skip


async def closed(call: Call, side: str, case: str) -> None:
    """A Close passes unchanged, so does its answer, and nothing that was said behind it."""
    here, there = ends(call, side)
    close, answer = (said(CLOSE, CLOSES[case], masked=each.masked) for each in (here, there))
    await here.write(
        close + said(PING, b"7.1.3", masked=here.masked) + said(TEXT, b"7.1.4", masked=here.masked) + close
    )
    async with within(5):
        assert await there.reader.readexactly(len(close)) == close, case
        await there.write(answer)
        assert await here.reader.readexactly(len(answer)) == answer, case
        assert (await here.reader.read(), await there.reader.read()) == (b"", b""), case
    summary = await call.relay.event("connection.closed", session=call.client.headers["x-rtproxy-session"])
    assert (summary["ended_by"], summary["client_code"]) == (side, summary["upstream_code"]), case


@SIDES
async def test_a_close_passes_and_nothing_after_it(call: CallFactory, side: str) -> None:
    opened = await call()
    await asyncio.gather(*[closed(await call(relay=opened.relay), side, case) for case in CLOSES])


@SIDES
async def test_a_close_inside_a_message_passes(call: CallFactory, side: str) -> None:
    here, there = ends(await call(), side)
    stream = said(TEXT, b"7.1.5", masked=here.masked, fin=False) + said(CLOSE, masked=here.masked)
    await here.write(stream)
    async with within(2):
        assert await there.reader.readexactly(len(stream)) == stream
        await there.send(CLOSE)
        assert (await here.read()).opcode == CLOSE
        assert (await here.ended(), await there.ended()) == ("fin", "fin")


@SIDES
async def test_a_close_behind_a_long_message_passes(call: CallFactory, side: str) -> None:
    here, there = ends(await call(), side)
    stream = said(TEXT, b"BAsd7&jh23" * 26_214, masked=here.masked) + said(
        CLOSE, close_payload(1000), masked=here.masked
    )
    writing = asyncio.create_task(here.write(stream + said(PING, b"7.1.6", masked=here.masked)))
    async with within(2):
        assert await there.reader.readexactly(len(stream)) == stream
        await there.send(CLOSE, close_payload(1000))
        assert (await here.read()).code == 1000
        assert await there.reader.read() == b""
    await writing


@SIDES
async def test_a_length_with_its_top_bit_set_is_1009(call: CallFactory, side: str) -> None:
    here, there = ends(await call(), side)
    await here.write(bytes((0x82, here.masked << 7 | 127)) + b"\x80" + bytes(7 + 4 * here.masked))
    async with within(2):
        assert (await here.read()).code == 1009
        assert (await there.read()).code == (1001 if side == "client" else 1011)
