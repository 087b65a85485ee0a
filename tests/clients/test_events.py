"""Reading the model's events by the head of their text."""

import pytest
from aiohttp import web

from clients.events import failure_of, field_of, type_of
from tests.clients.conftest import HoldFactory


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (b'{"type":"response.output_audio.delta","delta":"AAAA', b"response.output_audio.delta"),
        (b'{ "event_id" : "event_1", "type" : "response.done", "response": {}}', b"response.done"),
        (b'{"session":{"type":"realtime"},"type":"session.created"}', b"session.created"),
        (b'{"session":{"type":"realtime"}}', b"None"),
        (b'{"session":{"type":"real', b"None"),
        (b"[]", b"None"),
    ],
)
def test_the_type_is_that_of_the_event_and_of_nothing_in_it(text: bytes, kind: bytes) -> None:
    assert type_of(text) == kind


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
        async for _ in socket:
            pass
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

    assert (result.code, result.stderr) == (0, "")
    assert [closed["early"] for closed in result.all("closed")] == [False, False]
