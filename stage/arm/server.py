"""The ARM endpoint: https for ARM and the registry, http for tokens and log streams, both on loopback.

az sends no credentials over plain http, so a CA of this start alone signs a certificate. The configuration directory
makes az logged in to the stage and to nothing else. A caller asks after an operation in either of ARM's two protocols.
"""

import json
import secrets
import ssl
from contextlib import AsyncExitStack, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from ssl import SSLContext
from typing import Any, Self

import trustme
from aiohttp import web

from stage import identity
from stage.arm import accounts, apps, catalog, deployments, images, inventory, roles
from stage.arm.faults import UNITS, Faults
from stage.arm.resources import APPS, REGISTRY_SUFFIX, SUBSCRIPTION, TENANT
from stage.arm.routes import Route, Table, read_body
from stage.arm.subscription import PACE, PATH, Registry, Subscription
from stage.platform import Environment, Rejected

CLOUD = "Rehearsal"
_CLOUDS = """\
[{cloud}]
endpoint_resource_manager = {url}
endpoint_active_directory = {url}
endpoint_active_directory_resource_id = https://management.rehearsal.localhost/
endpoint_log_analytics_resource_id = {url}/la
endpoint_microsoft_graph_resource_id = {url}/graph/
suffix_acr_login_server_endpoint = {registry_suffix}
suffix_keyvault_dns = .vault.localhost
suffix_storage_endpoint = storage.localhost
"""
# Without these az asks the Internet: for news of itself, for extensions, with telemetry.
_CONFIG = """\
[cloud]
name = {cloud}
[core]
collect_telemetry = no
only_show_errors = yes
no_color = yes
survey_message = no
[auto-upgrade]
enable = no
[extension]
use_dynamic_install = no
[bicep]
use_binary_from_path = true
check_version = false
[logging]
enable_log_file = no
"""
_PROFILE = {
    "installationId": "00000000-0000-0000-0000-000000000001",
    "subscriptions": [
        {
            "id": SUBSCRIPTION,
            "name": "rehearsal",
            "state": "Enabled",
            "isDefault": True,
            "tenantId": TENANT,
            "homeTenantId": TENANT,
            "environmentName": CLOUD,
            "managedByTenants": [],
            # A managed identity: no secret and no token is ever in this directory.
            "user": {
                "name": "systemAssignedIdentity",
                "type": "servicePrincipal",
                "assignedIdentityInfo": "MSI",
            },
        }
    ],
}
# The context of an image build is uploaded in one request.
_LARGEST_UPLOAD = 512 << 20
_SHUTDOWN_TIMEOUT_S = 1.0


def server_context(trusted: Path) -> ssl.SSLContext:
    """The server's TLS context for 127.0.0.1; ``trusted`` gets the one CA that clients are to trust.

    Not the usual ones beside it: az reads the file for each connection, and 150 certificates take half of its time.
    """
    authority = trustme.CA(organization_name="rtproxy stage")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(trusted))
    return context


def write_profile(directory: Path, url: str) -> None:
    """Fills ``directory``, which AZURE_CONFIG_DIR is to name, for the ARM endpoint at ``url``."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "clouds.config").write_text(_CLOUDS.format(cloud=CLOUD, url=url, registry_suffix=REGISTRY_SUFFIX))
    (directory / "config").write_text(_CONFIG.format(cloud=CLOUD))
    (directory / "azureProfile.json").write_text(json.dumps(_PROFILE))
    with suppress(PackageNotFoundError):  # without an az nothing reads this
        (directory / "versionCheck.json").write_text(json.dumps(_versions(version("azure-cli-core"))))


def _versions(installed: str) -> dict[str, Any]:
    # No setting keeps a new configuration directory from looking for a newer az on the Internet; having looked does.
    return {"versions": {"azure-cli": {"local": installed}, "core": {"local": installed}}}


async def status(subscription: Subscription, request: web.Request, operation: str, location: str) -> web.Response:
    found = subscription.operations.find(operation)
    document: dict[str, Any] = {
        "id": request.path,
        "name": found.name,
        "status": found.status,
        "startTime": found.started.isoformat(),
    }
    if found.error is not None:
        document["error"] = found.error
    if found.status == "Succeeded":
        document |= found.result
    return web.json_response(document, headers=PACE)


async def result(subscription: Subscription, request: web.Request, operation: str, location: str) -> web.Response:
    found = subscription.operations.find(operation)
    if found.status == "InProgress":
        return web.Response(status=202, headers=subscription.operations.location(found))
    if found.error is not None:
        return web.json_response({"error": found.error}, status=409)
    return web.json_response(found.result)


POLLING_ROUTES: tuple[Route, ...] = (
    ("GET", f"{PATH}/operationStatuses/{{operation}}", status),
    ("GET", f"{PATH}/operationResults/{{operation}}", result),
)


async def _inject(subscription: Subscription, request: web.Request) -> web.Response:
    """POST of {"fault": "fail", "message": ..., "type": ...}, "unregister" with "namespace", "hang" or "none".

    Or "give up", "unoffer" with the "category" of a log, "refuse" with "what", "quota" with the "units" there are,
    or "stumble" with the fields of `Unsteady`.
    """
    asked, faults = await read_body(request), subscription.faults
    match asked.get("fault"):
        case "fail":
            message = str(asked.get("message", "the stage was told to fail this"))
            faults.fail_next(message, str(asked.get("type", APPS)))
        case "unregister":
            faults.unregister(str(asked.get("namespace")))
        case "unoffer":
            faults.not_offered.add(str(asked.get("category")))
        case "quota":
            faults.quota = int(asked.get("units", UNITS))
        case "refuse":
            faults.refuse(str(asked.get("what")))
        case "stumble":
            faults.stumble(**{name: value for name, value in asked.items() if name != "fault"})
        case "hang":
            faults.hang()
        case "give up":
            faults.give_up()
        case "none":
            faults.clear()
        case other:
            known = "fail, unregister, unoffer, refuse, quota, stumble, hang, give up or none"
            raise Rejected("UnknownFault", f"fault is {other!r}; it must be {known}")
    return web.json_response({"fault": asked["fault"]})


_ROUTES: tuple[Route, ...] = (
    *apps.ROUTES,
    *apps.REVISION_ROUTES,
    *inventory.ROUTES,
    *deployments.ROUTES,
    *images.ROUTES,
    *images.TAG_ROUTES,
    *apps.TOKEN_ROUTES,
    *POLLING_ROUTES,
    *accounts.ROUTES,
    *catalog.PROVIDER_ROUTES,
    *catalog.REGION_ROUTES,
    ("POST", "/_stage/faults", _inject),
    *inventory.REST,
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
        roles.attach(environment.outside, self._subscription, self._root)
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
        """Where a URL of Azure's leads on loopback; any other URL stays."""
        return catalog.leads(self._subscription, url)

    def may_call_model(self, client_id: str) -> bool:
        """Whether that identity has the role that the model wants."""
        return roles.may_call_model(self._subscription, client_id)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._subscription.operations.stop)
            self._root.mkdir(parents=True, exist_ok=True)
            trusted, config = self._root / "ca.pem", self._root / "azure"
            self.url = await self._listen(stack, self._arm(), server_context(trusted))
            http = await self._listen(stack, self._plain())
            self._subscription.operations.url = self.url
            self._subscription.registry.login_server = self.url.removeprefix("https://")
            self._subscription.streams = http
            write_profile(config, self.url)
            self.environ = {
                "AZURE_CONFIG_DIR": str(config),
                "REQUESTS_CA_BUNDLE": str(trusted),
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
        app.router.add_route("*", "/{anything:.*}", Table(self._subscription, apps.STREAM_ROUTES).answer)
        return app

    async def _listen(self, stack: AsyncExitStack, app: web.Application, tls: SSLContext | None = None) -> str:
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_TIMEOUT_S)
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        return f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
