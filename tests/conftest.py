"""Fixtures of the whole suite: the loop the product runs on, relays in this process and as processes, raw wires."""

import asyncio
import contextlib
import io
import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
import uvloop
from aiohttp import web

from rtproxy.app import Tuning, make_app
from rtproxy.carry import ADMISSION, UPSTREAM
from rtproxy.door.halfopen import Runner
from rtproxy.log import Log
from rtproxy.settings import load
from stage.rawpeer import RawPeer, RawServer, connect
from stage.replica import RELAY, Replica
from tests.world import World

KEY = "client-key-of-alice"
AUTHORITY = Path(__file__).with_name("nobody.pem")
"""The certificate of an authority whose key nobody has."""
OUTSIDE = "SSL_CERT_FILE_OUTSIDE"
"""What SSL_CERT_FILE was before the suite began; empty: not set."""
DEADLINE_S = 30.0
"""What anything may take in a test that is not about time: long, because a busy machine is not a defect."""


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every test runs on the loop the relay runs on."""
    return {"uvloop": uvloop.new_event_loop}


def pytest_configure() -> None:
    """Every process and every relay of the suite reads one authority instead of the system's 140, a tenth of a second.

    And a suite that was started in the background ignores Ctrl-C, and so would every process that a test interrupts.
    """
    if os.environ.get("SSL_CERT_FILE") != str(AUTHORITY):  # a worker of xdist has it already
        os.environ[OUTSIDE] = os.environ.get("SSL_CERT_FILE", "")
        os.environ["SSL_CERT_FILE"] = str(AUTHORITY)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


LONGEST = (
    *("playbooks/test_deploy", "playbooks/test_bluegreen", "stage/test_deployments", "stage/test_rehearse"),
    *("playbooks/", "stage/test_(arm|soak|sabotage|platform|interrupted)", "clients/test_kinds", "bench/beside"),
    *("stage/test_(outside|ride|monitor|stage|ingress)", "bench/test_run", "rtproxy/test_(strangers|torture|explorer)"),
)
"""Files that take a minute or more, the longest first: a worker has all of a file, and workers are to end together."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = [re.compile(each) for each in LONGEST]
    items.sort(key=lambda item: next((at for at, each in enumerate(order) if each.search(item.nodeid)), len(order)))


def settings_for(port: int, **more: str) -> dict[str, str]:
    """The environment of a relay in front of a model on ``port``."""
    return {
        "AZURE_OPENAI_ENDPOINT": f"http://127.0.0.1:{port}",
        "AZURE_OPENAI_DEPLOYMENT": "gpt-realtime",
        "AZURE_OPENAI_API_KEY": "model-key",
        "RTPROXY_CLIENT_KEYS": f"alice:{KEY},bob:client-key-of-bob",
        "CONTAINER_APP_REVISION": "app--blue",
        "CONTAINER_APP_REPLICA_NAME": "app--blue-1",
    } | more


def trust_as_outside(patch: pytest.MonkeyPatch) -> None:
    """For a test that may download something: a proxy of the network may have an authority of its own."""
    patch.delenv("SSL_CERT_FILE")
    if os.environ[OUTSIDE]:
        patch.setenv("SSL_CERT_FILE", os.environ[OUTSIDE])


class Relay:
    """A relay in this process, on a real socket."""

    def __init__(self, app: web.Application, port: int, stream: io.BytesIO) -> None:
        self.app = app
        self.port = port
        self._stream = stream

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def with_another(self, key: web.AppKey[Any], part: object) -> Iterator[None]:
        """Meanwhile ``part`` stands in the place of one of the relay's own."""
        parts = self.app._state
        before, parts[key] = parts[key], part
        try:
            yield
        finally:
            parts[key] = before

    @property
    def events(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self._stream.getvalue().splitlines()]

    @property
    def log(self) -> str:
        return self._stream.getvalue().decode()

    async def event(self, name: str, **fields: object) -> dict[str, Any]:
        """Waits for an event; the loop is this test's own, so giving way to it is all there is to wait for."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                for event in self.events:
                    if event["event"] == name and all(event.get(k) == v for k, v in fields.items()):
                        return event
                await asyncio.sleep(0.005)


class Limits:
    """The limits of relays that this test starts in this process; `shorten` sets some."""

    def __init__(self) -> None:
        self.tuning = Tuning()

    def __call__(self, **limits: float) -> None:
        """``shorten(answer_s=0.1)``: from now on, in whichever group of `Tuning` the name is."""
        for name, value in limits.items():
            (group,) = [each for each in Tuning._fields if name in getattr(self.tuning, each)._fields]
            self.tuning = self.tuning._replace(**{group: getattr(self.tuning, group)._replace(**{name: value})})


RelayFactory = Callable[..., Awaitable[Relay]]
ReplicaFactory = Callable[..., Awaitable[Replica]]


@pytest.fixture
def shorten() -> Limits:
    """``shorten(answer_s=0.1, flood_s=0.5)`` before a relay is started."""
    return Limits()


@pytest.fixture
async def relay_for(shorten: Limits) -> AsyncIterator[RelayFactory]:
    """Starts relays in this process: ``await relay_for(port_of_the_model, RTPROXY_HEARTBEAT_SECONDS="1")``."""
    runners: list[web.AppRunner] = []

    async def start(port: int, **settings: str) -> Relay:
        stream = io.BytesIO()
        environ = settings_for(port, **settings)
        app = make_app(load(environ), Log("app--blue", "app--blue-1", stream), shorten.tuning)
        runner = Runner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return Relay(app, runner.addresses[0][1], stream)

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def replica_for() -> AsyncIterator[ReplicaFactory]:
    """Starts relays as processes: ``await replica_for(port_of_the_model, RTPROXY_DRAIN_SECONDS="4")``."""
    replicas: list[Replica] = []

    async def start(port: int, world: World | None = None, **settings: str) -> Replica:
        relay = RELAY if world is None else world.relay
        replicas.append(await Replica.start(settings_for(port, **settings), relay=relay))
        return replicas[-1]

    yield start
    for replica in replicas:
        await replica.kill()


@pytest.fixture
async def upstream() -> AsyncIterator[RawServer]:
    """A model whose every byte the test decides."""
    async with RawServer() as server:
        yield server


async def error(peer: RawPeer) -> dict[str, str]:
    """What is in the envelope of a refusal."""
    body = orjson.loads(await peer.reader.readexactly(int(peer.headers["content-length"])))
    assert list(body) == ["error"]
    assert list(body["error"]) == ["type", "code", "message"]
    return dict(body["error"])


class Call(NamedTuple):
    """One call that stands: both ends of it, and the relay between."""

    client: RawPeer
    model: RawPeer
    relay: Relay


class Defective:
    """A part of a relay that raises whatever it is asked."""

    async def admit(self, *_: object) -> None:
        raise ZeroDivisionError

    dial = admit


BROKEN_PARTS = {"the admission": ADMISSION, "the way to the model": UPSTREAM}
CallFactory = Callable[..., Awaitable[Call]]


Caller = Callable[..., Awaitable[RawPeer]]


@pytest.fixture
async def dial() -> AsyncIterator[Caller]:
    """`stage.rawpeer.connect` with alice's key; what it opened is closed at the end of the test."""
    clients: list[RawPeer] = []

    async def connected(port: int, path: str = "/v1/realtime", **how: Any) -> RawPeer:
        how["headers"] = {"api-key": KEY} | how.get("headers", {})
        clients.append(await connect(port, path, **how))
        return clients[-1]

    yield connected
    for client in clients:
        await client.closed()


Shown = Callable[..., Awaitable[RawPeer]]


@pytest.fixture
def shown(upstream: RawServer, dial: Caller) -> Shown:
    """How a relay answers who shows a credential, the only one; a model takes every call that gets to it."""

    async def answer(relay: Relay, credential: str, **headers: str) -> RawPeer:
        how = {"api-key": "", "Authorization": f"Bearer {credential}"} | headers
        connecting = asyncio.create_task(dial(relay.port, headers=how))
        dialed = asyncio.create_task(upstream.request())
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.wait((connecting, dialed), return_when=asyncio.FIRST_COMPLETED)
            if dialed.done():
                await dialed.result().answer()
            dialed.cancel()
            return await connecting

    return answer


@pytest.fixture
async def call(relay_for: RelayFactory, upstream: RawServer, dial: Caller) -> CallFactory:
    """Opens a call: ``client, model, relay = await call(RTPROXY_HEARTBEAT_SECONDS="1")``; again by ``relay=relay``."""

    async def open_call(relay: Relay | None = None, receive_buffer: int = 0, **settings: str) -> Call:
        relay = relay or await relay_for(upstream.port, **settings)
        connecting = asyncio.create_task(dial(relay.port, receive_buffer=receive_buffer))
        model = await upstream.request()
        await model.answer()
        return Call(await connecting, model, relay)

    return open_call
