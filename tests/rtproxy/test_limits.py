"""A peer that breaks the framing is told so itself; nothing faulty or oversized reaches the other leg."""

import asyncio
import os
import resource

import pytest

from stage.rawpeer import BINARY, CLOSE, PING, TEXT, announced, close_payload, frame
from tests.conftest import CallFactory
from tests.standstill import within

MIB = 1024 * 1024


def faults(masked: bool) -> dict[str, bytes]:
    """Frames that RFC 6455 section 5 forbids, as one side would send them."""

    def sent(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
        return frame(opcode, payload, masked=masked, fin=fin, rsv=rsv)

    return {
        "reserved bit 1": sent(TEXT, b"x", rsv=4),
        "reserved bit 3": sent(PING, b"x", rsv=1),
        "bad data opcode": sent(3, b"x"),
        "bad control opcode": sent(11, b"x"),
        "oversized control": sent(PING, b"x" * 126),
        "fragmented control": sent(PING, b"x", fin=False),
        "wrong masking": frame(TEXT, b"x", masked=not masked),
        "stray continuation": sent(0, b"x"),
        "new message inside another": sent(TEXT, b"x", fin=False) + sent(TEXT, b"y"),
        "close of one byte": sent(CLOSE, b"x"),
        "close 1005": sent(CLOSE, close_payload(1005)),
        "close 1006": sent(CLOSE, close_payload(1006)),
        "close 999": sent(CLOSE, close_payload(999)),
    }


@pytest.mark.parametrize("fault", faults(True))
async def test_a_client_that_breaks_the_framing_gets_1002_and_the_model_1001(call: CallFactory, fault: str) -> None:
    client, model, relay = await call()
    await client.write(faults(True)[fault])
    async with within(1):
        assert (await client.read()).code == 1002
        assert (await model.read_until(CLOSE)).code == 1001
        assert (await client.ended(), await model.ended()) == ("fin", "fin")
    closed = await relay.event("connection.closed")
    assert (closed["ended_by"], closed["client_code"], closed["upstream_code"]) == ("error", 1002, 1001)


@pytest.mark.parametrize("fault", faults(False))
async def test_a_model_that_breaks_the_framing_gets_1002_and_the_client_1011(call: CallFactory, fault: str) -> None:
    client, model, relay = await call()
    await model.write(faults(False)[fault])
    async with within(1):
        assert (await model.read()).code == 1002
        assert (await client.read_until(CLOSE)).code == 1011
    closed = await relay.event("connection.closed")
    assert (closed["ended_by"], closed["client_code"], closed["upstream_code"]) == ("error", 1011, 1002)


@pytest.mark.parametrize(("side", "codes"), [("client", (1009, 1001)), ("upstream", (1011, 1009))])
async def test_a_frame_announced_over_16_mib_is_refused_before_a_byte_of_it_passes(
    call: CallFactory, side: str, codes: tuple[int, int]
) -> None:
    client, model, relay = await call()
    offender = client if side == "client" else model
    await offender.write(announced(TEXT, 16 * MIB + 1, masked=offender.masked))
    async with within(1):
        assert (await client.read()).code == codes[0]
        assert (await model.read()).code == codes[1]
    closed = await relay.event("connection.closed")
    assert (closed["ended_by"], closed["client_code"], closed["upstream_code"]) == ("limit", *codes)


async def test_a_frame_of_16_mib_passes(call: CallFactory) -> None:
    client, model, _ = await call()
    sending = asyncio.create_task(client.send(BINARY, b"\1" * 16 * MIB))
    assert len((await model.read()).payload) == 16 * MIB
    await sending


async def test_the_oversized_frame_is_not_buffered_when_the_client_sends_it_anyway(call: CallFactory) -> None:
    client, _, relay = await call()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sending = asyncio.create_task(client.write(announced(BINARY, 64 * MIB, masked=True) + os.urandom(MIB)))
    assert (await client.read()).code == 1009
    await relay.event("connection.closed")
    sending.cancel()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024, "KiB"
