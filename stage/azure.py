"""The whole stage: a model, the platform with one app on it, and the ARM endpoint, up and down together."""

import os
import resource
import secrets
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from aiohttp import web

from stage import seed
from stage.arm import Arm, Registry
from stage.identity import PATH as IDENTITY_PATH
from stage.identity import Directory
from stage.identity import make_app as make_identity
from stage.model import Model
from stage.platform import Environment, Gateway
from stage.seed import Seed
from stage.timeline import Timeline

RESOURCE_GROUP = "rehearsal"


class Stage:
    """Azure's parts on loopback, from ``async with`` to its end. Everything they write is under ``out``.

    ``environ`` is what a shell, a play or a hold needs to work against it; its secrets die with the stage.
    """

    def __init__(
        self,
        out: Path,
        app_seed: Seed,
        *,
        gateway: Gateway | None = None,
        model_options: tuple[str, ...] = (),
    ) -> None:
        self.out = out
        self._seed = app_seed
        self._gateway = gateway or Gateway()
        self._model_options = model_options
        self._model_key = secrets.token_urlsafe(24)
        self._client_key = secrets.token_urlsafe(24)
        self._stack = AsyncExitStack()
        self.timeline: Timeline
        self.environment: Environment
        self.environ: dict[str, str]

    async def __aenter__(self) -> Self:
        """Returns when the app is ready. Raises what its parts raise when they cannot start."""
        # Four sockets a call in Envoy alone: the soft limit of 1024 would end at 250 calls. Children inherit it.
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        async with AsyncExitStack() as stack:
            self.out.mkdir(parents=True, exist_ok=True)
            registry = Registry()
            self.timeline = Timeline(stack.enter_context((self.out / "timeline.jsonl").open("wb")))
            model_url = await self._model_in(stack, *self._model_options)
            self.environment = await stack.enter_async_context(
                Environment(
                    self.out,
                    self.timeline,
                    gateway=self._gateway,
                    pull=registry.has,
                    injected=await _no_identity(stack),
                )
            )
            arm = await stack.enter_async_context(Arm(self.environment, self.out, registry=registry))
            image = registry.add(seed.APP, seed.SUFFIX)
            app = await self.environment.put(
                seed.APP, seed.properties(self._seed, image, model_url, self._model_key, self._client_key)
            )
            await app.settled()
            self.environ = {
                **arm.environ,
                "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))),
                "STAGE_GATEWAY_URL": self.environment.gateway_url,
                "STAGE_INGRESS": self.environment.ingress,
                "RTPROXY_KEY": self._client_key,
            }
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._stack.aclose()

    async def another_model(self, *options: str) -> str:
        """Starts one more simulated model, which takes the same key; its URL. It ends with the stage."""
        return await self._model_in(self._stack, *options)

    async def _model_in(self, stack: AsyncExitStack, *options: str) -> str:
        model = await Model.start(self._model_key, *options)
        stack.push_async_callback(model.stop)
        return model.url


async def _no_identity(stack: AsyncExitStack) -> dict[str, str]:
    """The token endpoint an app finds beside it; this app has no identity, so it is refused, as on the platform.

    Without it a relay that has no key would look for the metadata service of a virtual machine.
    """
    refusal = (400, '{"statusCode": 400, "message": "No managed identity is assigned to this app."}')
    runner = web.AppRunner(make_identity(Directory(refusal=refusal)), access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    return {"IDENTITY_ENDPOINT": f"http://127.0.0.1:{port}{IDENTITY_PATH}", "IDENTITY_HEADER": secrets.token_hex(16)}
