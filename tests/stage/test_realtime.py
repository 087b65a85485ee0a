"""The command an operator runs, as a process; and the real OpenAI SDK as its client."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from openai import AsyncOpenAI

from stage.realtime import main
from tests.stage.conftest import DEADLINE_S, KEY, LiveModel, silence, speech

Process = asyncio.subprocess.Process
Run = Callable[..., Awaitable[Process]]


@pytest.fixture
async def run() -> AsyncIterator[Run]:
    """`await run("--port", "0")`: the command with these arguments; killed at the end if it still runs."""
    processes: list[Process] = []

    async def start(*arguments: str) -> Process:
        pipe = asyncio.subprocess.PIPE
        command = (sys.executable, "-m", "stage.realtime", *arguments)
        processes.append(await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe))
        return processes[-1]

    yield start
    for process in processes:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def spoken_turn(url: str) -> list[str]:
    """One turn with the SDK alone; the event types it saw."""
    client = AsyncOpenAI(websocket_base_url=f"ws{url.removeprefix('http')}/openai/v1", api_key=KEY)
    kinds: list[str] = []
    async with client, client.realtime.connect(model="gpt-realtime") as connection, asyncio.timeout(DEADLINE_S):
        await connection.session.update(session={"type": "realtime", "instructions": "Be brief."})
        await connection.input_audio_buffer.append(audio=speech(300))
        await connection.input_audio_buffer.append(audio=silence(600))
        async for event in connection:
            kinds.append(event.type)
            if event.type == "response.done":
                break
    return kinds


async def test_the_openai_sdk_holds_a_spoken_turn_when_pointed_at_the_model(model: LiveModel) -> None:
    kinds = await spoken_turn(model.url)

    assert kinds[:3] == ["session.created", "session.updated", "input_audio_buffer.speech_started"]
    assert {"response.output_audio.delta", "response.output_audio_transcript.delta"} < set(kinds)
    assert (await model.ended())["close_code_received"] == 1000


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_where_it_listens_and_exits_0_when_signalled(run: Run, number: signal.Signals) -> None:
    process = await run("--port", "0", "--key", KEY, "--answer-seconds", "0.3", "--pace", "50")
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        ready = json.loads(await process.stdout.readline())
    assert (ready.keys(), ready["event"]) == ({"ts", "event", "url"}, "model.started")
    assert (await spoken_turn(ready["url"]))[-1] == "response.done"

    process.send_signal(number)

    async with asyncio.timeout(DEADLINE_S):
        rest, errors = await process.communicate()
    assert (process.returncode, rest, errors) == (0, b"", b"")


async def test_open_calls_are_closed_1001_when_the_process_is_told_to_stop(run: Run) -> None:
    process = await run("--port", "0", "--key", KEY)
    assert process.stdout is not None
    url = json.loads(await process.stdout.readline())["url"]
    async with aiohttp.ClientSession(headers={"api-key": KEY}) as client:
        call = await client.ws_connect(f"{url}/openai/v1/realtime?model=gpt-realtime")
        await call.receive(timeout=DEADLINE_S)

        process.terminate()

        assert (await call.receive(timeout=DEADLINE_S)).data == 1001
        async with asyncio.timeout(DEADLINE_S):
            assert await process.wait() == 0


async def test_it_says_so_and_exits_1_when_the_port_is_taken(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = await run("--port", port, "--key", KEY)
        out, err = await process.communicate()

    assert (process.returncode, out) == (1, b"")
    assert f"cannot listen on 127.0.0.1:{port}" in err.decode()
    assert "Traceback" not in err.decode()


async def test_it_says_so_and_exits_1_when_its_record_cannot_be_written(run: Run, tmp_path: Path) -> None:
    process = await run("--port", "0", "--key", KEY, "--record", str(tmp_path / "nowhere" / "model.jsonl"))
    out, err = await process.communicate()

    assert (process.returncode, out) == (1, b"")
    assert "cannot write" in err.decode()
    assert "Traceback" not in err.decode()


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ((), "--key"),
        (("--key", ""), "not empty"),
        (("--key", KEY, "--port", "70000"), "0-65535"),
        (("--key", KEY, "--session-seconds", "-1"), "above 0"),
        (("--key", KEY, "--max-sessions", "few"), "whole number"),
        (("--key", KEY, "--rate-limits", "middle"), "start"),
        (("--key", KEY, "--throttle", "2"), "0 to 1"),
        (("--key", KEY, "--mcp-seconds", "soon"), "0 or more"),
        (("--key", KEY, "--refuse-after-101", "1000"), "3000"),
    ],
)
def test_it_explains_and_exits_2_when_an_argument_is_wrong(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], hint: str
) -> None:
    with pytest.raises(SystemExit) as exit:
        main(arguments)

    assert exit.value.code == 2
    err = capsys.readouterr().err
    assert hint in err
    assert KEY not in err


async def test_flags_and_control_routes_are_explained_when_asked_for_help(run: Run) -> None:
    process = await run("--help")
    out, _ = await process.communicate()

    assert process.returncode == 0
    assert "--session-seconds" in out.decode()
    assert "/_stage/faults" in out.decode()
    assert "refuse_after_101" in out.decode()
    assert "call NAME" in out.decode()
