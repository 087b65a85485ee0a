"""An environment for a test, an app in ARM's words for it, and callers."""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from stage.platform import App, Environment, Timing, Unverified
from stage.timeline import Timeline

DEADLINE_S = 60.0
"""What a replica may take to start or to leave on a busy machine."""
BRISK = Timing(back_off_s=0.2, http_window_s=1.0, stabilisation_s=2.0, sample_s=0.1, leaving_grace_s=3.0)
NAME = "rtproxy"
SECRET = "the-secret-model-key"


def properties(suffix: str | None = "blue", model: str = "http://127.0.0.1:9", **how: Any) -> dict[str, Any]:
    """``properties("green", mode="Multiple", traffic=[...], env={...}, scale={...}, grace=30, affinity="sticky")``."""
    env = {
        "AZURE_OPENAI_ENDPOINT": model,
        "AZURE_OPENAI_DEPLOYMENT": "gpt-realtime",
        "RTPROXY_ALLOW_ANONYMOUS": "true",
        "RTPROXY_DRAIN_SECONDS": "2",
    } | how.get("env", {})
    variables: list[dict[str, str]] = [{"name": name, "value": value} for name, value in env.items()]
    variables.append({"name": "AZURE_OPENAI_API_KEY", "secretRef": how.get("secret", "model-key")})
    ready = {"type": "Readiness", "httpGet": {"path": how.get("ready", "/readyz")}, "periodSeconds": 1}
    ready |= how.get("readiness", {})
    # A relay may take long to start on a busy machine.
    alive = {"type": "Startup", "httpGet": {"path": "/healthz"}, "periodSeconds": 1, "failureThreshold": 10}
    ingress: dict[str, Any] = {"external": True, "targetPort": 8080}
    ingress["stickySessions"] = {"affinity": how.get("affinity", "none")}
    if "traffic" in how:
        ingress["traffic"] = how["traffic"]
    return {
        "configuration": {
            "activeRevisionsMode": how.get("mode", "Multiple"),
            "secrets": [{"name": "model-key", "value": SECRET}],
            "ingress": ingress,
        },
        "template": {
            "revisionSuffix": suffix,
            "terminationGracePeriodSeconds": how.get("grace", 30),
            "containers": [
                {
                    "name": "relay",
                    "image": how.get("image", "rehearsal.azurecr.io/rtproxy:1"),
                    "env": variables,
                    "probes": [alive, ready, *how.get("probes", ())],
                }
            ],
            "scale": {"minReplicas": 1, "maxReplicas": 5} | how.get("scale", {}),
        },
    }


def share(**weights: int) -> list[dict[str, Any]]:
    """``share(blue=90, green=10)`` as traffic."""
    return [{"revisionName": f"{NAME}--{suffix}", "weight": weight} for suffix, weight in weights.items()]


class Stage:
    """One environment, what it wrote, and callers of the app in it."""

    def __init__(self, environment: Environment, http: aiohttp.ClientSession, stream: io.BytesIO) -> None:
        self.environment = environment
        self.http = http
        self.stream = stream

    @property
    def timeline(self) -> Timeline:
        return self.environment.timeline

    async def app(self, *suffix: str, **how: Any) -> App:
        """The app, ready with one revision."""
        app = await self.environment.put(NAME, properties(*suffix, **how))
        await self.settled(app)
        return app

    async def settled(self, app: App) -> None:
        async with asyncio.timeout(DEADLINE_S):
            await app.settled()

    async def until(self, act: Any, **fields: Any) -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE_S):
            return await self.timeline.until(act, **fields)

    async def get(self, path: str = "/status", host: str = NAME) -> dict[str, Any] | int:
        """What answers at an address of the ingress, or the status when it is not 200."""
        url, headers = f"http://{self.environment.ingress}{path}", {"Host": f"{host}.{self.environment.domain}"}
        async with self.http.get(url, headers=headers) as answer:
            return dict(await answer.json()) if answer.status == 200 else answer.status

    async def revision(self, host: str = NAME) -> str | int:
        """The name of the revision that answers there, or the status of who answers instead."""
        answer = await self.get(host=host)
        return answer if isinstance(answer, int) else str(answer["revision"])

    async def serves(self, revision: str | int) -> bool:
        """Whether that one answers at the app's address; a status: whether somebody answers so instead."""
        return await self.revision() == revision

    async def call(self) -> aiohttp.ClientWebSocketResponse:
        """A call through the gateway that the model has greeted."""
        ws = await self.http.ws_connect(f"{self.environment.gateway_url}/v1/realtime")
        assert (await ws.receive_json(timeout=DEADLINE_S))["type"] == "session.created"
        return ws


StageFactory = Callable[..., Awaitable[Stage]]


@pytest.fixture
async def stage_for(tmp_path: Path) -> AsyncIterator[StageFactory]:
    """``await stage_for(single_mode_wait_s=1)``: an empty environment; fields of Unverified."""
    async with AsyncExitStack() as stack:
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        http = await stack.enter_async_context(
            aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        )

        async def start(**how: Any) -> Stage:
            stream = io.BytesIO()
            options = {name: how.pop(name) for name in ("gateway", "pull", "injected") if name in how}
            brisk = {"endpoint_removal_delay_s": 0.2, "single_mode_wait_s": 0.5, "weights_late_s": 0}
            unverified = Unverified(**(brisk | how))
            environment = Environment(tmp_path, Timeline(stream), unverified=unverified, timing=BRISK, **options)
            await stack.enter_async_context(environment)
            return Stage(environment, http, stream)

        yield start


async def eventually(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Asks until it holds: for what nothing announces."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            held = condition()
            if await held if isinstance(held, Awaitable) else held:
                return
            await asyncio.sleep(0.01)


def environ(pid: int) -> dict[str, str]:
    """What a process was started with."""
    return dict(each.split("=", 1) for each in Path(f"/proc/{pid}/environ").read_text().split("\0") if each)


def alive(pid: int) -> bool:
    """Whether the process is there, and more than a zombie."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
