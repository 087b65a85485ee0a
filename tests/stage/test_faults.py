"""Every fault an operator can switch on, as the client at the other end meets it."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.stage.conftest import DEADLINE_S, GA, KEY, Caller, LiveModel, ModelFactory, silence, speech


async def answering(model_for: ModelFactory, **options: Any) -> tuple[LiveModel, Caller]:
    """A call in the middle of a minute-long answer."""
    model = await model_for(**({"answer_seconds": 60, "pace": 4} | options))
    caller = await model.call()
    await caller.send("response.create")
    await caller.until("response.output_audio.delta")
    return model, caller


class RawCaller:
    """A call on a bare socket, where FIN and RST can be told apart."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def rest(self) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            try:
                return await self.reader.read()
            finally:
                self.writer.close()


@pytest.fixture
async def raw(model: LiveModel) -> AsyncIterator[RawCaller]:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(model.url.rpartition(":")[2]))
    writer.write(
        b"GET /openai/v1/realtime?model=gpt-realtime HTTP/1.1\r\nHost: x\r\napi-key: model-key\r\n"
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    await reader.readuntil(b"session.created")
    yield RawCaller(reader, writer)
    writer.transport.abort()


@pytest.fixture
async def deaf(model: LiveModel, raw: RawCaller) -> RawCaller:
    """A call that does not read the flood it is sent, at the point where the model holds back."""
    raw.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await model.fault("flood", mib=64)
    sent, before = 1, 0
    async with asyncio.timeout(DEADLINE_S):
        while sent != before:
            await asyncio.sleep(0.2)
            before, (record,) = sent, await model.sessions()
            sent = record["bytes_sent"]
    return raw


async def test_the_connection_is_reset_when_told_to_reset(model: LiveModel, raw: RawCaller) -> None:
    await model.fault("reset")

    with pytest.raises(ConnectionResetError):
        await raw.rest()
    record = await model.ended()
    assert (record["ended_by"], record["close_code_sent"]) == ("model", None)


async def test_the_stream_ends_without_a_close_frame_when_told_to_drop(model: LiveModel, raw: RawCaller) -> None:
    await model.fault("drop")

    rest = await raw.rest()
    assert rest.endswith(b"}")
    record = await model.ended()
    assert (record["ended_by"], record["close_code_sent"]) == ("model", None)


async def test_the_client_sees_1006_when_a_call_is_dropped_in_mid_answer(model_for: ModelFactory) -> None:
    model, caller = await answering(model_for)

    await model.fault("drop")

    await caller.end()
    assert caller.socket.close_code == 1006


async def test_each_call_is_dropped_in_mid_answer_when_its_time_to_drop_has_come(model_for: ModelFactory) -> None:
    loop = asyncio.get_running_loop()
    model = await model_for(answer_seconds=60, pace=4, drop_after_seconds=0.6)
    for _ in range(2):
        dialled_at = loop.time()
        caller = await model.call()
        await caller.send("response.create")
        await caller.until("response.output_audio.delta")
        assert loop.time() - dialled_at < 0.6, "it lives until then"

        await caller.end()

        assert loop.time() - dialled_at > 0.5
        assert caller.socket.close_code == 1006
    record = await model.ended()
    assert (record["ended_by"], record["close_code_sent"]) == ("model", None)


async def test_a_call_is_dropped_by_the_command_line_too() -> None:
    command = (sys.executable, "-m", "stage.realtime", "--port", "0", "--key", KEY, "--drop-after", "0.1")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    url = json.loads(await process.stdout.readline())["url"]
    async with aiohttp.ClientSession(headers={"api-key": KEY}) as client:
        call = await client.ws_connect(url + GA)
        await call.receive(timeout=DEADLINE_S)

        await call.receive(timeout=DEADLINE_S)

        assert call.close_code == 1006
    process.terminate()
    assert await process.wait() == 0


async def test_code_and_reason_reach_the_client_when_told_to_close(model_for: ModelFactory) -> None:
    model, caller = await answering(model_for)

    await model.fault("close", code=1012, reason="restarting")

    message = await caller.end()
    assert (message.data, message.extra) == (1012, "restarting")
    record = await model.ended()
    assert record["ended_by"] == "model"
    assert (record["close_code_sent"], record["close_code_received"]) == (1012, 1000)  # aiohttp answers any code so


async def test_only_the_named_call_is_touched_when_a_session_is_given(model: LiveModel) -> None:
    first, second = await model.call(), await model.call()
    named = (await model.sessions())[0]["id"]

    status, answer = await model.fault("close", session=named)

    assert (status, answer["sessions"]) == (200, [named])
    assert (await first.end()).data == 1011
    await second.say("still there?")


async def test_the_session_expires_with_an_error_and_1001_when_its_time_is_up(model_for: ModelFactory) -> None:
    model = await model_for(session_seconds=0.3)
    caller = await model.call()

    error = await caller.rejection()

    assert error["code"] == "session_expired"
    message = await caller.end()
    assert (message.data, message.extra) == (1001, error["message"])


async def test_nothing_follows_the_error_when_a_session_expires_in_mid_answer(model: LiveModel, caller: Caller) -> None:
    await model.fault("flood", mib=64)
    await caller.until("response.output_audio.delta")

    await model.fault("expire")

    assert (await caller.rejection())["code"] == "session_expired"
    assert (await caller.socket.receive(timeout=DEADLINE_S)).type is aiohttp.WSMsgType.CLOSE


async def test_the_session_expires_at_once_when_told_to(model: LiveModel, caller: Caller) -> None:
    await model.fault("expire")

    assert (await caller.rejection())["message"] == "Your session hit the maximum duration of 60 minutes."
    assert (await caller.end()).data == 1001


async def test_pings_and_events_wait_when_the_model_is_stalled(model: LiveModel, caller: Caller) -> None:
    await model.fault("stall")
    await caller.send("input_audio_buffer.clear")
    with pytest.raises(TimeoutError):
        await caller.socket.receive(timeout=0.2)

    await model.fault("unstall")

    assert (await caller.next())["type"] == "input_audio_buffer.cleared"


async def test_a_writer_is_held_back_when_the_model_is_stalled(model: LiveModel, caller: Caller) -> None:
    await model.fault("stall")

    async def write_on() -> None:
        while True:
            await caller.append("AAAA" * 100_000)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(write_on(), 0.5)
    await model.fault("reset")


async def test_the_answer_never_ends_until_allowed_when_never_done_is_on(model_for: ModelFactory) -> None:
    model = await model_for()
    caller = await model.call()
    await model.fault("never_done")
    await caller.send("response.create")
    await caller.until("response.output_audio_transcript.delta")
    await caller.send("response.cancel")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.5):
            await caller.until("response.output_audio.done")

    await model.fault("never_done", on=False)

    assert (await caller.last("response.done"))["response"]["status"] == "cancelled"


async def test_a_response_starts_when_told_to_say_something(model: LiveModel, caller: Caller) -> None:
    status, answer = await model.fault("say")

    assert (status, len(answer["sessions"])) == (200, 1)
    assert (await caller.last("response.done"))["response"]["status"] == "completed"


async def test_a_busy_call_is_left_alone_when_told_to_say_something(model_for: ModelFactory) -> None:
    model, _ = await answering(model_for)

    assert (await model.fault("say"))[1]["sessions"] == []


async def test_mebibytes_of_audio_pour_out_when_told_to_flood(model: LiveModel, caller: Caller) -> None:
    await model.fault("flood", mib=3)

    events = await caller.until("response.done")

    audio = sum(len(event["delta"]) for event in events if event["type"] == "response.output_audio.delta")
    assert 3 * 1024 * 1024 <= audio < 4 * 1024 * 1024


async def test_the_flood_waits_for_its_reader_when_nobody_reads(model: LiveModel, deaf: RawCaller) -> None:
    (record,) = await model.sessions()

    assert record["bytes_sent"] < 16 * 1024 * 1024
    assert record["responses"] == 0


async def test_a_client_is_heard_when_it_does_not_read(model: LiveModel, deaf: RawCaller) -> None:
    text = b'{"type":"input_audio_buffer.clear"}'

    deaf.writer.write((bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text) * 2)

    async with asyncio.timeout(DEADLINE_S):
        while (await model.sessions())[0]["frames_received"] < 2:
            pass


async def test_a_client_that_does_not_read_is_cut_off_when_told_to_close(model: LiveModel, deaf: RawCaller) -> None:
    await model.fault("close", code=1012)

    record = await model.ended()
    assert (record["ended_by"], record["close_code_received"]) == ("model", None)


@pytest.mark.parametrize(("code", "error"), [(3000, "invalid_api_key"), (4000, "missing_model")])
async def test_a_caller_is_let_in_and_closed_when_told_to_refuse_after_the_101(
    model: LiveModel, code: int, error: str
) -> None:
    await model.fault("refuse_after_101", code=code, times=1)
    caller = Caller(await model.knock(), GA)

    refused = await caller.next()

    assert (refused["type"], refused["error"]["code"]) == ("error", error)
    message = await caller.end()
    assert (message.data, message.extra) == (code, f"invalid_request_error.{error}")
    assert (await model.ended())["ended_by"] == "model"
    await model.call()


async def test_every_caller_is_closed_after_the_101_when_the_model_is_started_so(model_for: ModelFactory) -> None:
    model = await model_for(refuse_after_101=3000)
    for _ in range(2):
        assert (await Caller(await model.knock(), GA).end()).data == 3000


async def test_an_error_comes_before_the_close_when_one_is_given(model: LiveModel, caller: Caller) -> None:
    await model.fault("close", code=4000, error="session_blocked")

    assert (await caller.rejection())["code"] == "session_blocked"
    message = await caller.end()
    assert (message.data, message.extra) == (4000, "invalid_request_error.session_blocked")


async def test_the_next_responses_fail_and_the_call_goes_on_when_throttled(model: LiveModel, caller: Caller) -> None:
    await model.fault("throttle", responses=2)
    for _ in range(2):
        await caller.send("response.create")
        events = await caller.until("response.done")
        assert [event["type"] for event in events] == ["response.created", "response.done"]
        response = events[-1]["response"]
        assert (response["status"], response["output"], response["usage"]) == ("failed", [], None)
        assert response["status_details"]["error"]["code"] == "inference_rate_limit_exceeded"

    await caller.send("response.create")

    assert (await caller.last("response.done"))["response"]["status"] == "completed"
    await caller.socket.close()
    assert (await model.ended())["responses"] == 3


async def test_a_share_of_all_responses_is_throttled_when_started_so(model_for: ModelFactory) -> None:
    model = await model_for(throttle=0.25, answer_seconds=0.1)
    callers = [await model.call(), await model.call()]
    statuses = []
    for _ in range(4):
        for caller in callers:
            await caller.send("response.create")
            statuses.append((await caller.last("response.done"))["response"]["status"])

    assert statuses == [*["completed"] * 3, "failed"] * 2


async def test_half_an_answer_is_given_when_its_content_is_filtered(model: LiveModel, caller: Caller) -> None:
    await model.fault("content_filter")
    await caller.send("response.create")

    events = await caller.until("response.done")

    assert len([event for event in events if event["type"] == "response.output_audio.delta"]) == 2
    response = events[-1]["response"]
    assert response["status_details"] == {"type": "incomplete", "reason": "content_filter"}
    assert response["output"][0]["status"] == "incomplete"


async def test_a_client_asks_in_vain_when_the_model_gives_no_answer(model: LiveModel, caller: Caller) -> None:
    await model.fault("no_answer")
    await caller.append(speech(300), silence(200))
    await caller.send("response.create")
    await caller.send("response.cancel")
    assert (await caller.rejection())["code"] == "response_cancel_not_active"

    await model.fault("no_answer", on=False)
    await caller.send("response.create")

    assert (await caller.last("response.done"))["response"]["status"] == "completed"


async def test_one_frame_is_broken_json_when_told_to_be_malformed(model: LiveModel, caller: Caller) -> None:
    await model.fault("malformed")

    text = await caller.socket.receive_str(timeout=DEADLINE_S)

    with pytest.raises(ValueError, match="Unterminated"):
        json.loads(text)
    await caller.say("still there?")


@pytest.mark.parametrize("status", [401, 404, 429, 500])
async def test_the_next_handshakes_are_refused_when_told_to_refuse(model: LiveModel, status: int) -> None:
    caller = await model.call()
    await model.fault("refuse", status=status, retry_after=7)

    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await model.knock()

    assert refusal.value.status == status
    assert refusal.value.headers is not None
    assert refusal.value.headers["Retry-After"] == "7"
    await caller.say("still there?")
    await model.fault("none")
    await model.call()


async def test_only_so_many_handshakes_are_refused_when_times_is_given(model: LiveModel) -> None:
    await model.fault("refuse", status=500, times=1)

    with pytest.raises(aiohttp.WSServerHandshakeError):
        await model.knock()

    await model.call()


async def test_the_101_is_late_when_the_handshake_is_slow(model: LiveModel) -> None:
    await model.fault("slow_handshake", seconds=0.3)
    clock = asyncio.get_running_loop().time
    started = clock()

    await model.call()

    assert clock() - started >= 0.3


@pytest.mark.parametrize(
    ("body", "status", "hint"),
    [
        ({"fault": "gremlins"}, 400, "never_done"),
        ({"fault": None}, 400, "known"),
        ({"fault": "reset", "session": "sess_none"}, 404, "sess_none"),
        ({"fault": "close", "code": 1006}, 400, "1006"),
        ({"fault": "close", "reason": "x" * 200}, 400, "123"),
        ({"fault": "never_done", "on": "yes"}, 400, "on"),
        ({"fault": "slow_handshake"}, 400, "seconds"),
        ({"fault": "flood", "mib": -1}, 400, "mib"),
        ({"fault": "refuse", "status": 418}, 400, "429"),
        ({"fault": "refuse_after_101", "code": 1000}, 400, "4000"),
        ({"fault": "close", "error": 7}, 400, "error"),
        ({"fault": "throttle", "responses": 0}, 400, "responses"),
        ({"fault": "no_answer", "on": 1}, 400, "on"),
        ({"fault": "refuse", "status": 429, "times": 0}, 400, "times"),
    ],
)
async def test_the_fault_is_refused_with_a_hint_when_it_makes_no_sense(
    model: LiveModel, body: dict[str, Any], status: int, hint: str
) -> None:
    answered, answer = await model.fault(**body)

    assert answered == status
    assert hint in answer["error"]


async def test_a_record_tells_the_whole_call_when_it_has_ended(model: LiveModel) -> None:
    caller = await model.call()
    await caller.say("Hello")
    await caller.send("response.create")
    usage = (await caller.last("response.done"))["response"]["usage"]
    await caller.socket.send_json({"type": "nonsense"})
    await caller.rejection()
    await caller.socket.close(code=4001)

    record = await model.ended()

    assert record["events_received"] == {"conversation.item.create": 1, "response.create": 1, "unknown": 1}
    assert (record["frames_received"], record["responses"]) == (3, 1)
    assert (record["tokens_in"], record["tokens_out"]) == (usage["input_tokens"], usage["output_tokens"])
    assert (record["ended_by"], record["close_code_received"], record["close_code_sent"]) == ("client", 4001, 4001)
    assert record["bytes_sent"] > record["bytes_received"] > 0


async def test_the_network_ended_the_call_when_the_client_vanishes(model: LiveModel, raw: RawCaller) -> None:
    raw.writer.transport.abort()

    assert (await model.ended())["ended_by"] == "network"
