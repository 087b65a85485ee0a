"""A probe: real relays behind an address that hands each connection to the next, and answers made for a case."""

import asyncio
import os
import signal
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest
import trustme

from clients.probe import parse
from stage.rawpeer import RawPeer, RawServer
from stage.replica import Replica
from tests.clients.conftest import DEADLINE_S, ProbeFactory, Result
from tests.conftest import Caller, ReplicaFactory

NAMES = ("app--blue-1", "app--blue-2")


class Blue(NamedTuple):
    """Two relays of one revision and the address in front of them."""

    replicas: list[Replica]
    url: str
    call: Callable[[int], Awaitable[RawPeer]]
    """Opens a call on the replica of that number."""


@pytest.fixture
async def blue(replica_for: ReplicaFactory, upstream: RawServer, dial: Caller) -> AsyncIterator[Blue]:
    replicas = [await replica_for(upstream.port, CONTAINER_APP_REPLICA_NAME=name) for name in NAMES]
    ports = cycle([replica.port for replica in replicas])

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", next(ports))
        back.write(await reader.readuntil(b"\r\n\r\n"))
        writer.write(await there.read())  # the relay closes: the request asks for it
        writer.close()
        back.close()

    async def call(number: int) -> RawPeer:
        dialling = asyncio.create_task(dial(replicas[number].port))
        await (await upstream.request()).answer()
        return await dialling

    async with await asyncio.start_server(forward, "127.0.0.1", 0) as server:
        yield Blue(replicas, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/realtime", call)


def status(sessions: int = 0, replica: str = "app--blue-1", revision: str = "app--blue") -> bytes:
    return orjson.dumps(
        {
            "revision": revision,
            "replica": replica,
            "draining": False,
            "sessions": sessions,
            "quiet": sessions,
            "oldest_s": 61.4,
        }
    )


async def test_a_round_adds_up_what_every_replica_says_of_itself(blue: Blue, probe: ProbeFactory) -> None:
    for number in (0, 1, 1):
        await blue.call(number)

    result = await (await probe(blue.url, "--replicas", *NAMES, "--json")).result()

    assert (result.code, result.stderr) == (0, "")
    (line,) = result.rounds
    assert line["observation"] == "probed"
    assert line["ts"].endswith("Z")
    assert (line["revision"], line["sessions"], line["quiet"]) == ("app--blue", 3, 3)
    assert line["replicas"] == {NAMES[0]: 1, NAMES[1]: 2}
    assert (line["missing"], line["complete"]) == ([], True)
    assert line["url"] == blue.url.replace("/v1/realtime", "/status")
    assert 0 < line["oldest_s"] < DEADLINE_S
    said = orjson.loads(result.stdout)
    assert all(said[name] == line[name] for name in line.keys() - {"hold", "observation"})
    assert (said["exit_code"], said["sentence"].partition(",")[0]) == (0, "app--blue: 3 calls (2 replicas)")


async def test_a_round_says_of_each_replica_whether_it_was_asked_to_stop(blue: Blue, probe: ProbeFactory) -> None:
    await blue.call(1)
    blue.replicas[1].signal(signal.SIGTERM)
    await blue.replicas[1].event("drain.started")

    result = await (await probe(blue.url, "--replicas", *NAMES)).result()

    assert (result.code, result.rounds[-1]["draining"]) == (0, {NAMES[0]: False, NAMES[1]: True})


async def test_until_zero_tells_each_new_number_and_ends_when_no_call_is_left(blue: Blue, probe: ProbeFactory) -> None:
    first, second = await blue.call(0), await blue.call(1)
    probing = await probe(blue.url, "--replicas", *NAMES, "--until-zero")
    await probing.said("app--blue: 2 calls (2 replicas), 2 between turns, the oldest ")
    first.reset()
    await probing.said("app--blue: 1 call (2 replicas)")
    second.reset()

    result = await probing.result()

    assert result.code == 0
    assert result.stdout.startswith("app--blue: no call left after ")
    assert [sessions for sessions, _ in _runs(result)] == [2, 1, 0]
    assert len(result.stderr.splitlines()) == 2, "a number that stays is not told again and again"


def _runs(result: Result) -> list[tuple[int, bool]]:
    """The rounds, each change once."""
    facts = [(line["sessions"], line["complete"]) for line in result.rounds]
    return [fact for index, fact in enumerate(facts) if index == 0 or fact != facts[index - 1]]


async def test_calls_that_outlast_the_time_are_told_with_number_and_age(blue: Blue, probe: ProbeFactory) -> None:
    await blue.call(1)

    result = await (await probe(blue.url, "--replicas", *NAMES, "--until-zero", "--timeout", "0.5")).result()

    assert result.code == 1
    assert "app--blue: 1 call left after " in result.stdout
    assert "the oldest " in result.stdout
    assert len(result.stdout.splitlines()) == 1


async def test_zero_is_not_believed_while_a_listed_replica_is_silent(blue: Blue, probe: ProbeFactory) -> None:
    silent = ("--replicas", *NAMES, "app--blue-3", "--until-zero", "--timeout", "0.5")

    result = await (await probe(blue.url, *silent)).result()

    assert result.code == 1
    assert "no answer from app--blue-3" in result.stdout
    last = result.rounds[-1]
    assert (last["sessions"], last["missing"], last["complete"]) == (0, ["app--blue-3"], False)
    assert last["replicas"].keys() == set(NAMES)


async def test_the_command_is_asked_in_every_round(blue: Blue, probe: ProbeFactory, tmp_path: Path) -> None:
    names = tmp_path / "names"
    names.write_text(NAMES[1] + "\n")
    await blue.call(1)
    probing = await probe(blue.url, "--replicas-command", f"cat {names}", "--until-zero")
    await probing.said("1 call")
    names.write_text("")

    result = await probing.result()

    assert result.code == 0
    assert result.stdout.startswith("app--blue: no call left")
    assert result.rounds[-1]["replicas"] == {}


async def test_nothing_is_asked_of_a_revision_without_replicas(upstream: RawServer, probe: ProbeFactory) -> None:
    asked = asyncio.create_task(upstream.request())

    once = await (await probe(f"http://127.0.0.1:{upstream.port}", "--replicas-command", "true")).result()
    result = await (
        await probe(f"http://127.0.0.1:{upstream.port}", "--replicas-command", "true", "--until-zero")
    ).result()

    assert (once.code, result.code) == (0, 0)
    assert not asked.done()
    asked.cancel()
    (line,) = result.rounds
    assert (line["revision"], line["sessions"], line["replicas"], line["complete"]) == (None, 0, {}, True)
    assert "no call left after 0 s (no replica)" in result.stdout


@pytest.mark.parametrize(
    ("command", "cause"),
    [
        ("""sh -c 'echo "WARNING: old" >&2; echo "ERROR: log in" >&2; exit 4'""", "sh failed: ERROR: log in"),
        ("sh -c 'exit 4'", "sh failed: exit code 4"),
        ("no-such-command --now", "cannot run no-such-command: No such file or directory"),
        ("echo '[]'", "echo printed something else than names"),
    ],
)
async def test_a_command_that_fails_ends_with_3_and_its_last_words(
    upstream: RawServer, probe: ProbeFactory, command: str, cause: str
) -> None:
    url = f"http://127.0.0.1:{upstream.port}"  # nobody there is asked anything
    result = await (await probe(url, "--replicas-command", command, "--until-zero")).result()

    assert (result.code, result.stdout) == (3, "")
    assert cause in result.stderr
    assert len(result.stderr.splitlines()) == 1


async def test_a_command_that_worked_before_may_fail_for_a_while(
    blue: Blue, probe: ProbeFactory, tmp_path: Path
) -> None:
    names = tmp_path / "names"
    names.write_text("\n".join(NAMES))
    call = await blue.call(0)
    probing = await probe(blue.url, "--replicas-command", f"cat {names}", "--until-zero")
    await probing.said("1 call")
    names.rename(tmp_path / "away")
    await probing.said("cat failed: ")
    call.reset()
    (tmp_path / "away").rename(names)

    assert (await probing.result()).code == 0


async def test_two_revisions_at_one_address_end_with_3(probe: ProbeFactory) -> None:
    async with RawServer() as server:
        probing = await probe(f"http://127.0.0.1:{server.port}", "--replicas", *NAMES)
        await (await server.request()).answer("200 OK", body=status())
        await (await server.request()).answer("200 OK", body=status(replica="app--green-1", revision="app--green"))
        result = await probing.result()

    assert (result.code, result.stdout) == (3, "")
    assert "both app--blue and app--green answered" in result.stderr


async def test_every_question_is_a_stranger_on_a_connection_of_its_own(probe: ProbeFactory) -> None:
    async with RawServer() as server:
        probing = await probe(f"ws://127.0.0.1:{server.port}/ws?model=x", "--replicas", *NAMES)
        requests = []
        for name in (NAMES[0], NAMES[0], NAMES[1]):
            # RawServer reads one request of a connection: a second one there would never be answered.
            requests.append(await server.request())
            await requests[-1].answer("200 OK", headers={"Set-Cookie": "affinity=here"}, body=status(2, name))
        result = await probing.result()

    assert result.code == 0
    assert result.rounds[0]["replicas"] == {NAMES[0]: 2, NAMES[1]: 2}
    assert {request.request_line for request in requests} == {"GET /status HTTP/1.1"}
    assert all("cookie" not in request.headers for request in requests)


async def test_a_bad_answer_is_asked_again_within_the_round(probe: ProbeFactory) -> None:
    async with RawServer() as server:
        probing = await probe(f"http://127.0.0.1:{server.port}", "--replicas", NAMES[0])
        await (await server.request()).answer("503 Service Unavailable", body=b"no healthy upstream")
        (await server.request()).reset()
        await (await server.request()).answer("200 OK", body=status(1))
        result = await probing.result()

    assert result.code == 0
    assert result.stdout == "app--blue: 1 call (1 replica), 1 between turns, the oldest 61 s old\n"


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"{}", b'{"sessions":null}'])
async def test_an_address_without_a_relay_ends_with_3(probe: ProbeFactory, answer: bytes) -> None:
    async with RawServer() as server:
        probing = await probe(f"http://127.0.0.1:{server.port}", "--until-zero", "--timeout", "0.1")
        answering = asyncio.create_task(_always(server, answer))
        result = await probing.result()
        answering.cancel()
        with suppress(asyncio.CancelledError):
            await answering

    assert (result.code, result.stdout) == (3, "")
    assert "gave no answer: HTTP 200 with no relay's status in it" in result.stderr
    assert "cure: check the URL" in result.stderr


async def _always(server: RawServer, body: bytes) -> None:
    while True:
        request = await server.request()
        with suppress(ConnectionError):  # at its deadline the probe hangs up
            await request.answer("200 OK", body=body)


async def test_a_refused_port_ends_with_3(probe: ProbeFactory) -> None:
    async with RawServer() as server:
        port = server.port

    result = await (await probe(f"http://127.0.0.1:{port}", "--until-zero", "--timeout", "0.1")).result()

    assert (result.code, result.stdout) == (3, "")
    assert "is it running, and is the port right?" in result.stderr


async def test_connect_to_dials_another_address_and_leaves_host_and_trust(probe: ProbeFactory) -> None:
    authority = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("app--blue.stage.localhost").configure_cert(tls)
    async with RawServer(tls) as server:
        with authority.cert_pem.tempfile() as pem:
            options = ("--connect-to", f"127.0.0.1:{server.port}", "--ca-file", pem)
            probing = await probe("https://app--blue.stage.localhost", *options)
            request = await server.request()
            await request.answer("200 OK", body=status())
            result = await probing.result()

    assert result.code == 0
    assert request.headers["host"] == "app--blue.stage.localhost"
    assert result.rounds[0]["url"] == "https://app--blue.stage.localhost/status"


async def test_ctrl_c_ends_with_130_and_leaves_no_command_behind(probe: ProbeFactory, tmp_path: Path) -> None:
    told = tmp_path / "pid"
    os.mkfifo(told)
    probing = await probe("http://127.0.0.1:9", "--replicas-command", f"sh -c 'echo $$ > {told}; exec sleep 60'")
    pid = int(await asyncio.to_thread(told.read_text))
    probing.process.send_signal(signal.SIGINT)

    result_code = await asyncio.wait_for(probing.process.wait(), DEADLINE_S)

    assert probing.process.stderr
    assert (result_code, await probing.process.stderr.read()) == (130, b"")
    await gone(pid)


async def gone(pid: int) -> None:
    """Returns when no process has this number, or a dead one that nobody has asked for yet."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            if dead(pid):
                return
            await asyncio.sleep(0.01)


def dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except FileNotFoundError:
        return True


def test_every_problem_with_the_arguments_is_named_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        parse(
            [
                *("ftp://relay", "--replicas", "a", "--replicas-command", "az 'open"),
                *("--timeout", "soon", "--interval=-1", "--connect-to", "relay"),
                *("--record", "/nowhere/r.jsonl", "--ca-file", "/nowhere.pem", "--frob"),
            ]
        )

    assert left.value.code == 2
    said = capsys.readouterr().err
    for problem in (
        "URL wants the form",
        "--replicas and --replicas-command exclude each other",
        "--replicas-command is quoted wrongly",
        "--timeout wants a number of at least 0.1, not 'soon'",
        "--interval wants a number of at least 0, not '-1'",
        "--connect-to wants the form HOST:PORT",
        "--record cannot be written",
        "--ca-file wants a PEM file",
        "unknown option --frob",
    ):
        assert problem in said
