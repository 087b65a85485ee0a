"""What one client may take: calls at once, starts a minute, and how long a call may last; keys that are taken away."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from pathlib import Path

import orjson
import pytest

from rtproxy.call.roster import Roster
from rtproxy.carry import ROSTER, UPSTREAM
from rtproxy.door import clientkeys, limits
from rtproxy.door.limits import Limits
from rtproxy.model.upstream import DialFailed
from rtproxy.refusal import Refused
from stage.rawpeer import CLOSE, TEXT, RawPeer, RawServer
from tests.conftest import DEADLINE_S, KEY, Caller, Defective, Relay, RelayFactory, ReplicaFactory, Shown, error

BOB = {"api-key": "client-key-of-bob"}
Opener = Callable[..., Awaitable[tuple[RawPeer, RawPeer]]]


@pytest.fixture
def opened(upstream: RawServer, dial: Caller) -> Opener:
    """A call that was let in: the client and the model."""

    async def opened(relay: Relay, **how: object) -> tuple[RawPeer, RawPeer]:
        connecting = asyncio.create_task(dial(relay.port, **how))
        async with asyncio.timeout(DEADLINE_S):
            model = await upstream.request()
        await model.answer()
        return await connecting, model

    return opened


async def test_a_client_is_refused_429_when_it_has_as_many_calls_up_as_it_may(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, opened: Opener
) -> None:
    relay = await relay_for(upstream.port, RTPROXY_MAX_CLIENT_SESSIONS="2")
    first, _ = await opened(relay)
    await opened(relay)
    refused = await dial(relay.port)
    assert refused.status == 429
    assert refused.headers["retry-after"] == "5"
    said = await error(refused)
    assert (said["type"], said["code"]) == ("rate_limit_error", "too_many_calls")
    bobs, _ = await opened(relay, headers=BOB)
    assert bobs.status == 101, "another client has a share of its own"
    first.hang_up()
    await relay.event("connection.closed")
    again, _ = await opened(relay)
    assert again.status == 101


async def test_a_client_is_refused_429_when_it_started_as_many_calls_as_it_may(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, opened: Opener
) -> None:
    relay = await relay_for(upstream.port, RTPROXY_MAX_CLIENT_STARTS="2")
    began = time.monotonic()
    for _ in range(2):
        (await opened(relay))[0].hang_up()
    refused = await dial(relay.port)
    waited = time.monotonic() - began
    assert refused.status == 429
    assert 60 - waited <= int(refused.headers["retry-after"]) <= 60
    assert (await error(refused))["code"] == "rate_limit_exceeded"
    told = await relay.event("client.refused")
    assert (told["status"], told["code"], told["client"]) == (429, "rate_limit_exceeded", "alice")
    bobs, _ = await opened(relay, headers=BOB)
    assert bobs.status == 101


def test_a_start_counts_for_a_minute_and_a_refused_one_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([1000, 1010, 1020, 1021, 1030, 1059.5, 1060, 1060, 1200])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    limits = Limits(None, 3, Roster())
    for _ in range(3):
        limits.take("alice")
    for wait_s in ("39", "30", "1"):
        with pytest.raises(Refused) as refused:
            limits.take("alice")
        assert refused.value.retry_after == wait_s
    limits.take("alice")
    with pytest.raises(Refused):
        limits.take("alice")
    limits.take("bob")
    assert set(limits._starts) == {"bob"}, "a client that has gone is forgotten"


async def test_a_call_ends_with_1008_when_it_has_lasted_as_long_as_one_may(
    relay_for: RelayFactory, upstream: RawServer, opened: Opener
) -> None:
    relay = await relay_for(upstream.port, RTPROXY_MAX_CALL_SECONDS="1")
    began = time.monotonic()
    client, model = await opened(relay)
    frame = await client.read()
    assert (frame.opcode, frame.code) == (CLOSE, 1008)
    assert time.monotonic() - began >= 1
    assert (await model.read()).code == 1001
    client.hang_up()
    model.hang_up()
    closed = await relay.event("connection.closed")
    assert (closed["ended_by"], closed["client_code"], closed["upstream_code"]) == ("limit", 1008, 1001)


async def test_a_call_whose_turn_ends_shortly_before_its_time_is_up_ends_there(
    relay_for: RelayFactory, upstream: RawServer, opened: Opener
) -> None:
    relay = await relay_for(upstream.port, RTPROXY_MAX_CALL_SECONDS="40")
    client, model = await opened(relay)
    await model.send(TEXT, orjson.dumps({"type": "response.created", "response": {"id": "r"}}))
    await client.read()
    (session,) = relay.app[ROSTER].sessions
    session._nearly_over(30)
    await model.send(TEXT, orjson.dumps({"type": "response.done", "response": {"id": "r"}}))
    assert b"response.done" in (await client.read()).payload
    assert (await client.read()).code == 1008


async def test_a_call_that_nears_its_longest_in_a_drain_is_told_to_reconnect(
    relay_for: RelayFactory, upstream: RawServer, opened: Opener
) -> None:
    relay = await relay_for(upstream.port, RTPROXY_MAX_CALL_SECONDS="40")
    client, model = await opened(relay)
    (session,) = relay.app[ROSTER].sessions
    await model.send(TEXT, orjson.dumps({"type": "response.created", "response": {"id": "r"}}))
    await client.read()
    session.retire_after_turn()
    session._nearly_over(30)
    await model.send(TEXT, orjson.dumps({"type": "response.done", "response": {"id": "r"}}))
    assert b"response.done" in (await client.read()).payload
    assert (await client.read()).code == 1012


async def test_a_call_that_neared_its_longest_before_a_drain_is_told_to_reconnect(
    relay_for: RelayFactory, upstream: RawServer, opened: Opener
) -> None:
    relay = await relay_for(upstream.port, RTPROXY_MAX_CALL_SECONDS="40")
    client, model = await opened(relay)
    (session,) = relay.app[ROSTER].sessions
    session._nearly_over(30)
    session.retire_after_turn()
    await model.send(TEXT, orjson.dumps({"type": "response.created", "response": {"id": "r"}}))
    await model.send(TEXT, orjson.dumps({"type": "response.done", "response": {"id": "r"}}))
    assert (await client.read_until(CLOSE)).code == 1012


async def test_a_call_that_ended_is_not_kept_for_its_longest(
    relay_for: RelayFactory, upstream: RawServer, opened: Opener
) -> None:
    relay = await relay_for(upstream.port, RTPROXY_MAX_CALL_SECONDS="3600")
    client, _ = await opened(relay)
    (session,) = relay.app[ROSTER].sessions
    client.hang_up()
    await relay.event("connection.closed")
    assert session._timer is not None
    assert session._timer.cancelled()


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of keys that is looked at often."""
    monkeypatch.setattr(clientkeys, "READ_EVERY_S", 0.05)
    file = tmp_path / "keys"
    file.write_text("carol:client-key-of-carol\ndave:client-key-of-dave\n")
    return file


def put(file: Path, text: bytes | None) -> None:
    """Changes a file as a person does; None: takes it away."""
    if text is None:
        file.unlink()
    else:
        file.write_bytes(text)


async def let_in(shown: Shown, relay: Relay, key: str) -> None:
    """Returns when a relay lets a key in."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            if (await shown(relay, key)).status == 101:
                return
            await asyncio.sleep(0.01)


async def test_a_key_that_is_taken_away_lets_nobody_in_and_ends_its_calls_without_a_restart(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, opened: Opener, keys: Path
) -> None:
    relay = await relay_for(upstream.port, RTPROXY_CLIENT_KEYS_FILE=str(keys))
    carols, _ = await opened(relay, headers={"api-key": "client-key-of-carol"})
    daves, daves_model = await opened(relay, headers={"api-key": "client-key-of-dave"})
    alices, _ = await opened(relay, headers={"api-key": KEY})
    put(keys, b"dave:client-key-of-dave")
    frame = await carols.read()
    assert (frame.code, frame.reason) == (1008, "the client's key was taken away")
    assert (await dial(relay.port, headers={"api-key": "client-key-of-carol"})).status == 401
    await daves_model.send(TEXT, b"{}")
    assert (await daves.read()).payload == b"{}"
    carols.hang_up()
    assert (await relay.event("connection.closed"))["client"] == "carol"
    assert len([e for e in relay.events if e["event"] == "connection.closed"]) == 1
    alices.hang_up()


async def test_a_key_that_is_taken_away_during_a_dial_is_401(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, keys: Path
) -> None:
    relay = await relay_for(upstream.port, RTPROXY_CLIENT_KEYS_FILE=str(keys))
    connecting = asyncio.create_task(dial(relay.port, headers={"api-key": "client-key-of-carol"}))
    async with asyncio.timeout(DEADLINE_S):
        model = await upstream.request()
        (session,) = relay.app[ROSTER].sessions
        put(keys, b"dave:client-key-of-dave")
        while not session.closing:  # noqa: ASYNC110 - it is this test's own loop
            await asyncio.sleep(0.01)
    await model.answer()
    refused = await connecting
    assert (refused.status, (await error(refused))["code"]) == (401, "invalid_api_key")


async def test_a_key_that_is_put_into_the_file_lets_its_client_in(
    relay_for: RelayFactory, upstream: RawServer, shown: Shown, keys: Path
) -> None:
    relay = await relay_for(upstream.port, RTPROXY_CLIENT_KEYS="", RTPROXY_CLIENT_KEYS_FILE=str(keys))
    put(keys, b"carol:client-key-of-carol,erin:client-key-of-erin")
    await let_in(shown, relay, "client-key-of-erin")


async def test_a_file_of_keys_that_is_just_being_written_takes_nothing_away(
    relay_for: RelayFactory,
    upstream: RawServer,
    shown: Shown,
    opened: Opener,
    keys: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, after = (
        "carol:client-key-of-carol\ndave:client-key-of-dave\n",
        "dave:client-key-of-dave\nerin:client-key-of-erin\n",
    )
    texts = iter([before, "", "dave:client-key-of-da", after[:-5]])
    monkeypatch.setattr(clientkeys, "_read", lambda file: next(texts, after))
    relay = await relay_for(upstream.port, RTPROXY_CLIENT_KEYS_FILE=str(keys))
    client, model = await opened(relay, headers={"api-key": "client-key-of-dave"})
    await let_in(shown, relay, "client-key-of-erin")
    await model.send(TEXT, b"{}")
    assert (await client.read()).payload == b"{}"


async def test_a_relay_exits_although_its_file_of_keys_cannot_be_read_to_the_end(
    replica_for: ReplicaFactory, upstream: RawServer, tmp_path: Path
) -> None:
    keys, stuck = tmp_path / "keys", tmp_path / "stuck"
    keys.write_text("carol:client-key-of-carol")
    relay = await replica_for(upstream.port, RTPROXY_CLIENT_KEYS_FILE=str(keys), RTPROXY_DRAIN_SECONDS="0.5")
    os.mkfifo(stuck)  # whoever opens it waits for a writer
    stuck.rename(keys)
    writer = None
    try:
        async with asyncio.timeout(DEADLINE_S):
            while writer is None:
                await asyncio.sleep(0.05)
                with contextlib.suppress(OSError):  # as long as nobody reads it
                    writer = os.open(keys, os.O_WRONLY | os.O_NONBLOCK)
            relay.signal(signal.SIGTERM)
            assert await relay.process.wait() == 0
    finally:
        if writer is not None:
            os.close(writer)


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (b"carol", "entry 1 is not a pair"),
        (b"carol:client-key-of-carol,carol:client-key-of-erin", "entry 2 repeats"),
        (b"carol:client-key-of-carol,erin:of-15-character", "entry 2 has a short key; accepted: 16 characters or more"),
        (b"alice:of-the-environment", "entry 1 repeats"),
        (b"\xff", "FILE: it cannot be read. The"),
        (None, "FILE: it cannot be read. The"),
    ],
)
async def test_a_file_of_keys_that_went_bad_takes_nothing_away(
    relay_for: RelayFactory,
    upstream: RawServer,
    opened: Opener,
    keys: Path,
    broken: bytes | None,
    why: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    relay = await relay_for(upstream.port, RTPROXY_CLIENT_KEYS_FILE=str(keys))
    put(keys, broken)
    async with asyncio.timeout(DEADLINE_S):
        while True:
            if "The keys that were in force stay" in caplog.text:
                break
            await asyncio.sleep(0.01)
    assert why in caplog.text
    assert "of-the-environment" not in caplog.text
    assert "of-15-character" not in caplog.text
    client, _ = await opened(relay, headers={"api-key": "client-key-of-carol"})
    assert client.status == 101


async def fails(relay: Relay, upstream: RawServer, dial: Caller, status: str = "503 Down", **how: object) -> RawPeer:
    """A call that the model refuses."""
    connecting = asyncio.create_task(dial(relay.port, **how))
    async with asyncio.timeout(DEADLINE_S):
        model = await upstream.request()
    await model.answer(status)
    return await connecting


async def test_a_start_is_reserved_while_the_dial_lasts_and_given_back_when_the_model_refused(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, opened: Opener
) -> None:
    relay = await relay_for(upstream.port, RTPROXY_MAX_CLIENT_STARTS="1")
    for _ in range(3):
        connecting = asyncio.create_task(dial(relay.port))
        model = await upstream.request()
        assert (await dial(relay.port)).status == 429, "while the dial lasts"
        await model.answer("503 Down")
        assert (await connecting).status == 502
    assert (await opened(relay))[0].status == 101
    assert (await dial(relay.port)).status == 429


async def test_a_start_is_given_back_when_the_relay_itself_turned_the_call_away(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, opened: Opener
) -> None:
    relay = await relay_for(upstream.port, RTPROXY_MAX_CLIENT_STARTS="1")
    with relay.with_another(UPSTREAM, Defective()):
        assert (await dial(relay.port)).status == 500
    assert (await opened(relay))[0].status == 101


async def test_dials_that_the_model_refused_have_a_limit_of_their_own_and_an_outage_locks_nobody_out(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REFUSED", 3)
    relay = await relay_for(upstream.port)
    for _ in range(3):
        assert (await fails(relay, upstream, dial)).status == 502
    refused = await dial(relay.port)
    assert (refused.status, (await error(refused))["code"]) == (429, "rate_limit_exceeded")
    assert 1 <= int(refused.headers["retry-after"]) <= limits.REFUSED_S
    assert (await opened(relay, headers=BOB))[0].status == 101, "another client has a share of its own"
    monkeypatch.setattr(limits, "REFUSED_S", 0.0)
    assert (await opened(relay))[0].status == 101


async def test_a_model_that_cannot_be_reached_has_refused_nobody(
    relay_for: RelayFactory, dial: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REFUSED", 1)
    async with RawServer() as gone:
        port = gone.port
    relay = await relay_for(port)
    assert [(await dial(relay.port)).status for _ in range(3)] == [502] * 3


async def test_what_nobody_outside_was_asked_for_is_no_refused_dial(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REFUSED", 1)
    relay = await relay_for(upstream.port)
    with relay.with_another(UPSTREAM, Full()):
        assert [(await dial(relay.port)).status for _ in range(3)] == [503] * 3


class Full:
    """A way to the model for which no descriptor is left."""

    async def dial(self, *_: object) -> None:
        raise DialFailed(503, "descriptors", "Every place is taken: try again.")


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ({"Retry-After": "30"}, 25, 30),
        ({"Retry-After": "0"}, 0, 0),
        ({"Retry-After": "1", "retry-after-ms": "30500"}, 25, 31),
        ({"Retry-After": "date"}, 25, 31),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0, 0),
        ({"Retry-After": "9999999999"}, 3590, 3600),
        ({"Retry-After": "soon"}, 0, 0),
        ({}, 0, 0),
    ],
    ids=["seconds", "at once", "milliseconds", "a date", "a date that has passed", "for ever", "no time", "none"],
)
async def test_after_a_429_of_the_model_the_clients_next_dial_waits_as_long_as_it_said(
    relay_for: RelayFactory,
    upstream: RawServer,
    dial: Caller,
    opened: Opener,
    header: dict[str, str],
    least: int,
    most: int,
) -> None:
    relay = await relay_for(upstream.port)
    if header.get("Retry-After") == "date":
        header = {"Retry-After": formatdate(time.time() + 30, usegmt=True)}
    connecting = asyncio.create_task(dial(relay.port))
    await (await upstream.request()).answer("429 Busy", headers=header)
    assert (await connecting).status == 429
    if most == 0:
        assert (await opened(relay))[0].status == 101
        return
    refused = await dial(relay.port)
    assert (refused.status, (await error(refused))["code"]) == (429, "rate_limit_exceeded")
    assert least <= int(refused.headers["retry-after"]) <= most
    told = await relay.event("client.refused")
    assert (told["status"], told["client"]) == (429, "alice")
    assert (await opened(relay, headers=BOB))[0].status == 101, "another client may have room"


async def test_a_clients_next_dial_is_made_when_the_time_that_the_model_said_is_over(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, opened: Opener
) -> None:
    relay = await relay_for(upstream.port)
    connecting = asyncio.create_task(dial(relay.port))
    await (await upstream.request()).answer("429 Busy", headers={"retry-after-ms": "300"})
    assert (await connecting).headers["retry-after-ms"] == "300"
    refused = await dial(relay.port)
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    await asyncio.sleep(0.3)  # what the model said
    assert (await opened(relay))[0].status == 101


def test_what_is_kept_of_clients_that_have_gone_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([1000, 1000, 1000, 1030, 1100, 1200, 1300])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    kept = Limits(None, 3, Roster())
    start = kept.take("alice")
    kept.model_refused("alice", 500)
    kept.model_refused("bob", 5)
    kept.give_back("alice", start)
    kept.give_back("alice", start)
    kept.take("carol")
    kept.take("dave")
    assert (set(kept._starts), set(kept._refused), set(kept._busy_until)) == ({"dave"}, set(), {"alice"})
