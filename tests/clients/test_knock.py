"""Strangers who knock: at real relays, and at a door whose answers are made for a case."""

import orjson
import pytest

from clients.probe import parse
from stage.rawpeer import RawServer
from tests.clients.conftest import Model, ModelFactory, ProbeFactory
from tests.conftest import KEY, ReplicaFactory

LOCKED = ["401 Unauthorized"] * 4


@pytest.fixture
async def open_model(model_for: ModelFactory) -> Model:
    """One that takes the relay's own key."""
    return await model_for(key="model-key")


def port_of(model: Model) -> int:
    return int(model.url.rpartition(":")[2])


async def test_a_relay_turns_every_stranger_away(
    open_model: Model, replica_for: ReplicaFactory, probe: ProbeFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = await replica_for(port_of(open_model))
    monkeypatch.setenv("RTPROXY_KEY", KEY)  # a good key in the environment is not what a stranger shows

    result = await (await probe(relay.url, "--knock")).result()

    assert (result.code, result.stderr) == (0, "")
    assert result.stdout == "app--blue: 4 of 4 strangers turned away with 401\n"
    assert {line["observation"] for line in result.rounds} == {"knocked"}
    assert [line["credential"] for line in result.rounds] == ["none", "wrong", "wrong", "wrong"]
    assert {(line["revision"], line["status"]) for line in result.rounds} == {("app--blue", 401)}
    assert [line["code"] for line in result.rounds] == ["missing_api_key", *["invalid_api_key"] * 3]
    assert {line["url"] for line in result.rounds} == {f"ws{relay.url[4:]}/v1/realtime?model=gpt-realtime"}
    assert KEY not in str(result)


async def test_a_relay_that_lets_anybody_in_ends_it_with_1_unless_anybody_may_call(
    open_model: Model, replica_for: ReplicaFactory, probe: ProbeFactory
) -> None:
    relay = await replica_for(port_of(open_model), RTPROXY_CLIENT_KEYS="", RTPROXY_ALLOW_ANONYMOUS="true")

    result = await (await probe(relay.url, "--knock")).result()
    told = await (await probe(relay.url, "--knock", "--anybody", "--json")).result()

    assert result.code == 1
    assert result.stdout.startswith("app--blue did not turn strangers away with 401: with no key: let in; with a wrong")
    assert [line["status"] for line in result.rounds] == [101] * 4
    said = orjson.loads(told.stdout)
    assert (told.code, said["exit_code"]) == (0, 0)
    assert said["sentence"] == "app--blue: 0 of 4 strangers turned away with 401, 4 let in, as anybody may call"


@pytest.mark.parametrize(
    ("answers", "place"),
    [
        (["502 Bad Gateway", *LOCKED[1:]], "with no key: HTTP 502"),
        ([*LOCKED[:1], "503 Service Unavailable", *LOCKED[2:]], "with a wrong key in Authorization: HTTP 503"),
        ([*LOCKED[:2], "404 Not Found", *LOCKED[3:]], "with a wrong key in api-key: HTTP 404"),
        ([*LOCKED[:3], "429 Too Many Requests"], "with a wrong key as subprotocol: HTTP 429"),
    ],
)
async def test_any_other_answer_than_401_at_any_place_of_a_key_ends_it_with_1(
    probe: ProbeFactory, answers: list[str], place: str
) -> None:
    async with RawServer() as server:
        probing = await probe(f"ws://127.0.0.1:{server.port}", "--knock")
        shown = []
        for answer in answers:
            request = await server.request()
            shown.append({*request.headers} & {"authorization", "api-key", "sec-websocket-protocol"})
            await request.answer(answer)
        result = await probing.result()

    assert result.code == 1
    assert result.stdout.endswith(f" did not turn strangers away with 401: {place}\n")
    assert shown == [set(), {"authorization"}, {"api-key"}, {"sec-websocket-protocol"}]


async def test_a_door_that_nobody_answers_ends_it_with_3_and_the_cure(probe: ProbeFactory) -> None:
    async with RawServer() as server:
        port = server.port

    result = await (await probe(f"http://127.0.0.1:{port}", "--knock", "--anybody")).result()

    assert (result.code, result.stdout, result.rounds) == (3, "", [])
    assert "is it running, and is the port right?" in result.stderr


async def test_a_connection_that_is_lost_once_is_no_401(probe: ProbeFactory) -> None:
    async with RawServer() as server:
        probing = await probe(f"http://127.0.0.1:{server.port}/ws", "--knock")
        for _ in range(2):  # aiohttp tries a lost GET once more by itself
            (await server.request()).reset()
        for answer in LOCKED[1:]:
            await (await server.request()).answer(answer)
        result = await probing.result()

    assert result.code == 1
    assert "with no key: no answer (" in result.stdout
    assert (result.rounds[0]["status"], result.rounds[0]["code"]) == (None, "connection_lost")


def test_what_does_not_go_with_a_knock_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["http://relay/ws?api-key=k", "--knock", "--until-zero"])
    with pytest.raises(SystemExit):
        parse(["http://relay", "--anybody"])

    said = capsys.readouterr().err
    assert "--knock asks for no calls" in said
    assert "URL must carry no key" in said
    assert "there is no --knock" in said
