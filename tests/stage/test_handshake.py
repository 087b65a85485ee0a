"""Who gets in, and what everybody else is told before the upgrade."""

import asyncio
import logging
import uuid
from typing import Any

import aiohttp
import pytest

from tests.stage.conftest import GA, KEY, Caller, LiveModel, ModelFactory

PREVIEW = "/openai/realtime?api-version=2025-04-01-preview&deployment=gpt-realtime"
KEY_PROTOCOL = f"openai-insecure-api-key.{KEY}"


async def refused(model: LiveModel, path: str = GA, **how: Any) -> tuple[int, str, aiohttp.ClientResponse]:
    """Status, error code and response of a handshake that must not succeed."""
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    headers = upgrade | key | how.pop("headers", {"api-key": KEY})
    async with model.client.get(model.url + path, headers=headers) as response:
        uuid.UUID(response.headers["apim-request-id"])
        assert response.headers["x-ms-region"]
        return response.status, (await response.json())["error"]["code"], response


@pytest.mark.parametrize("path", [GA, "/v1/realtime?model=gpt-realtime", PREVIEW])
async def test_the_101_carries_a_request_id_when_the_key_is_good(model: LiveModel, path: str) -> None:
    socket = await model.knock(path)

    headers = socket._response.headers
    uuid.UUID(headers["apim-request-id"])
    assert "Sec-WebSocket-Protocol" not in headers
    assert "Sec-WebSocket-Extensions" not in headers
    assert (await socket.receive_json(timeout=10))["type"] == "session.created"


@pytest.mark.parametrize(
    ("how", "authenticated_by"),
    [
        ({"headers": {"api-key": KEY}}, "api-key"),
        ({"headers": {"Authorization": f"Bearer {KEY}"}}, "bearer"),
        ({"headers": {"Authorization": "Bearer entra-2"}}, "bearer-token"),
        ({"headers": {}, "protocols": ["realtime", KEY_PROTOCOL]}, "subprotocol"),
        ({"headers": {}, "path": f"{GA}&api-key={KEY}"}, "api-key-query"),
    ],
)
async def test_the_way_in_is_remembered_but_no_secret_when_a_caller_authenticates(
    model_for: ModelFactory, how: dict[str, Any], authenticated_by: str
) -> None:
    model = await model_for(tokens=("entra-1", "entra-2"))

    await model.knock(**how)

    (record,) = await model.sessions()
    assert record["authenticated_by"] == authenticated_by
    assert "sec-websocket-key" in record["request_headers"]
    assert KEY not in str(record)
    assert "entra-2" not in str(record)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"api-key": "wrong"},
        {"api-key": "entra-1"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {KEY}"},
        {"Sec-WebSocket-Protocol": "realtime, openai-insecure-api-key.wrong"},
    ],
)
async def test_the_handshake_is_401_when_no_credential_is_good(
    model_for: ModelFactory, headers: dict[str, str]
) -> None:
    status, code, _ = await refused(await model_for(tokens=("entra-1",)), headers=headers)

    assert (status, code) == (401, "401")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"{GA}&api-version=2025-04-01-preview", 401, "401"),
        ("/openai/v1/realtime?model=other", 404, "DeploymentNotFound"),
        ("/openai/v1/realtime", 404, "DeploymentNotFound"),
        ("/openai/realtime?api-version=2025-04-01-preview&deployment=other", 404, "DeploymentNotFound"),
        ("/openai/realtime?deployment=gpt-realtime", 404, "404"),
        ("/openai/nothing", 404, "404"),
    ],
)
async def test_the_handshake_is_refused_when_the_url_is_wrong(
    model: LiveModel, path: str, status: int, code: str
) -> None:
    assert (await refused(model, path))[:2] == (status, code)


@pytest.mark.parametrize("upgrade", [{}, {"Upgrade": "websocket", "Connection": "Upgrade"}])
async def test_the_request_is_400_when_it_is_no_websocket(model: LiveModel, upgrade: dict[str, str]) -> None:
    async with model.client.get(model.url + GA, headers={"api-key": KEY, **upgrade}) as response:
        assert response.status == 400
        assert (await response.json())["error"]["code"] == "BadRequest"


async def test_the_handshake_is_429_until_a_session_ends_when_all_are_taken(model_for: ModelFactory) -> None:
    model = await model_for(max_sessions=1)
    first = await model.call()

    status, code, response = await refused(model)

    assert (status, code) == (429, "429")
    assert int(response.headers["Retry-After"]) > 0
    await first.socket.close()
    await model.ended()
    await model.call()


@pytest.mark.parametrize(
    ("offered", "answered"),
    [(["realtime", KEY_PROTOCOL], "realtime"), ([KEY_PROTOCOL, "realtime"], "realtime"), ([KEY_PROTOCOL], None)],
)
async def test_the_key_is_never_answered_nor_logged_when_offered_as_a_subprotocol(
    model: LiveModel, caplog: pytest.LogCaptureFixture, offered: list[str], answered: str | None
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with model.client.get(
            model.url + GA,
            headers={
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
                "Sec-WebSocket-Protocol": ", ".join(offered),
            },
        ) as response:
            assert response.status == 101
            assert response.headers.get("Sec-WebSocket-Protocol") == answered
    assert KEY not in caplog.text


async def test_the_beta_header_ends_a_ga_call_after_the_101(model: LiveModel) -> None:
    caller = Caller(await model.knock(headers={"api-key": KEY, "OpenAI-Beta": "realtime=v1"}), GA)

    assert (await caller.next())["error"]["code"] == "beta_api_shape_disabled"
    message = await caller.end()
    assert (message.data, message.extra) == (4000, "invalid_request_error.beta_api_shape_disabled")


async def test_the_model_lives_on_when_a_client_leaves_during_a_slow_handshake(
    model: LiveModel, caplog: pytest.LogCaptureFixture
) -> None:
    await model.fault("slow_handshake", seconds=0.2)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await model.knock()

    later = await model.call()  # by now the first handshake has come to its end

    assert [record["ended"] for record in await model.sessions()] == [None]
    await later.say("still there?")
    assert "Traceback" not in caplog.text
