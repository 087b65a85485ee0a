"""SIGTERM to exit: no call is cut in its turn, none is kept past the window, and each says once how it ended."""

import asyncio
import contextlib
import itertools
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import pytest

from rtproxy.call.drain import cut, drain
from rtproxy.carry import ADMISSION, LOG, ROSTER
from stage.rawpeer import CLOSE, TEXT, RawPeer, RawServer, frame
from stage.replica import Replica
from tests.conftest import KEY, Caller, CallFactory, RelayFactory, ReplicaFactory
from tests.standstill import Standstill, standstill, within

CREATED = b'{"type":"response.created","response":{"id":"resp_1"}}'
DONE = b'{"type":"response.done","response":{"id":"resp_1","usage":{"input_tokens":1,"output_tokens":2}}}'


@dataclass
class Held:
    """One call of many: both of its ends, answering a Close as a client and a model do."""

    client: RawPeer
    model: RawPeer
    ends: list[asyncio.Task[object]] = field(default_factory=list)
    closed_at: float = 0.0
    code: int | None = None
    last_text: bytes = b""
    ended: str = ""

    def answer_closes(self) -> None:
        self.ends = [asyncio.create_task(self._client()), asyncio.create_task(self._model())]

    async def _client(self) -> None:
        got = await self.client.read()
        while got.opcode != CLOSE:
            self.last_text = got.payload if got.opcode == TEXT else self.last_text
            got = await self.client.read()
        self.closed_at, self.code = time.monotonic(), got.code
        await self.client.send(CLOSE, got.payload)
        self.ended = await self.client.ended()

    async def _model(self) -> None:
        got = await self.model.read_until(CLOSE)
        assert got.code == 1001
        await self.model.send(CLOSE, got.payload)


class Crowd:
    """Many calls through one relay process."""

    def __init__(self, replica: Replica, upstream: RawServer, dial: Caller, machine: Standstill) -> None:
        self.replica, self._upstream, self._dial, self._machine = replica, upstream, dial, machine

    def at_most(self, seconds: float) -> float:
        """What may pass for that to have passed for a relay: what the machine took is added."""
        return seconds + self._machine.lost_s

    async def call(self) -> Held:
        connecting = asyncio.create_task(self._dial(self.replica.port))
        model = await self._upstream.request()
        await model.answer()
        held = Held(await connecting, model)
        held.answer_closes()
        return held

    async def busy_call(self) -> Held:
        held = await self.call()
        await held.model.send(TEXT, CREATED)
        return held

    async def status(self, path: str = "/readyz") -> int:
        async with aiohttp.ClientSession() as http, http.get(self.replica.url + path) as answer:
            return answer.status

    async def sessions(self, busy: int) -> None:
        """Waits until the relay has seen ``busy`` responses begin."""
        async with aiohttp.ClientSession() as http, asyncio.timeout(10):
            while True:
                async with http.get(self.replica.url + "/status") as answer:
                    state = await answer.json()
                if state["sessions"] - state["quiet"] == busy:
                    return


@contextlib.asynccontextmanager
async def crowd(replica_for: ReplicaFactory, upstream: RawServer, dial: Caller, seconds: str) -> AsyncIterator[Crowd]:
    replica = await replica_for(upstream.port, RTPROXY_DRAIN_SECONDS=seconds)
    with standstill() as machine:
        yield Crowd(replica, upstream, dial, machine)


async def test_a_hundred_calls_drain_in_order_spread_and_inside_the_window(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller
) -> None:
    async with crowd(replica_for, upstream, dial, "8") as calls:
        quiet = [await calls.call() for _ in range(60)]
        busy = [await calls.busy_call() for _ in range(30)]
        stuck = [await calls.busy_call() for _ in range(10)]
        await calls.sessions(busy=40)

        started = time.monotonic()
        calls.replica.signal(signal.SIGTERM)
        await calls.replica.event("drain.started")
        assert await calls.status("/readyz") == 503
        assert await calls.status("/healthz") == 200

        done_at = {}
        for number, held in enumerate(busy):
            await asyncio.sleep(0.1)  # responses end one after another, as they do
            done_at[number] = time.monotonic()
            await held.model.send(TEXT, DONE)
        assert await calls.replica.exited() == 0
        assert time.monotonic() - started < calls.at_most(8)
        await asyncio.gather(*(end for held in quiet + busy + stuck for end in held.ends))

        assert {(held.code, held.ended) for held in quiet + busy + stuck} == {(1012, "fin")}
        for number, held in enumerate(busy):
            assert held.last_text == DONE, "the end of the turn reached the client"
            assert 0 <= held.closed_at - done_at[number] < calls.at_most(0.5)
        order = sorted(held.closed_at - started for held in quiet)
        assert order[0] >= 2.0 - 0.1, "while upgrades are still accepted a closed client might come back here"
        gaps = [later - earlier for earlier, later in itertools.pairwise(order)]
        assert max(gaps) < calls.at_most(0.5), "evenly"
        assert order[-1] - order[0] > 3
        assert order[-1] < calls.at_most(6.4 - 1), "a turn that began while its call waited has time to end"
        assert min(held.closed_at for held in stuck) - started > 6, "at the deadline"

        summaries = [e for e in calls.replica.events if e["event"] == "connection.closed"]
        assert len({e["session"] for e in summaries}) == len(summaries) == 100
        assert {(e["ended_by"], e["client_code"], e["upstream_code"]) for e in summaries} == {("drain", 1012, 1001)}
        assert sum(e["turn"] == "responding" for e in summaries) == 10
        names = [e["event"] for e in calls.replica.events if e["event"].startswith(("drain", "signal", "proxy"))]
        assert names[:3] == ["proxy.started", "signal.received", "drain.started"]
        assert names[-2:] == ["drain.completed", "proxy.stopped"]
        assert "drain.progress" in names


async def test_a_call_that_waits_for_its_end_is_closed_where_its_next_turn_ends(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller
) -> None:
    async with crowd(replica_for, upstream, dial, "8") as calls:
        held = [await calls.call() for _ in range(10)]
        last = held[-1]
        await calls.sessions(busy=0)
        started = time.monotonic()
        calls.replica.signal(signal.SIGTERM)
        await calls.replica.event("drain.started")
        await last.model.send(TEXT, b'{"type":"session.created","session":{"id":"sess_1"}}')
        await asyncio.gather(*held[0].ends)
        await last.model.send(TEXT, CREATED)
        await last.model.send(TEXT, DONE)
        await asyncio.gather(*last.ends)
        assert (last.code, last.last_text) == (1012, DONE)
        first_s = held[0].closed_at - started
        assert 2.0 - 0.1 <= first_s < calls.at_most(2.5), "no sooner than that: a greeting is no turn"
        assert last.closed_at - started < calls.at_most(3), "its place in the spread comes after 4 s"
        assert await calls.replica.exited() == 0


async def test_upgrades_are_accepted_for_the_first_seconds_of_a_drain_and_refused_after(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller
) -> None:
    async with crowd(replica_for, upstream, dial, "4") as calls:
        stuck = await calls.busy_call()
        await calls.sessions(busy=1)
        started = time.monotonic()
        calls.replica.signal(signal.SIGTERM)
        await calls.replica.event("drain.started")
        late = await calls.call()
        refused = await dial(calls.replica.port) if time.monotonic() - started > 1 else None
        while refused is None or refused.status == 101:
            connecting = asyncio.create_task(dial(calls.replica.port))
            accepting = asyncio.create_task(upstream.request())
            await asyncio.wait((connecting, accepting), return_when=asyncio.FIRST_COMPLETED)
            if accepting.done():
                await accepting.result().answer()
                admitted = Held(await connecting, accepting.result())
                admitted.answer_closes()
                await asyncio.sleep(0.1)  # ten callers a second
            else:
                accepting.cancel()
                refused = await connecting
        assert 0.8 < time.monotonic() - started < calls.at_most(1.5), "a quarter of the window"
        assert refused.status == 503
        assert int(refused.headers["retry-after"]) > 0
        assert await calls.replica.exited() == 0
        await asyncio.gather(*stuck.ends, *late.ends)
        assert late.code == 1012


async def test_a_call_whose_user_speaks_is_not_closed_before_it_is_answered(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller
) -> None:
    async with crowd(replica_for, upstream, dial, "6") as calls:
        held = await calls.call()
        await held.model.send(TEXT, b'{"type":"input_audio_buffer.speech_started"}')
        await calls.sessions(busy=1)
        calls.replica.signal(signal.SIGTERM)
        await calls.replica.event("drain.started")
        for event in (
            b'{"type":"input_audio_buffer.speech_stopped"}',
            CREATED,
            b'{"type":"response.output_text.delta"}',
        ):
            await asyncio.sleep(0.7)  # a person's pace, across the end of the accepting seconds
            await held.model.send(TEXT, event)
        await held.model.send(TEXT, DONE)
        await asyncio.gather(*held.ends)
        assert (held.code, held.last_text) == (1012, DONE)
        assert await calls.replica.exited() == 0


async def test_a_caller_whom_nobody_answers_is_kept_to_the_deadline_and_no_longer(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller
) -> None:
    async with crowd(replica_for, upstream, dial, "4") as calls:
        held = await calls.call()
        await held.model.send(TEXT, b'{"type":"input_audio_buffer.speech_started"}')
        await held.model.send(TEXT, b'{"type":"input_audio_buffer.speech_stopped"}')
        await calls.sessions(busy=1)
        started = time.monotonic()
        calls.replica.signal(signal.SIGTERM)
        await asyncio.gather(*held.ends)
        assert 3.2 - 0.1 < held.closed_at - started < calls.at_most(4)
        closed = await calls.replica.event("connection.closed")
        assert (closed["ended_by"], closed["turn"]) == ("drain", "waiting")
        assert await calls.replica.exited() == 0


async def test_a_relay_without_calls_exits_when_nobody_new_can_come(replica_for: ReplicaFactory) -> None:
    replica = await replica_for(9, RTPROXY_DRAIN_SECONDS="2")
    async with within(2):
        replica.signal(signal.SIGTERM)
        assert await replica.exited() == 0
    assert (await replica.event("drain.completed"))["duration_s"] > 0.4


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_at_once_and_still_writes_every_summary(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller, again: signal.Signals
) -> None:
    async with crowd(replica_for, upstream, dial, "30") as calls:
        held = [await calls.busy_call() for _ in range(5)]
        calls.replica.signal(signal.SIGTERM)
        await calls.replica.event("drain.started")
        started = time.monotonic()
        calls.replica.signal(again)
        assert await calls.replica.exited() == 128 + again
        assert time.monotonic() - started < calls.at_most(3)
        assert [e["event"] for e in calls.replica.events].count("connection.closed") == 5
        await asyncio.gather(*(each.ends[0] for each in held))
        assert {each.code for each in held} == {1012}
        for each in held:
            each.ends[1].cancel()


async def test_quiet_calls_close_in_the_time_for_them_though_the_loop_is_late_each_time(call: CallFactory) -> None:
    first = await call()
    calls = [first] + [await call(relay=first.relay) for _ in range(59)]
    held = [Held(each.client, each.model) for each in calls]
    for each in held:
        each.answer_closes()
    loop, busy = asyncio.get_running_loop(), True

    def hold_up() -> None:
        began = time.process_time()
        while time.process_time() - began < 0.04:
            pass
        if busy:
            loop.call_soon(hold_up)

    hold_up()
    app = first.relay.app
    with standstill() as machine:
        await drain(app[ROSTER], app[ADMISSION], app[LOG], 4)
    busy = False
    await asyncio.gather(*(end for each in held for end in each.ends))
    completed = await first.relay.event("drain.completed")
    assert completed["duration_s"] < 3.2 + machine.lost_s, "nobody waited for the deadline"


async def test_calls_of_peers_that_answer_no_close_are_ended_in_the_window_with_their_summary(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller
) -> None:
    replica = await replica_for(upstream.port, RTPROXY_DRAIN_SECONDS="2")
    connecting = asyncio.create_task(dial(replica.port))
    model = await upstream.request()
    await model.answer(then=frame(TEXT, CREATED, masked=False))
    client = await connecting
    await client.read()
    replica.signal(signal.SIGTERM)
    assert ((await client.read()).code, (await model.read()).code) == (1012, 1001)
    assert (await client.ended(), await model.ended()) == ("fin", "fin")
    assert await replica.exited() == 0
    (closed,) = (e for e in replica.events if e["event"] == "connection.closed")
    assert (closed["ended_by"], closed["client_code"], closed["upstream_code"]) == ("drain", 1012, 1001)
    completed = await replica.event("drain.completed")
    assert (completed["sessions"], completed["duration_s"] < 2) == (0, True)


async def test_calls_that_do_not_stand_when_the_others_are_cut_never_do(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller
) -> None:
    relay = await relay_for(upstream.port)
    connecting = asyncio.create_task(dial(relay.port))
    model = await upstream.request()
    assert not await cut(relay.app[ROSTER], relay.app[ADMISSION], 0)
    await model.answer()
    client = await connecting
    assert (client.status, client.headers.get("retry-after")) == (503, "1")
    assert (await model.read()).code == 1001
    assert (await dial(relay.port)).status == 503


async def test_a_killed_relay_leaves_no_half_open_leg(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller
) -> None:
    replica = await replica_for(upstream.port)
    connecting = asyncio.create_task(dial(replica.port))
    model = await upstream.request()
    await model.answer()
    client = await connecting
    await client.write(b"\x82\xfe\x03\xe8" + bytes(4) + b"half of it")
    await model.reader.readexactly(8 + 10)
    await replica.kill()
    async with within(1):
        assert await model.ended() in ("fin", "reset")
        assert await client.ended() in ("fin", "reset")


async def test_a_call_that_is_still_dialed_at_the_deadline_is_refused(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller
) -> None:
    replica = await replica_for(upstream.port, RTPROXY_DRAIN_SECONDS="2")
    connecting = asyncio.create_task(dial(replica.port))
    model = await upstream.request()
    replica.signal(signal.SIGTERM)
    await replica.event("drain.progress")
    await asyncio.sleep(0.7)  # past 1.6 s of 2, where the rest is closed
    await model.answer()
    client = await connecting
    assert (client.status, client.headers.get("retry-after")) == (503, "1")
    assert (await model.read()).code == 1001
    assert await replica.exited() == 0
    assert KEY not in str(replica.events)


@pytest.mark.parametrize("events", ["", "input_audio_buffer.append,input_audio_buffer.commit,response.create"])
async def test_a_caller_who_holds_the_button_is_answered_before_the_drain_closes_the_call(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller, events: str
) -> None:
    replica = await replica_for(upstream.port, RTPROXY_DRAIN_SECONDS="8", RTPROXY_CLIENT_EVENTS=events)
    connecting = asyncio.create_task(dial(replica.port))
    model = await upstream.request()
    await model.answer()
    client = await connecting
    await model.send(TEXT, b'{"type":"session.created","session":{"id":"sess_1","turn_detection":null}}')
    await client.read_until(TEXT)

    async def says(event: bytes) -> None:
        await client.send(TEXT, event)
        assert (await model.read_until(TEXT)).payload == event

    await says(b'{"type":"input_audio_buffer.commit"}')
    await model.send(TEXT, b'{"type":"error","error":{"code":"input_audio_buffer_commit_empty"}}')
    await client.read_until(TEXT)
    assert await quiet_calls(replica) == 1
    append = b'{"type":"input_audio_buffer.append","audio":"' + b"A" * 6400 + b'"}'
    await says(append)
    assert await quiet_calls(replica) == 0
    replica.signal(signal.SIGTERM)
    await replica.event("drain.started")
    for event in (append, b'{"type":"input_audio_buffer.commit"}'):
        await asyncio.sleep(1.2)  # past the end of the accepting seconds, at a person's pace
        await says(event)
    await model.send(TEXT, b'{"type":"input_audio_buffer.committed","item_id":"item_1"}')
    await says(b'{"type":"response.create"}')
    for event in (CREATED, DONE):
        await model.send(TEXT, event)
    frames = [await client.read_until(TEXT) for _ in range(3)]
    assert frames[-1].payload == DONE
    closed = await client.read()
    assert (closed.opcode, closed.code) == (CLOSE, 1012)
    await client.send(CLOSE, closed.payload)
    await model.send(CLOSE, (await model.read()).payload)
    assert (await replica.event("connection.closed"))["turn"] == "quiet"
    assert await replica.exited() == 0


async def quiet_calls(replica: Replica) -> int:
    async with aiohttp.ClientSession() as http, http.get(replica.url + "/status") as answer:
        return int((await answer.json())["quiet"])
