"""A model that answers the dial with anything: the client gets a status in bounded time, and the relay keeps nothing.

TLS has its own tests: test_hostile_tls.py.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from rtproxy.upgrade import accept_of
from stage.rawpeer import CLOSE, TEXT, RawPeer, RawServer, close_payload, frame
from stage.replica import Replica
from tests.conftest import DEADLINE_S, Caller, CallFactory, RelayFactory, ReplicaFactory, error
from tests.standstill import within

MIB = 1024 * 1024


def switching(model: RawPeer, *lines: str, status: str = "HTTP/1.1 101 Switching Protocols") -> bytes:
    """A 101 with the headers that it must have, ``lines`` behind them or, where they name the same, in their place."""
    accept = accept_of(model.headers["sec-websocket-key"])
    fields = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-accept": accept}
    given = {line.partition(":")[0].lower() for line in lines}
    sound = [f"{name}: {value}" for name, value in fields.items() if name not in given]
    return "\r\n".join((status, *sound, *filter(None, lines), "", "")).encode()


async def dialing(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller
) -> tuple["asyncio.Task[RawPeer]", RawPeer]:
    relay = await relay_for(upstream.port)
    connecting = asyncio.create_task(dial(relay.port))
    return connecting, await asyncio.wait_for(upstream.request(), DEADLINE_S)


async def failed(connecting: "asyncio.Task[RawPeer]") -> tuple[int, str]:
    """Status and code of the answer that the client gets."""
    client = await asyncio.wait_for(connecting, DEADLINE_S)
    return client.status, (await error(client))["code"]


NO_ANSWER = {
    "noise": bytes(range(256)) * 4,
    "a request": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a frame": frame(TEXT, b"hello", masked=False),
    "TLS": b"\x15\x03\x01\x00\x02\x02\x46",
    "SMTP": b"220 mail.example ESMTP\r\n",
    "a status of letters": b"HTTP/1.1 abc OK\r\n\r\n",
    "a status line without end": b"HTTP/1.1 101 " + b"x" * 9000,
    "a header without end": b"HTTP/1.1 101 S\r\nX: " + b"x" * 9000,
    "a name without end": b"HTTP/1.1 101 S\r\n" + b"x" * 9000,
    "headers without end": b"HTTP/1.1 101 S\r\n" + b"X: a\r\n" * 200,
    "NUL in a name": b"HTTP/1.1 101 S\r\nX\0: a\r\n\r\n",
    "NUL in a value": b"HTTP/1.1 101 S\r\nX: a\0b\r\n\r\n",
    "a length that is none": b"HTTP/1.1 401 No\r\nContent-Length: -1\r\n\r\n",
    "a 100 with a body": b"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nhello" + b"x" * 70_000,
    "a 100 in chunks": b"HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
}


@pytest.mark.parametrize("case", NO_ANSWER)
async def test_what_is_no_answer_is_502(relay_for: RelayFactory, upstream: RawServer, dial: Caller, case: str) -> None:
    connecting, model = await dialing(relay_for, upstream, dial)
    await model.write(NO_ANSWER[case])
    assert await failed(connecting) == (502, "upstream_unreachable")
    assert await model.ended() in ("fin", "reset")


@pytest.mark.parametrize(
    "lines",
    [
        ["Connection:"],
        ["Connection: keep-alive"],
        ["Connection: close"],
        ["Upgrade:"],
        ["Upgrade: h2c"],
        ["Sec-WebSocket-Accept:"],
        ["Sec-WebSocket-Extensions:"],
    ],
    ids=lambda lines: lines[0],
)
async def test_a_101_that_is_none_is_502(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, lines: list[str]
) -> None:
    connecting, model = await dialing(relay_for, upstream, dial)
    await model.write(switching(model, *lines) + frame(TEXT, b"early", masked=False))
    assert await failed(connecting) == (502, "upstream_refused")


@pytest.mark.parametrize(
    "lines",
    [
        ["Connection: keep-alive, Upgrade"],
        ["CONNECTION: upgrade", "UPGRADE: WebSocket"],
        ["Transfer-Encoding: chunked"],
        ["Content-Length: 5"],
        ["Content-Encoding: gzip"],
        ["Sec-WebSocket-Protocol: never-offered"],
        ["Set-Cookie: a=b", "X-Ms-Region: x"],
    ],
    ids=lambda lines: lines[0],
)
async def test_early_frames_arrive_whatever_else_a_101_says(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, lines: list[str]
) -> None:
    connecting, model = await dialing(relay_for, upstream, dial)
    early = frame(TEXT, b"early", masked=False)
    await model.write(b"HTTP/1.1 100 Continue\r\n\r\n" + switching(model, *lines) + early[:3])
    client = await connecting
    assert client.status == 101
    assert not {"set-cookie", "x-ms-region", "sec-websocket-protocol", "content-length"} & client.headers.keys()
    await model.write(early[3:])
    async with within(2):
        assert (await client.read()).payload == b"early"


async def test_an_answer_that_trickles_in_is_heard_byte_by_byte(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller
) -> None:
    connecting, model = await dialing(relay_for, upstream, dial)
    for byte in switching(model) + frame(TEXT, b"early", masked=False):
        await model.write(bytes((byte,)))
        await asyncio.sleep(0)
    client = await connecting
    assert (await client.read()).payload == b"early"


async def test_the_first_frames_arrive_whole_when_there_are_megabytes_behind_the_101(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller
) -> None:
    connecting, model = await dialing(relay_for, upstream, dial)
    payload = os.urandom(3 * MIB)
    writing = asyncio.create_task(model.write(switching(model) + frame(TEXT, payload, masked=False)))
    client = await connecting
    async with asyncio.timeout(DEADLINE_S):
        assert (await client.read()).payload == payload
    await writing


def cpu_s(replica: Replica) -> float:
    fields = Path(f"/proc/{replica.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_kib(replica: Replica) -> int:
    status = Path(f"/proc/{replica.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


@pytest.mark.parametrize(
    "endless",
    [b"HTTP/1.1 100 Continue\r\n\r\n", b"\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"],
    ids=["100", "blank lines", "103"],
)
async def test_a_model_that_never_comes_to_its_answer_is_given_up_and_costs_others_nothing(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller, endless: bytes
) -> None:
    replica = await replica_for(upstream.port)
    before, cpu = rss_kib(replica), cpu_s(replica)
    connecting = asyncio.create_task(dial(replica.port))
    model = await upstream.request()

    async def talk() -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await model.write(endless * 1000)

    talking = asyncio.create_task(talk())
    done, _ = await asyncio.wait((connecting,), timeout=2)
    talking.cancel()
    model.hang_up()
    client = await connecting
    assert done
    assert client.status == 502
    assert rss_kib(replica) - before < 8 * 1024
    assert cpu_s(replica) - cpu < 0.5


# What a model says about a call, once it stands.

DEEP = b"[" * 100_000
EVENTS = {
    "deep": b'{"type":"response.done","response":' + DEEP,
    "deep and whole": b'{"type":"response.done","response":' + DEEP + b"]" * 100_000 + b"}",
    "no JSON": b'{"type":"response.done","response":{"usage":}}',
    "no UTF-8": b'{"type":"error","error":{"code":"\xff\xfe"}}',
    "half a surrogate": b'{"type":"error","error":{"code":"\\ud800"}}',
    "a list": b'{"type":"response.done"}'.join((b"[", b"]")),
    "null everywhere": b'{"type":"response.done","response":null}',
    "wrong kinds": b'{"type":"response.done","response":{"usage":[],"output":{"type":"function_call"}}}',
    "wrong kinds within": b'{"type":"response.done","response":{"output":[1,null,[],{"type":{}}]}}',
    "tokens below nothing": b'{"type":"response.done","response":{"usage":{"input_tokens":-5,"output_tokens":-1e9}}}',
    "tokens without end": b'{"type":"response.done","response":{"usage":{"input_tokens":1%s}}}' % (b"0" * 400),
    "tokens that are true": b'{"type":"response.done","response":{"usage":{"input_tokens":true}}}',
    "NaN": b'{"type":"response.done","response":{"usage":{"input_tokens":NaN}}}',
    "an error that is none": b'{"type":"error","error":"everything"}',
    "a session that is none": b'{"type":"session.created","session":["x"]}',
    "a type that is no text": b'{"type":5,"x":"response.done"}',
    "no type": b"{}" + b" " * 300,
    "nothing": b"",
    "quotes": b'"' * 500,
}


@pytest.mark.parametrize("case", EVENTS)
async def test_an_event_of_any_shape_passes_and_the_call_goes_on(call: CallFactory, case: str) -> None:
    client, model, relay = await call()
    await model.send(TEXT, EVENTS[case])
    await model.send(TEXT, b'{"type":"response.done","response":{"usage":{"input_tokens":7,"output_tokens":9}}}')
    async with within(2):
        assert (await client.read()).payload == EVENTS[case]
        await client.read()
        await client.send(CLOSE, close_payload(1000))
        await model.read()
        await model.send(CLOSE, close_payload(1000))
    closed = await relay.event("connection.closed")
    assert (closed["tokens_in"], closed["tokens_out"], closed["client_code"]) == (7, 9, 1000)


@pytest.mark.parametrize(
    "event",
    [
        lambda long: {"type": "session.created", "session": {"id": long}},
        lambda long: {"type": "error", "error": {"code": long}},
    ],
    ids=["session", "error"],
)
async def test_what_a_model_calls_itself_makes_no_log_line_long(
    call: CallFactory, event: Callable[[str], dict[str, object]]
) -> None:
    client, model, relay = await call()
    await model.send(TEXT, orjson.dumps(event("x" * 200_000)))
    await client.read()
    client.reset()
    closed = await relay.event("connection.closed")
    assert len(orjson.dumps(closed)) < 2000
