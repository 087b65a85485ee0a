"""HTTPS_PROXY and NO_PROXY: calls reach the model through a tunnel, a failed tunnel has a name, a password has none."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import trustme
from aiohttp.test_utils import unused_port
from hypothesis import given
from hypothesis import settings as given_so
from hypothesis import strategies as st
from yarl import URL

from rtproxy.proxies import Proxies
from rtproxy.settings import SettingsError, load
from stage.rawpeer import TEXT, RawServer
from tests.conftest import DEADLINE_S, Caller, Limits, Relay, RelayFactory, ReplicaFactory, error, settings_for
from tests.rtproxy.test_settings import relay as run_relay

ENDPOINT = "https://voice.invalid"
PASSWORD = "hush p@ss"
CREDENTIALS = "someone:hush%20p%40ss@"
TUNNEL = b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n"


class FakeProxy:
    """Joins whoever asks to ``target``, or says ``answer`` and hangs up; None: it says nothing. It keeps ``heads``."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.answer: bytes | None = TUNNEL
        self.heads: list[str] = []
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.close()

    async def came(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        if self.answer is not None:
            writer.write(self.answer)
        if self.answer != TUNNEL:
            if self.answer is not None:
                writer.close()
            return
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers.append(to_writer)
        for source, sink in ((reader, to_writer), (to_reader, writer)):
            task = asyncio.create_task(self._pass(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    @staticmethod
    async def _pass(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(1 << 16):
                sink.write(data)
        except ConnectionError:
            pass
        sink.close()


@pytest.fixture
async def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RawServer]:
    """A model with a certificate for a name that no DNS knows."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("voice.invalid").configure_cert(context)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    async with RawServer(context) as server:
        yield server


@pytest.fixture
async def proxy(model: RawServer) -> AsyncIterator[FakeProxy]:
    fake = FakeProxy(model.port)
    async with await asyncio.start_server(fake.came, "127.0.0.1", 0) as server:
        fake.port = server.sockets[0].getsockname()[1]
        yield fake
        fake.hang_up()


Behind = Callable[..., Awaitable[Relay]]


@pytest.fixture
def behind(relay_for: RelayFactory, proxy: FakeProxy) -> Behind:
    """A relay whose way out is the proxy."""

    async def behind(**settings: str) -> Relay:
        way = {"AZURE_OPENAI_ENDPOINT": ENDPOINT, "HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}"}
        return await relay_for(1, **way | settings)

    return behind


async def test_a_call_goes_through_the_proxy_and_its_tls_does_too(
    behind: Behind, proxy: FakeProxy, model: RawServer, dial: Caller
) -> None:
    relay = await behind()
    connecting = asyncio.create_task(dial(relay.port))
    peer = await asyncio.wait_for(model.request(), DEADLINE_S)
    await peer.answer()
    client = await connecting
    assert client.status == 101
    assert proxy.heads == ["CONNECT voice.invalid:443 HTTP/1.1\r\nHost: voice.invalid:443\r\n\r\n"]
    assert peer.headers["host"] == "voice.invalid"
    await client.send(TEXT, b"up")
    await peer.send(TEXT, b"down")
    assert ((await peer.read()).payload, (await client.read()).payload) == (b"up", b"down")


async def test_a_password_goes_to_the_proxy_and_nowhere_else(
    behind: Behind, proxy: FakeProxy, model: RawServer, dial: Caller
) -> None:
    relay = await behind(https_proxy=f"{CREDENTIALS}127.0.0.1:{proxy.port}", HTTPS_PROXY="http://127.0.0.1:1")
    connecting = asyncio.create_task(dial(relay.port))
    peer = await asyncio.wait_for(model.request(), DEADLINE_S)
    await peer.answer()
    assert (await connecting).status == 101
    basic = base64.b64encode(f"someone:{PASSWORD}".encode()).decode()
    assert f"\r\nProxy-Authorization: Basic {basic}\r\n" in proxy.heads[0]
    assert "proxy-authorization" not in peer.headers
    proxy.answer = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=hush\r\n\r\n"
    told = await error(await dial(relay.port))
    assert "hush" not in f"{told} {relay.log}"
    assert basic not in f"{told} {relay.log}"


async def test_a_start_says_which_proxy_it_uses_without_its_password(
    replica_for: ReplicaFactory, proxy: FakeProxy
) -> None:
    way = f"http://{CREDENTIALS}127.0.0.1:{proxy.port}"
    replica = await replica_for(1, AZURE_OPENAI_ENDPOINT=ENDPOINT, HTTPS_PROXY=way)
    assert (await replica.event("proxy.started"))["https_proxy"] == f"127.0.0.1:{proxy.port}"
    direct = await replica_for(1, HTTPS_PROXY=way)
    assert (await direct.event("proxy.started"))["https_proxy"] is None


FAULTS = {
    "it wants a password": (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", 407, "HTTP 407"),
    "it may not go there": (b"HTTP/1.0 403 Forbidden\r\nContent-Length: 4\r\n\r\nhush", 403, "HTTP 403"),
    "it cannot go there": (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", 502, "HTTP 502"),
    "a redirect": (b"HTTP/1.1 302 Found\r\nLocation: http://hush/\r\n\r\n", 302, "HTTP 302"),
    "it hangs up": (b"", None, "did not answer with HTTP"),
    "half an answer": (b"HTTP/1.1 200 OK\r\n", None, "did not answer with HTTP"),
    "another protocol": (b"220 hush.example ESMTP\r\n\r\n", None, "did not answer with HTTP"),
    "an answer without end": (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 40_000, None, "did not answer with HTTP"),
    "it talks on": (TUNNEL + b"hush", None, "sent bytes behind its answer"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_proxy_that_opens_no_tunnel_is_502_and_named(
    behind: Behind, proxy: FakeProxy, dial: Caller, fault: str
) -> None:
    proxy.answer, status, said = FAULTS[fault]
    relay = await behind()
    client = await dial(relay.port)
    told = await error(client)
    assert (client.status, told["code"]) == (502, "upstream_proxy")
    assert told["message"].startswith("The proxy of HTTPS_PROXY ")
    assert said in told["message"]
    failed = await relay.event("upstream.failed")
    assert (failed["cause"], failed["status"], failed["upstream_status"]) == ("proxy", 502, status)
    assert "hush" not in f"{told} {relay.log}"


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-proxy.invalid"])
async def test_a_proxy_that_nobody_reaches_is_502_and_named(behind: Behind, dial: Caller, host: str) -> None:
    relay = await behind(HTTPS_PROXY=f"http://{host}:{unused_port()}")
    told = await error(await dial(relay.port))
    assert told["code"] == "upstream_proxy"
    assert "HTTPS_PROXY could not be reached" in told["message"]


async def test_a_proxy_that_says_nothing_is_504_and_named(
    behind: Behind, proxy: FakeProxy, dial: Caller, shorten: Limits
) -> None:
    shorten(dial_s=0.2)
    proxy.answer = None
    client = await dial((await behind()).port)
    told = await error(client)
    assert (client.status, told["code"]) == (504, "upstream_timeout")
    assert "HTTPS_PROXY" in told["message"]


@pytest.mark.parametrize("names", ["voice.invalid", "other,.invalid", "*"])
async def test_a_name_of_no_proxy_is_reached_directly(
    behind: Behind, proxy: FakeProxy, dial: Caller, names: str
) -> None:
    relay = await behind(NO_PROXY=names)
    assert (await error(await dial(relay.port)))["code"] == "upstream_unreachable"
    assert proxy.heads == []


async def test_a_model_on_loopback_is_reached_directly(
    behind: Behind, proxy: FakeProxy, upstream: RawServer, dial: Caller
) -> None:
    relay = await behind(AZURE_OPENAI_ENDPOINT=f"http://127.0.0.1:{upstream.port}")
    connecting = asyncio.create_task(dial(relay.port))
    await (await asyncio.wait_for(upstream.request(), DEADLINE_S)).answer()
    assert (await connecting).status == 101
    assert proxy.heads == []


async def test_an_issuer_is_asked_through_the_proxy_too(behind: Behind, proxy: FakeProxy) -> None:
    proxy.answer = b"HTTP/1.1 503 No\r\n\r\n"
    way = f"http://{CREDENTIALS}127.0.0.1:{proxy.port}"
    await behind(HTTPS_PROXY=way, RTPROXY_OIDC_ISSUER="https://login.invalid/t", RTPROXY_OIDC_AUDIENCE="a")
    assert proxy.heads[0].startswith("CONNECT login.invalid:443 HTTP/1.1\r\n")
    assert "Proxy-Authorization: Basic " in proxy.heads[0]


def of(url: str, **environ: str) -> str | None:
    proxy = Proxies.read({"HTTPS_PROXY": "http://proxy:3128"} | environ).of(URL(url))
    return proxy and proxy.name


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("", "https://a.example", False),
        ("a.example", "https://a.example", True),
        ("A.Example", "https://a.EXAMPLE", True),
        ("example", "https://a.example", True),
        (".example", "https://a.example", True),
        ("*.example", "https://a.example", True),
        ("ample", "https://a.example", False),
        ("b.a.example", "https://a.example", False),
        ("a.example:443", "https://a.example", True),
        ("a.example:8443", "https://a.example", False),
        ("x, a.example", "https://a.example", True),
        ("x a.example", "https://a.example", True),
        (".", "https://a.example", False),
        (",,", "https://a.example", False),
        ("*", "https://a.example", True),
        ("10.0.0.0/8", "https://10.1.2.3", True),
        ("10.1.2.3", "https://10.1.2.3", True),
        ("10.1.2.3:443", "https://10.1.2.3", True),
        ("11.0.0.0/8", "https://10.1.2.3", False),
        ("fd00::/8", "https://[fd00::1]", True),
        ("[fd00::1]", "https://[fd00::1]", True),
        ("", "https://127.0.0.1:1", True),
        ("", "https://[::1]:1", True),
        ("", "https://localhost:1", True),
        ("", "http://127.0.0.1:1", True),
    ],
)
def test_the_entries_of_no_proxy_are_names_parents_addresses_and_networks(
    no_proxy: str, url: str, *, direct: bool
) -> None:
    assert of(url, NO_PROXY=no_proxy) == (None if direct else "proxy:3128")


@given_so(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.text(max_size=60), st.sampled_from(["https://a.example", "https://10.1.2.3", "https://[fd00::1]:8443"]))
def test_no_entry_of_no_proxy_is_too_odd(entries: str, url: str) -> None:
    assert of(url, no_proxy=entries) in (None, "proxy:3128")


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("proxy:3128", "proxy:3128"),
        ("http://proxy", "proxy:80"),
        ("http://proxy:3128/", "proxy:3128"),
        ("HTTP://user:pass@10.0.0.1:8080", "10.0.0.1:8080"),
        ("http://[fd00::1]:8080", "[fd00::1]:8080"),
        ("http://user@proxy:1", "proxy:1"),
    ],
)
def test_a_proxy_is_taken_in_the_forms_that_curl_takes(value: str, name: str) -> None:
    assert of("https://a.example", HTTPS_PROXY=value) == name


def test_the_lower_case_counts_where_both_are_set_and_an_empty_one_is_none() -> None:
    assert of("https://a.example", https_proxy="http://lower:1") == "lower:1"
    assert of("https://a.example", https_proxy="") is None
    assert of("https://a.example", no_proxy="", NO_PROXY="*") == "proxy:3128"


UNSOUND = [
    "socks5://hush@proxy:1080",
    "https://hush@proxy:3128",
    "ftp://proxy",
    "http://",
    "http://user:hush@",
    "http://hush@proxy:99999",
    "http://hush@proxy:port",
    "http://hush@proxy:0",
    "http://hush@proxy:3128/path",
    "http://hush@proxy:3128?hush",
    "http://[::1",
    "http://hush@pro xy:3128",
    "http://hush@a..b:3128",
]


@pytest.mark.parametrize("value", UNSOUND)
def test_a_start_is_refused_when_the_way_to_the_model_is_no_proxy(value: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load(settings_for(1, AZURE_OPENAI_ENDPOINT=ENDPOINT, HTTPS_PROXY=value))
    (told,) = raised.value.problems
    assert told == ("HTTPS_PROXY is not a proxy; accepted: http://HOST:PORT or http://USER:PASSWORD@HOST:PORT")


@pytest.mark.parametrize("value", UNSOUND)
def test_a_proxy_that_is_not_used_is_not_judged(value: str) -> None:
    load(settings_for(1, HTTPS_PROXY=value))
    load(settings_for(1, AZURE_OPENAI_ENDPOINT=ENDPOINT, HTTPS_PROXY=value, NO_PROXY="voice.invalid"))


async def test_the_process_exits_2_when_the_way_to_the_model_is_no_proxy() -> None:
    code, out, err = await run_relay(**settings_for(1, AZURE_OPENAI_ENDPOINT=ENDPOINT, HTTPS_PROXY=UNSOUND[0]))
    assert (code, out) == (2, "")
    assert "HTTPS_PROXY is not a proxy" in err
    assert "hush" not in err
