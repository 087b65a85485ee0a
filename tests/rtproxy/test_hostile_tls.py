"""A model that breaks TLS, record by record: its own call ends, no other does, and nobody waits for long."""

import asyncio
import contextlib
import re
import shutil
import signal
import ssl
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Self

import pytest
import trustme

from rtproxy.upgrade import accept_of
from stage.rawpeer import CLOSE, TEXT, Frame, RawPeer, frame
from stage.replica import Replica
from tests.conftest import DEADLINE_S, Caller, ReplicaFactory, error
from tests.standstill import within

SAID = frame(TEXT, b'{"type":"session.created"}', masked=False)
GARBAGE = b"\x17\x03\x03\x00\x20" + b"\xa5" * 32
"""A record whose seal is wrong."""


class Records:
    """The model's end of a connection, below TLS: what `sealed` returns may be cut, or mixed with anything."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext) -> None:
        self.reader, self.writer = reader, writer
        self._arrived, self._leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._arrived, self._leaving, server_side=True)

    async def handshake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._more()
            else:
                break
        await self.write(self._leaving.read())

    async def request(self) -> str:
        """The head of the request."""
        return (await self.heard(b"\r\n\r\n")).decode()

    async def heard(self, last: bytes) -> bytes:
        """What the relay says, up to ``last``."""
        said = b""
        while last not in said:
            try:
                said += self._tls.read(1 << 16)
            except ssl.SSLWantReadError:
                await self._more()
        return said

    def sealed(self, data: bytes) -> bytes:
        self._tls.write(data)
        return self._leaving.read()

    def goodbye(self) -> bytes:
        """A close_notify."""
        with pytest.raises(ssl.SSLWantReadError):
            self._tls.unwrap()
        return self._leaving.read()

    async def accept(self, then: bytes = b"") -> None:
        """Reads the request and sends a 101; ``then`` goes out in its record."""
        head = await self.request()
        (key,) = (line.split()[1] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key:"))
        answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        answer += f"Sec-WebSocket-Accept: {accept_of(key)}\r\n\r\n"
        await self.write(self.sealed(answer.encode() + then))

    async def write(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    async def _more(self) -> None:
        if self._leaving.pending:
            await self.write(self._leaving.read())
        data = await self.reader.read(1 << 16)
        if not data:
            raise ConnectionResetError
        self._arrived.write(data)


class Model:
    """Hands over each connection as it came, its TLS not begun."""

    def __init__(self, context: ssl.SSLContext, replica: Replica, dial: Caller) -> None:
        self.context, self.replica, self._dial = context, replica, dial
        self.connections: asyncio.Queue[Records] = asyncio.Queue()

    async def connection(self) -> Records:
        return await asyncio.wait_for(self.connections.get(), DEADLINE_S)

    def dial(self) -> "asyncio.Task[RawPeer]":
        """A client on its way."""
        return asyncio.create_task(self._dial(self.replica.port))

    async def call(self) -> tuple[RawPeer, Records]:
        """A call that stands, its first event read."""
        connecting = self.dial()
        model = await self.connection()
        await model.handshake()
        await model.accept(then=SAID)
        client = await connecting
        assert (await client.read()).payload == b'{"type":"session.created"}'
        return client, model

    async def serves(self) -> None:
        """Another call stands, and both its directions pass: the relay is alive."""
        async with within(2):
            client, model = await self.call()
            await client.send(TEXT, b"still there?")
            await model.heard(b"still there?")


class Openssl:
    """``openssl s_server`` as the model: it does between frames what Python's ssl cannot."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process, self.stdin, self.stdout = process, process.stdin, process.stdout

    @classmethod
    async def start(cls, folder: Path, *options: str) -> tuple[Self, int]:
        """Listens with the certificate in ``folder / "model.pem"``; the port."""
        binary = shutil.which("openssl")
        assert binary is not None
        listens = ("-accept", "127.0.0.1:0", "-cert", str(folder / "model.pem"))
        process = await asyncio.create_subprocess_exec(binary, "s_server", *listens, *options, stdin=PIPE, stdout=PIPE)
        server = cls(process)
        banner = await server.heard(rb"ACCEPT 127\.0\.0\.1:(\d+)\n")
        return server, int(banner[1])

    async def heard(self, pattern: bytes) -> re.Match[bytes]:
        """Reads on until ``pattern`` stands in what it prints, which is what the relay said and words of its own."""
        printed = b""
        async with asyncio.timeout(DEADLINE_S):
            while not (found := re.search(pattern, printed)):
                data = await self.stdout.read(1 << 16)
                assert data, printed
                printed += data
        return found

    def say(self, data: bytes) -> None:
        self.stdin.write(data)

    async def end(self) -> None:
        self.stdin.close()
        self.process.kill()
        await self.process.wait()


@contextlib.asynccontextmanager
async def called_through_openssl(
    replica_for: ReplicaFactory, dial: Caller, folder: Path, *options: str
) -> AsyncIterator[tuple[RawPeer, Openssl]]:
    """A call that stands, its first event read."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(folder / "model.pem"))
    server, port = await Openssl.start(folder, *options)
    try:
        endpoint = f"https://localhost:{port}"
        replica = await replica_for(0, AZURE_OPENAI_ENDPOINT=endpoint, SSL_CERT_FILE=str(folder / "ca.pem"))
        connecting = asyncio.create_task(dial(replica.port))
        key = (await server.heard(rb"Sec-WebSocket-Key: (\S+)\r\n(?s:.*)\r\n\r\n"))[1].decode()
        answer = "HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        server.say(f"{answer}{accept_of(key)}\r\n\r\n".encode() + SAID)
        client = await connecting
        assert (await client.read()).payload == b'{"type":"session.created"}'
        yield client, server
    finally:
        await server.end()


openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl(1)")


@openssl
@pytest.mark.parametrize("command", [b"K\n", b"k\n"], ids=["both ways", "one way"])
async def test_a_call_goes_on_when_the_model_changes_its_keys_between_two_frames(
    replica_for: ReplicaFactory, dial: Caller, tmp_path: Path, command: bytes
) -> None:
    async with called_through_openssl(replica_for, dial, tmp_path, "-tls1_3") as (client, server):
        for turn in range(3):
            server.say(command)
            await client.send(TEXT, b"turn %d" % turn)
            await server.heard(b"turn %d" % turn)
            server.say(SAID)
            async with within(2):
                assert (await client.read()).payload == b'{"type":"session.created"}'


@openssl
async def test_answers_to_new_keys_do_not_pile_up_while_the_client_says_nothing(
    replica_for: ReplicaFactory, dial: Caller, tmp_path: Path
) -> None:
    async with called_through_openssl(replica_for, dial, tmp_path, "-tls1_3", "-msg") as (client, server):
        server.say(b"K\n")
        await server.heard(rb">>> [^\n]* KeyUpdate")
        for _ in range(3):
            server.say(b"K\n")
            await server.heard(rb"<<< [^\n]* KeyUpdate")  # OpenSSL answers one when it hears the next
        await client.send(TEXT, b"in new keys")
        await server.heard(b"in new keys")


@openssl
async def test_a_model_that_wants_a_second_handshake_ends_its_call(
    replica_for: ReplicaFactory, dial: Caller, tmp_path: Path
) -> None:
    async with called_through_openssl(replica_for, dial, tmp_path, "-tls1_2") as (client, server):
        server.say(b"r\n")
        async with within(2):
            while (told := await one_more(client)).opcode != CLOSE:
                pass
        assert told.code == 1011


async def one_more(client: RawPeer) -> Frame:
    """Talks until something is said."""
    reading = asyncio.ensure_future(client.read())
    while not reading.done():
        await client.send(TEXT, b"hello?")
        await asyncio.wait((reading,), timeout=0.01)
    return await reading


@pytest.fixture
async def model(replica_for: ReplicaFactory, dial: Caller, tmp_path: Path) -> AsyncIterator[Model]:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    connections: asyncio.Queue[Records] = asyncio.Queue()
    writers: list[asyncio.StreamWriter] = []

    async def came(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        connections.put_nowait(Records(reader, writer, context))

    server = await asyncio.start_server(came, "127.0.0.1", 0)
    deserted = asyncio.create_task(server.wait_closed())
    endpoint = f"https://localhost:{server.sockets[0].getsockname()[1]}"
    replica = await replica_for(0, AZURE_OPENAI_ENDPOINT=endpoint, SSL_CERT_FILE=str(tmp_path / "ca.pem"))
    given = Model(context, replica, dial)
    given.connections = connections
    yield given
    server.close()
    for writer in writers:
        writer.close()
    await deserted


async def test_others_are_served_when_a_model_talks_on_after_its_close_notify(model: Model) -> None:
    for behind in (b"\0", GARBAGE, b"GET / HTTP/1.1\r\n\r\n"):
        client, hostile = await model.call()
        await hostile.write(hostile.goodbye() + behind)
        async with within(2):
            assert (await client.read()).code == 1011, behind
        await model.serves()


async def test_what_was_said_before_a_close_notify_arrives(model: Model) -> None:
    client, leaving = await model.call()
    await leaving.write(leaving.sealed(SAID * 2000) + leaving.goodbye())
    async with within(2):
        for _ in range(2000):
            assert (await client.read()).payload == b'{"type":"session.created"}'
        assert (await client.read()).code == 1011


async def test_a_close_notify_alone_reaches_the_client_as_1011(model: Model) -> None:
    client, hostile = await model.call()
    await hostile.write(hostile.goodbye())
    async with within(2):
        assert (await client.read()).code == 1011
    await model.serves()


async def test_a_close_notify_instead_of_an_answer_is_502_at_once(model: Model) -> None:
    connecting = model.dial()
    hostile = await model.connection()
    await hostile.handshake()
    await hostile.request()
    await hostile.write(hostile.goodbye())
    async with within(2):
        client = await connecting
    assert (client.status, (await error(client))["code"]) == (502, "upstream_unreachable")


async def test_a_close_notify_behind_the_101_reaches_the_client_as_1011(model: Model) -> None:
    connecting = model.dial()
    hostile = await model.connection()
    await hostile.handshake()
    head = await hostile.request()
    (key,) = (line.split()[1] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key:"))
    answer = f"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept_of(key)}"
    await hostile.write(hostile.sealed(answer.encode() + b"\r\n\r\n" + SAID) + hostile.goodbye())
    client = await connecting
    async with within(2):
        assert (await client.read()).payload == b'{"type":"session.created"}'
        assert (await client.read()).code == 1011


async def test_a_record_with_a_wrong_seal_ends_its_call_and_no_other(model: Model) -> None:
    other, other_model = await model.call()
    client, hostile = await model.call()
    await hostile.write(GARBAGE)
    async with within(2):
        assert (await client.read()).code == 1011
        assert await client.ended() == "fin"
    await other_model.write(other_model.sealed(SAID))
    assert (await other.read()).opcode == TEXT
    await model.serves()


async def test_what_was_said_before_a_wrong_seal_arrives(model: Model) -> None:
    client, hostile = await model.call()
    await hostile.write(hostile.sealed(SAID) + GARBAGE)
    async with within(2):
        assert (await client.read()).payload == b'{"type":"session.created"}'
        assert (await client.read()).code == 1011


@pytest.mark.parametrize("way", ["fin", "reset"])
async def test_a_record_cut_off_by_the_end_of_the_connection_is_a_model_that_vanished(model: Model, way: str) -> None:
    client, hostile = await model.call()
    await hostile.write(hostile.sealed(SAID) + hostile.sealed(b"x" * 1000)[:500])
    assert (await client.read()).opcode == TEXT
    hostile.writer.close() if way == "fin" else RawPeer(hostile.reader, hostile.writer, "GET", False).reset()
    async with within(2):
        assert (await client.read()).code == 1011
        assert await client.ended() == "fin"


@pytest.mark.parametrize("way", ["fin", "reset"])
async def test_a_cut_off_record_and_the_end_that_are_read_at_once_are_a_model_that_vanished(
    model: Model, way: str
) -> None:
    client, hostile = await model.call()
    model.replica.signal(signal.SIGSTOP)
    hostile.writer.write(hostile.sealed(b"x" * 1000)[:500])
    hostile.writer.close() if way == "fin" else RawPeer(hostile.reader, hostile.writer, "GET", False).reset()
    with contextlib.suppress(OSError):
        await hostile.writer.wait_closed()
    model.replica.signal(signal.SIGCONT)
    async with within(2):
        assert (await client.read()).code == 1011
        assert await client.ended() == "fin"


async def test_records_that_trickle_byte_by_byte_are_heard(model: Model) -> None:
    client, slow = await model.call()
    for byte in slow.sealed(SAID):
        await slow.write(bytes((byte,)))
        await asyncio.sleep(0)
    assert (await client.read()).payload == b'{"type":"session.created"}'


@pytest.mark.parametrize("size", [1, 16 * 1024])
async def test_many_records_at_once_are_heard_to_the_last_byte(model: Model, size: int) -> None:
    client, busy = await model.call()
    payload = bytes(range(256)) * 64
    said = frame(TEXT, payload, masked=False) * (2 if size == 1 else 40)
    records = b"".join(busy.sealed(said[at : at + size]) for at in range(0, len(said), size))
    writing = asyncio.create_task(busy.write(records))
    for _ in range(len(said) // len(frame(TEXT, payload, masked=False))):
        assert (await client.read()).payload == payload
    await writing


async def test_garbage_in_the_handshake_is_502(model: Model) -> None:
    for size in (0, 1, 5, 100):
        connecting = model.dial()
        hostile = await model.connection()
        await hostile.reader.read(1 << 16)
        await hostile.write(GARBAGE[:1] * size)
        hostile.writer.write_eof()
        async with within(2):
            client = await connecting
        assert (client.status, (await error(client))["code"]) == (502, "upstream_unreachable"), size
    await model.serves()


async def test_garbage_instead_of_an_answer_is_502(model: Model) -> None:
    connecting = model.dial()
    hostile = await model.connection()
    await hostile.handshake()
    await hostile.request()
    await hostile.write(GARBAGE)
    async with within(2):
        client = await connecting
    assert (client.status, (await error(client))["code"]) == (502, "upstream_unreachable")
