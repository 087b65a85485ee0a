"""The whole stage: a model, the platform with one app on it, and the ARM endpoint, started and stopped together."""

import os
import resource
import secrets
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from stage import bicep, seed
from stage.arm import Arm, Registry
from stage.arm.faults import Faults
from stage.identity import Assigned, beside, make_apps_endpoint
from stage.platform import Environment, Gateway, Unverified
from stage.platform.host import Program, relay
from stage.replica import Model
from stage.seed import Seed
from stage.timeline import Timeline

RESOURCE_GROUP = "rehearsal"
AUDIENCE = "https://cognitiveservices.azure.com"
"""What a model account takes the tokens for. Samples name https://ai.azure.com too; whether every account takes both is
not documented, so one here takes one."""
# Set, because a shell that has deployed to Azure has other values.
_STANDING = {"RTPROXY_APP": seed.APP, "RTPROXY_RESOURCE_GROUP": RESOURCE_GROUP, "RTPROXY_REGISTRY": "rehearsal"}


class Stage:
    """Azure's parts on loopback, from ``async with`` to its end. Everything they write is under ``out``.

    Without ``app_seed`` the subscription is empty: no resource group, no registry, no app, and a gateway that leads
    nowhere until one is deployed.
    Each simulated model keeps its own record there: ``model.jsonl``, the second ``model-2.jsonl``.
    ``audience`` is the one that the model's account takes tokens for.
    ``environ`` is what a shell, a play or a hold needs to work against it; its secrets die with the stage.
    """

    def __init__(
        self,
        out: Path,
        app_seed: Seed | None,
        *,
        gateway: Gateway | None = None,
        model_options: tuple[str, ...] = (),
        program: Program = relay,
        audience: str = AUDIENCE,
        unverified: Unverified = Unverified(),  # noqa: B008
    ) -> None:
        self.out = out
        self._seed = app_seed
        self._gateway = gateway or (Gateway() if app_seed else None)
        self._model_options = model_options
        self._program = program
        self._unverified = unverified
        self._models = 0
        self._model_key = secrets.token_urlsafe(24)
        self._identities = Assigned(model_token=secrets.token_urlsafe(24), audience=audience)
        self._client_key = secrets.token_urlsafe(24)
        self._leads: Callable[[str], str] = str
        self._stack = AsyncExitStack()
        self.timeline: Timeline
        self.environment: Environment
        self.faults: Faults
        """What can be made to go wrong with the control plane."""
        self.environ: dict[str, str]

    async def __aenter__(self) -> Self:
        """Returns when the app, if there is one, is ready. Raises what its parts raise when they cannot start."""
        # Four sockets a call in Envoy alone: the soft limit of 1024 would end at 250 calls. Children inherit it.
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        async with AsyncExitStack() as stack:
            self.out.mkdir(parents=True, exist_ok=True)
            registry = Registry()
            self.timeline = Timeline(stack.enter_context((self.out / "timeline.jsonl").open("wb")))
            deployments = self.out / "deployments"
            deployments.unlink(missing_ok=True)
            model_url = await self._model_in(stack, f"--deployments={deployments}", *self._model_options)
            self.environment = await stack.enter_async_context(
                Environment(
                    self.out,
                    self.timeline,
                    gateway=self._gateway,
                    pull=registry.has,
                    injected=await _identity(stack, self._identities),
                    program=self._program,
                    unverified=self._unverified,
                    leads=lambda url: self._leads(url),  # an ARM's, which is begun below
                )
            )
            arm = await stack.enter_async_context(
                Arm(
                    self.environment,
                    self.out,
                    registry=registry,
                    model_url=model_url,
                    deployments=deployments,
                    empty=self._seed is None,
                )
            )
            self._identities.is_assigned, self._identities.may_call_model = arm.is_assigned, arm.may_call_model
            self._leads = arm.leads
            self.faults = arm.faults
            if self._seed is not None:
                image = registry.add(seed.APP, seed.SUFFIX)
                app = await self.environment.put(
                    seed.APP, seed.properties(self._seed, image, model_url, self._model_key, self._client_key)
                )
                await app.settled()
                if app.latest_ready is None:
                    raise RuntimeError(f"the app did not become ready: {app.latest.provisioning_error}")
            self.environ = {
                **arm.environ,
                "PATH": os.pathsep.join((*_programs(self.out), os.environ.get("PATH", os.defpath))),
                "STAGE_GATEWAY_URL": self.environment.gateway_url,
                "STAGE_REVISIONS": self.environment.revisions,
                "STAGE_INGRESS": self.environment.ingress,
                "ROLLOUT_ADDRESSES": "127.0.0.1",
                "RTPROXY_KEY": self._client_key,
                "RTPROXY_CLIENT_KEYS": f"rehearsal:{self._client_key}",
                **({} if self.empty else _STANDING),
            }
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._stack.aclose()

    @property
    def empty(self) -> bool:
        """Whether there was nothing in it at the start."""
        return self._seed is None

    async def another_model(self, *options: str) -> str:
        """Starts one more simulated model, which takes the same key; its URL. It ends with the stage."""
        return await self._model_in(self._stack, *options)

    async def _model_in(self, stack: AsyncExitStack, *options: str) -> str:
        self._models += 1
        record = self.out / ("model.jsonl" if self._models == 1 else f"model-{self._models}.jsonl")
        # With "=", because a token may begin with a dash.
        given = (f"--token={self._identities.model_token}", f"--record={record}", *options)
        model = await Model.start(self._model_key, *given)
        stack.push_async_callback(model.stop)
        return model.url


def _programs(out: Path) -> tuple[str, str]:
    """The folders of az, of ansible, and of a bicep for az."""
    tools = out / "bin"
    tools.mkdir(exist_ok=True)
    bicep.install(tools)
    return str(tools), str(Path(sys.executable).parent)


async def _identity(stack: AsyncExitStack, identities: Assigned) -> dict[str, str]:
    """The token endpoint of every app. An app that has no identity is refused, as on the platform.

    Without it a relay that has no key would look for the metadata service of a virtual machine.
    """
    header = secrets.token_hex(16)
    return await stack.enter_async_context(beside(make_apps_endpoint(identities, header), header))
