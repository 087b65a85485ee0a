"""The model's leg under TLS, as it is on Azure: the same promises hold."""

import asyncio
import gc
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from yarl import URL

from rtproxy.model.dial import Connection
from rtproxy.wire.tls import READ_BYTES, Tls, client_context
from stage.rawpeer import BINARY, CLOSE, TEXT, RawPeer, RawServer, close_payload, frame
from stage.replica import Replica
from tests.conftest import DEADLINE_S, Caller, RelayFactory, ReplicaFactory
from tests.standstill import within

MIB = 1024 * 1024


@pytest.fixture
async def model_server(tmp_path: Path) -> AsyncIterator[RawServer]:
    """A model with a certificate of a CA that stands in ``tmp_path / "ca.pem"``."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    async with RawServer(context) as server:
        yield server


@pytest.fixture
async def replica(model_server: RawServer, replica_for: ReplicaFactory, tmp_path: Path) -> Replica:
    """A relay that trusts the CA."""
    endpoint = f"https://localhost:{model_server.port}"
    return await replica_for(0, AZURE_OPENAI_ENDPOINT=endpoint, SSL_CERT_FILE=str(tmp_path / "ca.pem"))


async def open_call(replica: Replica, server: RawServer, dial: Caller, then: bytes = b"") -> tuple[RawPeer, RawPeer]:
    connecting = asyncio.create_task(dial(replica.port))
    model = await server.request()
    await model.answer(then=then)
    return await connecting, model


async def test_session_created_in_the_record_of_the_101_reaches_the_client(
    replica: Replica, model_server: RawServer, dial: Caller
) -> None:
    client, _ = await open_call(
        replica, model_server, dial, then=frame(TEXT, b'{"type":"session.created"}', masked=False)
    )
    assert (await client.read()).payload == b'{"type":"session.created"}'


async def test_large_frames_pass_both_ways_at_once(replica: Replica, model_server: RawServer, dial: Caller) -> None:
    client, model = await open_call(replica, model_server, dial)
    payload = bytes(range(256)) * (5 * MIB // 256)
    sending = asyncio.gather(client.send(BINARY, payload), model.send(BINARY, payload))
    async with asyncio.timeout(DEADLINE_S):
        down, up = await asyncio.gather(client.read(), model.read())
    await sending
    assert down.payload == up.payload == payload


@pytest.mark.parametrize("side", ["client", "model"])
async def test_a_close_passes_and_both_sockets_close(
    replica: Replica, model_server: RawServer, dial: Caller, side: str
) -> None:
    client, model = await open_call(replica, model_server, dial)
    here, there = (client, model) if side == "client" else (model, client)
    await here.send(CLOSE, close_payload(4001, "bye"))
    assert (await there.read()).payload == close_payload(4001, "bye")
    await there.send(CLOSE, close_payload(4001, "bye"))
    async with within(1):
        assert (await here.read()).code == 4001
        assert (await here.ended(), await there.ended()) == ("fin", "fin")


async def test_a_model_that_vanishes_reaches_the_client_as_1011(
    replica: Replica, model_server: RawServer, dial: Caller
) -> None:
    client, model = await open_call(replica, model_server, dial)
    model.reset()
    async with within(1):
        assert (await client.read()).code == 1011
        assert await client.ended() == "fin"
    assert (await replica.event("connection.closed"))["ended_by"] == "upstream"


async def test_a_client_that_vanishes_reaches_the_model_as_1001(
    replica: Replica, model_server: RawServer, dial: Caller
) -> None:
    client, model = await open_call(replica, model_server, dial)
    client.reset()
    async with within(1):
        assert (await model.read()).code == 1001
        assert await model.ended() in ("fin", "reset")


async def test_a_client_that_reads_nothing_holds_the_model_back(
    replica: Replica, model_server: RawServer, dial: Caller
) -> None:
    client, model = await open_call(replica, model_server, dial)
    client.reader._transport.pause_reading()

    async def flood() -> None:
        for _ in range(32):
            await model.send(BINARY, bytes(MIB))

    flooding = asyncio.create_task(flood())
    _, stuck = await asyncio.wait((flooding,), timeout=1)
    assert stuck
    client.reader._transport.resume_reading()
    for _ in range(32):
        assert len((await client.read()).payload) == MIB
    await flooding


async def test_a_model_whose_certificate_nobody_vouches_for_is_unreachable(
    model_server: RawServer, replica_for: ReplicaFactory, dial: Caller
) -> None:
    replica = await replica_for(0, AZURE_OPENAI_ENDPOINT=f"https://localhost:{model_server.port}")
    client = await dial(replica.port)
    assert client.status == 502
    assert (await replica.event("upstream.failed"))["cause"] == "unreachable"


async def test_the_second_call_takes_up_the_tls_session_of_the_first(
    replica: Replica, model_server: RawServer, dial: Caller
) -> None:
    for resumed in (False, True):
        _, model = await open_call(replica, model_server, dial)
        assert model.writer.get_extra_info("ssl_object").session_reused is resumed


@pytest.mark.parametrize("by", ["a Close", "the client", "the model"])
async def test_what_tls_keeps_for_a_call_goes_with_it_and_waits_for_no_collector(
    relay_for: RelayFactory,
    model_server: RawServer,
    dial: Caller,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    by: str,
) -> None:
    # The collector does not know of OpenSSL's buffers, some 30 KB a call, and comes when it has seen enough objects.
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    relay = await relay_for(0, AZURE_OPENAI_ENDPOINT=f"https://localhost:{model_server.port}")
    gc.collect()
    gc.disable()
    try:
        connecting = asyncio.create_task(dial(relay.port))
        model = await model_server.request()
        await model.answer()
        client = await connecting
        await client.send(TEXT, b"hello")
        await model.read()
        assert sum(isinstance(each, Tls) for each in gc.get_objects()) == 1
        if by == "a Close":
            await client.send(CLOSE, close_payload(1000))
            await model.send(CLOSE, (await model.read()).payload)
        else:
            (client if by == "the client" else model).reset()
        await relay.event("connection.closed")
        assert not any(isinstance(each, Tls) for each in gc.get_objects())
    finally:
        gc.enable()


Asked = tuple[Connection, Tls, RawPeer]


@pytest.fixture
async def asked(model_server: RawServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """A connection of the relay to the model by itself, with a request on it, and the model's end of it."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    connection = await Connection.open(URL(f"https://localhost:{model_server.port}"), client_context(), None)
    tls = connection.tls
    assert tls is not None
    await asyncio.get_running_loop().sock_sendall(connection.sock, tls.encrypt(b"GET / HTTP/1.1\r\n\r\n"))
    return connection, tls, await model_server.request()


async def test_openssl_is_handed_a_record_at_a_time_since_its_buffers_never_shrink(asked: Asked) -> None:
    connection, tls, model = asked
    handed: list[int] = []
    feed, encrypt = tls._feed, tls._encrypt
    tls._feed = lambda data: (handed.append(len(data)), feed(data))[1]
    tls._encrypt = lambda data: (handed.append(len(data)), encrypt(data))[1]
    payload = bytes(range(256)) * 1000

    async def said() -> bytes:
        heard = b""
        while len(heard) < len(payload):
            try:
                heard += tls.recv(64 * 1024)
            except BlockingIOError:
                await asyncio.sleep(0.001)
        return heard

    sending = asyncio.gather(
        asyncio.get_running_loop().sock_sendall(connection.sock, tls.encrypt(payload)), model.write(payload)
    )
    async with asyncio.timeout(DEADLINE_S):
        assert await model.reader.readexactly(len(payload)) == await said() == payload
    await sending
    assert max(handed) == 16 * 1024
    connection.close()


async def test_records_of_one_byte_are_read_some_at_a_time_and_all_of_them(asked: Asked) -> None:
    connection, tls, model = asked
    count = 20_000

    async def say() -> None:
        for number in range(count):
            model.writer.write(bytes((number % 251,)))
            if number % 500 == 0:
                await model.writer.drain()
        model.writer.write(bytes(30_000))  # and some large ones
        await model.writer.drain()

    saying = asyncio.create_task(say())
    heard, at_once = b"", 0
    async with asyncio.timeout(DEADLINE_S):
        while len(heard) < count + 30_000:
            try:
                data = tls.recv(READ_BYTES)
            except BlockingIOError:
                await asyncio.sleep(0.001)
                continue
            if len(heard) + len(data) <= count:
                at_once = max(at_once, len(data))
            heard += data
    assert heard == bytes(number % 251 for number in range(count)) + bytes(30_000)
    assert at_once <= 2 * 16 * 1024 // 22, "two slices of records of one byte"
    await saying
    connection.close()
