"""Reading the model's events, whatever their shape."""

import pytest
from aiohttp import web

from clients.events import failure_of, field_of, parse
from tests.clients.conftest import HoldFactory


@pytest.mark.parametrize(
    ("message", "event"),
    [
        (b'{"type":"response.done"}', {"type": "response.done"}),
        (b'{"type":"response.output_audio.delta","delta":"AAAA', None),
        (b"[]", None),
        (b"\xff", None),
    ],
)
def test_what_is_no_json_object_is_no_event(message: bytes, event: object) -> None:
    assert parse(message) == event


@pytest.mark.parametrize("error", ["boom", ["boom"], 7, True, None])
def test_a_part_that_is_no_object_has_no_fields(error: object) -> None:
    assert field_of({"type": "error", "error": error}, "error", "message") is None
    assert failure_of({"status": "failed", "status_details": error}) is None
    assert failure_of({"status": "failed", "status_details": {"error": error, "reason": "late"}}) == "late"


def test_a_reason_that_is_no_text_is_told_as_text() -> None:
    assert failure_of({"status_details": {"reason": {"code": 1}}}) == "{'code': 1}"


async def test_a_hold_outlives_a_model_whose_events_have_parts_of_another_shape(hold: HoldFactory) -> None:
    async def speak(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for part in ('"error","error":"boom"', '"session.created","session":"one"', '"response.done","response":[1]'):
            await socket.send_str('{"type":' + part + "}")
        async for message in socket:
            if "session.update" in message.data:
                await socket.send_str('{"type":"session.updated","session":[]}')
        return socket

    app = web.Application()
    app.router.add_get("/v1/realtime", speak)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        holding = await hold(f"ws://127.0.0.1:{runner.addresses[0][1]}", "--turn-deadline", "1")
        await holding.observed("turn")
        holding.interrupt()
        result = await holding.result()
    finally:
        await runner.cleanup()

    assert result.code == 1
    assert result.stderr.startswith("clients.hold: turns were taken and none was completed:")
    assert "Traceback" not in result.stderr
    assert [closed["early"] for closed in result.all("closed")] == [False, False]
