"""A page in headless Chromium: its own WebSocket with the key as a subprotocol, and the OpenAI SDK for browsers."""

import os
import signal
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, suppress

import pytest
from aiohttp import web
from aiohttp.pytest_plugin import AiohttpServer

from rtproxy.door.ticket import mint
from stage.leash import leashed
from tests.browser import CHROMIUM, HEADLESS, home
from tests.conftest import KEY
from tests.sdks.conftest import NODE, Line, Witness, needed, one_turn

LONG_KEY = "a-key-that-is-long-enough-to-sign-tickets"
PageFactory = Callable[..., Awaitable[Witness]]


@pytest.fixture
async def page(line: Line, aiohttp_server: AiohttpServer) -> AsyncIterator[PageFactory]:
    """Calls from page.html, by one of its ways: ``await page("once", key="wrong")``."""
    chromium = needed(CHROMIUM, "chromium")
    running = []

    async def start(way: str, key: str = KEY) -> Witness:
        witness = Witness()

        async def settings(_: web.Request) -> web.Response:
            return web.json_response({"way": way, "ws": line.ws, "https": line.https, "key": key})

        async def said(request: web.Request) -> web.Response:
            await witness.note(await request.read())
            return web.Response()

        app = web.Application()
        app.add_routes([web.get("/settings", settings), web.post("/said", said), web.static("/", NODE)])
        server = await aiohttp_server(app)
        # The balancer's certificate is of this test alone, and on no list of Chromium's.
        options = (*HEADLESS, "--ignore-certificate-errors")
        url = str(server.make_url("/page.html"))
        environ = homes.enter_context(home())
        running.append(await leashed(chromium, *options, url, env=environ, stdout=DEVNULL, stderr=DEVNULL))
        return witness

    with ExitStack() as homes:
        yield start
        for process in running:
            # All of its processes: one that is left writes its profile once more.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def test_a_page_holds_a_spoken_turn_with_its_key_as_a_subprotocol(line: Line, page: PageFactory) -> None:
    witness = await page("once")
    assert await witness.says("opened") == "realtime"
    usage = await witness.says("spoken")
    assert (await witness.says("closed"))["code"] == 1000
    await one_turn(line.relay, usage)


async def test_a_page_sees_1006_and_no_reason_when_its_key_is_wrong(line: Line, page: PageFactory) -> None:
    witness = await page("once", key="wrong")
    assert await witness.says("closed") == {"code": 1006, "reason": "", "wasClean": False}
    assert (await line.relay.event("client.refused"))["status"] == 401


async def test_a_page_is_told_of_the_close_when_the_relay_drains(line: Line, page: PageFactory) -> None:
    witness = await page("stay")
    await witness.says("spoken")
    await line.roll()
    assert await witness.says("closed") == {"code": 1012, "reason": "revision draining, reconnect", "wasClean": True}


@pytest.mark.usefixtures("node_modules")
async def test_the_sdk_in_a_page_calls_again_when_the_relay_drains_if_it_is_asked_to(
    line: Line, page: PageFactory
) -> None:
    witness = await page("sdk")
    await witness.says("first")
    await line.roll()
    assert await witness.says("reconnecting") == 1012
    await one_turn(line.relay, await witness.says("spoken"))


@pytest.mark.usefixtures("node_modules")
@pytest.mark.parametrize("line", [{"RTPROXY_CLIENT_KEYS": f"web:{LONG_KEY}"}], indirect=True, ids=["web"])
async def test_the_sdk_in_a_page_is_content_with_a_ticket(line: Line, page: PageFactory) -> None:
    witness = await page("sdk", key=mint("web", LONG_KEY))
    await witness.says("first")
    assert (await line.relay.event("client.connected"))["client"] == "web"
    # The relay that takes over has not seen it yet.
    await line.roll()
    await one_turn(line.relay, await witness.says("spoken"))


@pytest.mark.usefixtures("node_modules")
async def test_the_sdk_in_a_page_sees_an_error_and_no_status_when_its_key_is_wrong(
    line: Line, page: PageFactory
) -> None:
    witness = await page("sdk", key="wrong")
    assert await witness.says("error") == "WebSocket error"
    assert (await line.relay.event("client.refused"))["status"] == 401
