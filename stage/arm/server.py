"""The ARM endpoint: https for ARM and the registry, http for tokens and log streams, both on loopback."""

import secrets
from contextlib import AsyncExitStack
from pathlib import Path
from ssl import SSLContext
from typing import Self

from aiohttp import web

from stage import identity
from stage.arm import (
    accounts,
    apps,
    deployments,
    groups,
    images,
    logs,
    names,
    outside,
    polling,
    profile,
    providers,
    regions,
    revisions,
    roles,
    tags,
    tls,
)
from stage.arm.faults import Faults
from stage.arm.registry import Registry
from stage.arm.routes import Route, Table
from stage.arm.subscription import Subscription
from stage.platform import Environment

# The context of an image build is uploaded in one request.
_LARGEST_UPLOAD = 512 << 20
_SHUTDOWN_TIMEOUT_S = 1.0


async def _inject(subscription: Subscription, request: web.Request) -> web.Response:
    return await subscription.faults.answer(request)


_ROUTES: tuple[Route, ...] = (
    *apps.ROUTES,
    *revisions.ROUTES,
    *groups.ROUTES,
    *deployments.ROUTES,
    *images.ROUTES,
    *tags.ROUTES,
    *logs.TOKEN_ROUTES,
    *polling.ROUTES,
    *accounts.ROUTES,
    *providers.ROUTES,
    *regions.ROUTES,
    ("POST", "/_stage/faults", _inject),
    *groups.REST,
)


class Arm:
    """Azure's control plane in front of ``environment``, as long as the ``async with`` lasts.

    ``model_url`` is where the endpoint of every model account leads. ``empty``: there is no resource group at first.
    ``deployments``: where that model reads their names.
    ``environ`` is what a shell needs so that a real az works here, and works nowhere else.
    """

    def __init__(
        self,
        environment: Environment,
        root: Path,
        *,
        registry: Registry,
        model_url: str = "http://127.0.0.1:9",
        deployments: Path | None = None,
        empty: bool = False,
    ) -> None:
        self.url = ""
        self.environ: dict[str, str] = {}
        self._root = root.resolve()  # az and the plays run in directories of their own
        self._subscription = Subscription(environment, registry, self._root / "timeline.jsonl", model_url, deployments)
        outside.attach(environment.outside, self._subscription, self._root)
        if not empty:
            self._subscription.furnish()
        self._directory = identity.Directory(header=secrets.token_urlsafe(16), token=secrets.token_urlsafe(16))
        self._stack = AsyncExitStack()

    @property
    def faults(self) -> Faults:
        """What can be made to go wrong."""
        return self._subscription.faults

    def is_assigned(self, client_id: str) -> bool:
        """Whether an app has the identity with that client id."""
        return roles.identity_of(self._subscription, client_id) is not None

    def leads(self, url: str) -> str:
        """Where a URL of Azure's leads on loopback; any other leads where it says."""
        return names.leads(self._subscription, url)

    def may_call_model(self, client_id: str) -> bool:
        """Whether that identity has the role that the model wants."""
        return roles.may_call_model(self._subscription, client_id)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._subscription.operations.stop)
            self._root.mkdir(parents=True, exist_ok=True)
            bundle, config = self._root / "ca.pem", self._root / "azure"
            self.url = await self._listen(stack, self._arm(), tls.server_context(bundle))
            http = await self._listen(stack, self._plain())
            self._subscription.operations.url = self.url
            self._subscription.registry.login_server = self.url.removeprefix("https://")
            self._subscription.streams = http
            profile.write(config, self.url)
            self.environ = {
                "AZURE_CONFIG_DIR": str(config),
                "REQUESTS_CA_BUNDLE": str(bundle),
                "IDENTITY_ENDPOINT": http + identity.PATH,
                "IDENTITY_HEADER": self._directory.header,
                # Both: where a shell has the one in small letters, it wins.
                "NO_PROXY": "127.0.0.1,localhost",
                "no_proxy": "127.0.0.1,localhost",
            }
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._stack.aclose()

    def _arm(self) -> web.Application:
        app = web.Application(client_max_size=_LARGEST_UPLOAD)
        app.router.add_route("*", "/{anything:.*}", Table(self._subscription, _ROUTES, self._directory.tokens).answer)
        return app

    def _plain(self) -> web.Application:
        app = identity.make_app(self._directory)
        app.router.add_route("*", "/{anything:.*}", Table(self._subscription, logs.STREAM_ROUTES).answer)
        return app

    async def _listen(self, stack: AsyncExitStack, app: web.Application, tls: SSLContext | None = None) -> str:
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_TIMEOUT_S)
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        return f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
