"""What the probes, the status page and the metrics say of a replica, and that they say it of live calls."""

import itertools
import re

import aiohttp
import pytest

from rtproxy import __version__
from rtproxy.carry import ADMISSION, ROSTER
from rtproxy.door.admission import Door
from stage.rawpeer import BINARY, CLOSE, PING, TEXT, RawServer, close_payload, frame
from tests.conftest import KEY, Call, Caller, CallFactory, Relay, RelayFactory

DONE = b'{"type":"response.done","response":{"usage":{"input_tokens":120,"output_tokens":45}}}'
STARTED = b'{"type":"input_audio_buffer.speech_started"}'
CREATED = b'{"type":"response.created"}'


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adds up for everybody who asks: what is counted is one thing, for how long it stands another."""
    monkeypatch.setattr("rtproxy.watch.metrics.FRESH_S", 0.0)


async def exposition(relay: Relay) -> str:
    async with aiohttp.request("GET", f"{relay.url}/metrics") as response:
        return await response.text()


async def samples(relay: Relay) -> dict[str, float]:
    """The samples of a scrape, by name and labels."""
    lines = [line for line in (await exposition(relay)).splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


async def page(relay: Relay, path: str) -> tuple[int, dict[str, object]]:
    async with aiohttp.request("GET", relay.url + path) as response:
        return response.status, await response.json()


async def oldest_s(relay: Relay) -> float:
    said = (await page(relay, "/status"))[1]["oldest_s"]
    assert isinstance(said, int | float)
    return said


async def heard(call: Call, *events: bytes) -> None:
    """The model said ``events``, and the client has them."""
    for event in events:
        await call.model.send(TEXT, event)
        assert (await call.client.read()).payload == event


async def ended(call: Call) -> None:
    await call.client.send(CLOSE, close_payload(1000))
    await call.model.read_until(CLOSE)
    await call.model.send(CLOSE, close_payload(1000))
    await call.relay.event("connection.closed", session=call.client.headers["x-rtproxy-session"])


async def test_healthz_says_which_replica_is_alive(relay_for: RelayFactory, upstream: RawServer) -> None:
    relay = await relay_for(upstream.port)
    assert await page(relay, "/healthz") == (200, {"status": "ok", "revision": "app--blue", "replica": "app--blue-1"})


async def test_readyz_is_200_while_the_door_is_open(relay_for: RelayFactory, upstream: RawServer) -> None:
    relay = await relay_for(upstream.port)
    assert await page(relay, "/readyz") == (200, {"status": "open"})


@pytest.mark.parametrize("door", [Door.DRAINING, Door.SHUT])
async def test_only_readyz_fails_while_the_replica_drains(
    relay_for: RelayFactory, upstream: RawServer, door: Door
) -> None:
    relay = await relay_for(upstream.port)
    relay.app[ADMISSION].door = door
    assert await page(relay, "/readyz") == (503, {"status": "draining"})
    assert (await page(relay, "/healthz"))[0] == 200
    assert (await page(relay, "/status"))[1]["draining"] is True
    assert (await samples(relay))["rtproxy_draining"] == 1


async def test_every_page_says_which_replica_answered(relay_for: RelayFactory, upstream: RawServer) -> None:
    relay = await relay_for(upstream.port)
    for path in ("/healthz", "/readyz", "/status", "/metrics", "/nothing-here"):
        async with aiohttp.request("GET", relay.url + path) as response:
            assert response.headers["x-rtproxy-revision"] == "app--blue"
            assert response.headers["x-rtproxy-replica"] == "app--blue-1"
            assert response.headers["Server"] == "rtproxy"


async def test_status_of_an_idle_replica(relay_for: RelayFactory, upstream: RawServer) -> None:
    status, said = await page(await relay_for(upstream.port), "/status")
    uptime = said.pop("uptime_s")
    assert status == 200
    assert said == {
        "version": __version__,
        "revision": "app--blue",
        "replica": "app--blue-1",
        "sessions": 0,
        "quiet": 0,
        "oldest_s": 0,
        "draining": False,
    }
    assert isinstance(uptime, float)
    assert 0 <= uptime < 10


async def test_status_counts_calls_and_the_quiet_ones_among_them(call: CallFactory) -> None:
    first = await call()
    second = await call(relay=first.relay)
    await heard(second, STARTED)
    said = (await page(first.relay, "/status"))[1]
    assert (said["sessions"], said["quiet"]) == (2, 1)
    await ended(second)
    said = (await page(first.relay, "/status"))[1]
    assert (said["sessions"], said["quiet"]) == (1, 1)


async def test_status_has_the_age_of_the_oldest_call_that_lives(call: CallFactory) -> None:
    first = await call()
    (session,) = first.relay.app[ROSTER].sessions
    session.started -= 600
    second = await call(relay=first.relay)
    assert 600 <= await oldest_s(first.relay) < 660
    await ended(first)
    assert 0 <= await oldest_s(first.relay) < 60
    await ended(second)
    assert await oldest_s(first.relay) == 0


async def test_the_exposition_is_prometheus_text(relay_for: RelayFactory, upstream: RawServer) -> None:
    relay = await relay_for(upstream.port)
    async with aiohttp.request("GET", f"{relay.url}/metrics") as response:
        assert (response.status, response.content_type) == (200, "text/plain")
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")


async def test_an_idle_replica_shows_every_series_of_a_closed_list_at_zero(
    relay_for: RelayFactory, upstream: RawServer
) -> None:
    said = await samples(await relay_for(upstream.port))
    assert said.pop("rtproxy_tasks") > 0
    assert said == {
        'rtproxy_sessions{turn="quiet"}': 0,
        'rtproxy_sessions{turn="speaking"}': 0,
        'rtproxy_sessions{turn="waiting"}': 0,
        'rtproxy_sessions{turn="responding"}': 0,
        "rtproxy_draining": 0,
        "rtproxy_responses_total": 0,
        'rtproxy_frames_total{direction="up"}': 0,
        'rtproxy_frames_total{direction="down"}': 0,
        'rtproxy_bytes_total{direction="up"}': 0,
        'rtproxy_bytes_total{direction="down"}': 0,
        'rtproxy_tokens_total{direction="in"}': 0,
        'rtproxy_tokens_total{direction="out"}': 0,
        **{
            f'rtproxy_sessions_ended_total{{ended_by="{ended_by}"}}': 0
            for ended_by in ("client", "upstream", "drain", "limit", "heartbeat", "error")
        },
        "rtproxy_events_refused_total": 0,
        **{
            f'rtproxy_dial_failures_total{{cause="{cause}"}}': 0
            for cause in ("refused", "unreachable", "timeout", "token", "descriptors", "proxy")
        },
        "rtproxy_log_lines_lost_total": 0,
    }


async def test_live_calls_are_counted_by_their_turn(call: CallFactory) -> None:
    first = await call()
    second, third = await call(relay=first.relay), await call(relay=first.relay)
    await heard(second, STARTED)
    await heard(third, CREATED)
    said = await samples(first.relay)
    assert [said[f'rtproxy_sessions{{turn="{turn}"}}'] for turn in ("quiet", "speaking", "responding")] == [1, 1, 1]


async def test_a_call_that_stands_has_no_task_of_its_own(call: CallFactory) -> None:
    # Of this loop are the test's own, too: a reading task in it would be seen.
    first = await call()
    before = (await samples(first.relay))["rtproxy_tasks"]
    others = [await call(relay=first.relay) for _ in range(3)]
    assert (await samples(first.relay))["rtproxy_tasks"] == before
    for each in (first, *others):
        await ended(each)
    assert (await samples(first.relay))["rtproxy_tasks"] <= before


async def test_frames_and_bytes_are_what_the_peers_count_while_the_call_lives(call: CallFactory) -> None:
    opened = await call()
    up = [frame(TEXT, b"u" * size, masked=True) for size in (0, 125, 70_000)] + [frame(PING, b"p", masked=True)]
    down = [frame(BINARY, b"d" * size, masked=False) for size in (1, 126)]
    await opened.client.write(b"".join(up))
    await opened.model.reader.readexactly(sum(map(len, up)))
    await opened.model.write(b"".join(down))
    await opened.client.reader.readexactly(sum(map(len, down)))
    said = await samples(opened.relay)
    assert said['rtproxy_frames_total{direction="up"}'] == len(up)
    assert said['rtproxy_frames_total{direction="down"}'] == len(down)
    assert said['rtproxy_bytes_total{direction="up"}'] == sum(map(len, up))
    assert said['rtproxy_bytes_total{direction="down"}'] == sum(map(len, down))


async def test_tokens_and_responses_are_counted_while_the_call_lives(call: CallFactory) -> None:
    opened = await call()
    await heard(opened, CREATED, DONE, CREATED, DONE)
    said = await samples(opened.relay)
    assert said["rtproxy_responses_total"] == 2
    assert said['rtproxy_tokens_total{direction="in"}'] == 240
    assert said['rtproxy_tokens_total{direction="out"}'] == 90


async def test_what_a_call_counted_stays_when_it_ended_and_adds_to_the_next(call: CallFactory) -> None:
    first = await call()
    await heard(first, CREATED, DONE)
    await ended(first)
    closed = await first.relay.event("connection.closed")
    said = await samples(first.relay)
    assert said['rtproxy_frames_total{direction="down"}'] == closed["frames_down"] == 3
    assert said['rtproxy_bytes_total{direction="down"}'] == closed["bytes_down"]
    assert said['rtproxy_tokens_total{direction="in"}'] == closed["tokens_in"] == 120
    await heard(await call(relay=first.relay), CREATED, DONE)
    said = await samples(first.relay)
    assert said['rtproxy_frames_total{direction="down"}'] == 5
    assert said["rtproxy_responses_total"] == 2


async def test_no_counter_ever_falls_over_the_life_of_a_call(call: CallFactory) -> None:
    opened = await call()
    scrapes = [await samples(opened.relay)]
    await heard(opened, CREATED, DONE)
    scrapes.append(await samples(opened.relay))
    await ended(opened)
    scrapes.append(await samples(opened.relay))
    for before, after in itertools.pairwise(scrapes):
        counters = [name for name in before if "_total" in name]
        assert all(after[name] >= before[name] for name in counters)


@pytest.mark.parametrize(("side", "ended_by"), [("client", "client"), ("model", "upstream")])
async def test_ended_calls_are_counted_by_who_ended_them(call: CallFactory, side: str, ended_by: str) -> None:
    opened = await call()
    getattr(opened, side).hang_up()
    await opened.relay.event("connection.closed")
    assert (await samples(opened.relay))[f'rtproxy_sessions_ended_total{{ended_by="{ended_by}"}}'] == 1


async def test_dials_that_failed_are_counted_by_their_cause(relay_for: RelayFactory, dial: Caller) -> None:
    relay = await relay_for(1)
    assert [(await dial(relay.port)).status for _ in range(2)] == [502, 502]
    said = await samples(relay)
    assert said['rtproxy_dial_failures_total{cause="unreachable"}'] == 2
    assert not any(count for name, count in said.items() if "sessions_ended" in name)


async def test_labels_hold_nothing_that_a_caller_chose(call: CallFactory, dial: Caller) -> None:
    opened = await call()
    await heard(opened, b'{"type":"session.created","session":{"id":"sess_of_the_model"}}')
    await ended(opened)
    for path, headers in (("/v1/realtime?model=chosen", {}), ("/ws?chosen=1", {"api-key": "chosen"})):
        await dial(opened.relay.port, path, headers=headers)
    text = await exposition(opened.relay)
    for secret in (
        KEY,
        "model-key",
        "chosen",
        "alice",
        "sess_of_the_model",
        opened.client.headers["x-rtproxy-session"],
    ):
        assert secret not in text
    assert set(re.findall(r'(\w+)="', text)) == {"turn", "direction", "ended_by", "status", "code", "cause"}


async def test_a_scrape_stays_as_long_as_it_is_when_more_calls_come(call: CallFactory) -> None:
    first = await call()
    await ended(first)
    series = set(await samples(first.relay))
    for _ in range(10):
        await ended(await call(relay=first.relay))
    assert set(await samples(first.relay)) == series
