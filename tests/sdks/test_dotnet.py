"""The OpenAI SDK for .NET, NuGet `OpenAI` 2.15.0: a raw socket does what was recorded of it, as no .NET is here."""

import asyncio
import json
import re
from urllib.parse import urlsplit

from stage.rawpeer import CLOSE, PONG, TEXT, RawPeer, connect
from tests.conftest import KEY
from tests.sdks.conftest import CHUNKS, DEADLINE_S, Line

CLIENT = """
var endpoint = new RealtimeClientOptions { Endpoint = new Uri("https://relay.example.com/openai/v1") };
var client = new RealtimeClient(new ApiKeyCredential(key), endpoint);
using var session = await client.StartConversationSessionAsync("gpt-realtime", options);
await foreach (var update in session.ReceiveUpdatesAsync()) { Handle(update); }
"""
PONGS_EVERY_S = 0.2
"""It takes 30 s; nothing of what the relay does with them depends on that."""


async def dial(line: Line, key: str = KEY) -> RawPeer:
    """The handshake that these lines of code begin."""
    (endpoint,) = re.findall(r'new Uri\("(\S+)"\)', CLIENT)
    (model,) = re.findall(r'SessionAsync\("(\S+)"', CLIENT)
    headers = {"Authorization": f"Bearer {key}", "Sec-WebSocket-Protocol": "realtime"}
    port = urlsplit(line.ws).port
    assert port is not None
    return await connect(port, f"{urlsplit(endpoint).path}/realtime?model={model}", headers=headers)


async def speak(call: RawPeer) -> None:
    """An utterance, as often as the call takes it, with pongs that nobody asked for in between."""
    loop, due = asyncio.get_running_loop(), 0.0
    for chunk in CHUNKS:
        await call.send(TEXT, json.dumps({"type": "input_audio_buffer.append", "audio": chunk}).encode())
        if loop.time() >= due:
            await call.send(PONG)
            due = loop.time() + PONGS_EVERY_S


async def turn(call: RawPeer) -> None:
    await speak(call)
    while json.loads((await call.read_until(TEXT)).payload)["type"] != "response.done":
        pass


async def test_a_spoken_turn_and_a_reset_at_its_end(line: Line) -> None:
    async with asyncio.timeout(DEADLINE_S):
        call = await dial(line)
        assert (call.status, call.headers["sec-websocket-protocol"]) == (101, "realtime")
        await turn(call)
        call.reset()
        closed = await line.relay.event("connection.closed")
    # It has no Close of its own: disposed, it is gone.
    assert (closed["ended_by"], closed["client_code"], closed["upstream_code"]) == ("client", 1006, 1001)
    assert closed["responses"] == 1


async def test_a_drain_ends_a_call_that_never_answers_the_close_and_goes_on_sending(line: Line) -> None:
    async with asyncio.timeout(DEADLINE_S):
        call = await dial(line)
        await turn(call)
        rolling = asyncio.create_task(line.roll())
        close = await call.read_until(CLOSE)
        assert (close.code, close.reason) == (1012, "revision draining, reconnect")
        # Its loop over updates has ended, without an exception and without the code; what records a voice goes on.
        sending = asyncio.create_task(speak_on(call))
        await rolling
        await sending


async def speak_on(call: RawPeer) -> None:
    """Until the relay's end of the connection is gone."""
    try:
        while True:
            await speak(call)
            await asyncio.sleep(0)
    except ConnectionError:
        pass
    finally:
        await call.closed()


async def test_a_refused_upgrade_is_a_status_and_no_more(line: Line) -> None:
    async with asyncio.timeout(DEADLINE_S):
        call = await dial(line, key="wrong-key-of-a-caller")
        # Its WebSocketException has the status; the body and Retry-After, which the relay sends, it does not show.
        assert call.status == 401
        await call.closed()
