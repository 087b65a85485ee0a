"""The container registry's part of ARM, and the blobs through which az sends builds and reads their logs."""

import asyncio
import json
import re
from typing import Any

from aiohttp import web

from stage.arm.body import read
from stage.arm.build import BuildFailed, build
from stage.arm.ids import REGISTRIES, SUBSCRIPTION
from stage.arm.registry import DEFAULT_TAG, Registry, Run
from stage.arm.routes import ANY_GROUP, Route
from stage.arm.subscription import Subscription
from stage.platform import Rejected

REGISTRY = f"{ANY_GROUP}/providers/{REGISTRIES}/{{registry}}"
_BLOBS = "/blobs/builds"
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")
_HUB = "docker.io"
_LIMIT = "You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit"
# Whoever asks at once is told that a build is not over.
_BUILD_S = 0.2


async def upload_url(subscription: Subscription, request: web.Request, group: str, registry: str) -> web.Response:
    name = _find(subscription, group, registry).new_context()
    return web.json_response({"uploadUrl": _blob(subscription, name), "relativePath": name})


async def upload(subscription: Subscription, request: web.Request, blob: str) -> web.Response:
    if request.query.get("comp"):
        raise Rejected("RequestBodyTooLarge", "the stage takes build contexts of up to 64 MiB; see .dockerignore")
    if blob not in subscription.registry.contexts:
        raise Rejected("BlobNotFound", "there is no such upload", 404)
    subscription.registry.contexts[blob] = await request.read()
    return web.Response(status=201)


async def schedule(subscription: Subscription, request: web.Request, group: str, registry: str) -> web.Response:
    target, asked = _find(subscription, group, registry), await read(request)
    if asked.get("type") != "DockerBuildRequest":
        raise Rejected("NotOnTheStage", f"the stage runs DockerBuildRequest only, not {asked.get('type')}")
    if subscription.faults.refuses("tasks"):
        what = f"ACR Tasks requests for the registry {registry} and {SUBSCRIPTION} are not permitted. "
        what += "Please file an Azure support request at http://aka.ms/azuresupport for assistance."
        raise Rejected("TasksOperationsNotAllowed", what)
    context = target.contexts.get(str(asked.get("sourceLocation")))
    if context is None:
        raise Rejected("InvalidSourceLocation", "the stage builds from an uploaded directory only")
    run = target.new_run()
    subscription.operations.start(_build(subscription, run, context, asked))
    return web.json_response(_run(run))


async def _build(subscription: Subscription, run: Run, context: bytes, asked: dict[str, Any]) -> None:
    run.status = "Running"
    await asyncio.sleep(_BUILD_S)
    registry = subscription.registry
    names = [str(name) for name in asked.get("imageNames") or ()]
    arguments = {str(each["name"]): str(each.get("value")) for each in asked.get("arguments") or ()}
    log: list[str] = []

    def refused(base: str) -> str:
        if _host(base) == _HUB and subscription.faults.refuses("docker-hub"):
            return f"toomanyrequests: {_LIMIT}"
        return "" if registry.has(base) else f"manifest for {base} not found: manifest unknown"

    try:
        build(context, str(asked.get("dockerFilePath")), names, log, arguments, refused)
    except BuildFailed as failure:
        run.end("Failed", [*log, str(failure)])
        return
    if asked.get("isPushEnabled"):
        for name in names:
            repository, _, tag = name.partition(":")
            log.append(f"Successfully pushed image: {registry.add(repository, tag or DEFAULT_TAG)}")
    run.end("Succeeded", log)


def _host(image: str) -> str:
    """The registry of an image, as a reader of the name finds it."""
    first, slash, _ = image.partition("/")
    return first if slash and (set(".:") & set(first) or first == "localhost") else _HUB


async def import_image(subscription: Subscription, request: web.Request, group: str, registry: str) -> web.Response:
    """A copy of an image of another registry. Docker Hub counts who asks without a login by the address."""
    target, asked = _find(subscription, group, registry), await read(request)
    source = asked.get("source") or {}
    image, host = str(source.get("sourceImage")), str(source.get("registryUri"))
    tags = [str(each) for each in asked.get("targetTags") or ()]
    if not image or not tags or (":" in image.partition("@")[0] and "@" in image):
        raise Rejected("InvalidImportSource", f"'{image}' is no name with a tag or with a digest.")

    async def work() -> None:
        limited = host == _HUB and not source.get("credentials") and subscription.faults.refuses("docker-hub")
        if limited:
            errors = json.dumps({"errors": [{"code": "TOOMANYREQUESTS", "message": _LIMIT}]})
            where = subscription.found(group, REGISTRIES, registry).id
            raise Rejected("ImportImageFailed", f"Operation failed. Resource {where} Too Many Requests {errors}")
        for each in tags:
            repository, _, tag = each.partition(":")
            if (tag or DEFAULT_TAG) in target.tags.get(repository, ()) and asked.get("mode") != "Force":
                raise Rejected("ImportImageFailed", f"Tag {each} already exists in target registry.", 409)
            target.add(repository, tag or DEFAULT_TAG, image.partition("@")[2])

    operation = subscription.operations.start(work())
    return web.Response(status=202, headers=subscription.operations.location(operation))


async def run(subscription: Subscription, request: web.Request, group: str, registry: str, run: str) -> web.Response:
    found = _find(subscription, group, registry).run(run)
    return web.json_response(_run(found))


async def runs(subscription: Subscription, request: web.Request, group: str, registry: str) -> web.Response:
    """The newest first."""
    found = [*_find(subscription, group, registry).runs.values()][::-1]
    return web.json_response({"value": [_run(each) for each in found[: int(request.query.get("$top", "50"))]]})


async def log_url(
    subscription: Subscription, request: web.Request, group: str, registry: str, run: str
) -> web.Response:
    found = _find(subscription, group, registry).run(run)
    return web.json_response({"logLink": _blob(subscription, f"{found.id}.log")})


async def log(subscription: Subscription, request: web.Request, run: str) -> web.Response:
    """The blob as az follows it: its metadata tell how the run ended, its ranges are read one by one."""
    found = subscription.registry.run(run)
    headers = {
        "x-ms-blob-type": "AppendBlob",
        "ETag": '"1"',
        "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
    }
    if found.over:
        headers["x-ms-meta-Complete"] = "successful" if found.status == "Succeeded" else "failed"
    if request.method == "HEAD":
        # aiohttp leaves it out where it is 0, and az then compares with nothing.
        return web.Response(headers=headers | {"Content-Length": str(len(found.log))})
    asked = _RANGE.fullmatch(request.headers.get("x-ms-range", request.headers.get("Range", "")))
    first, last = (int(asked[1]), int(asked[2])) if asked else (0, len(found.log))
    part = found.log[first : last + 1]
    headers["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{len(found.log)}"
    return web.Response(status=206, body=part, headers=headers)


def _find(subscription: Subscription, group: str, name: str) -> Registry:
    subscription.found(group, REGISTRIES, name)
    return subscription.registry


def _run(run: Run) -> dict[str, Any]:
    return {"name": run.id, "properties": {"runId": run.id, "status": run.status, "provisioningState": "Succeeded"}}


def _blob(subscription: Subscription, name: str) -> str:
    return f"{subscription.operations.url}{_BLOBS}/{name}?sig=stage"


ROUTES: tuple[Route, ...] = (
    ("POST", f"{REGISTRY}/listBuildSourceUploadUrl", upload_url),
    ("PUT", f"{_BLOBS}/{{blob}}", upload),
    ("POST", f"{REGISTRY}/scheduleRun", schedule),
    ("POST", f"{REGISTRY}/importImage", import_image),
    ("GET", f"{REGISTRY}/runs", runs),
    ("GET", f"{REGISTRY}/runs/{{run}}", run),
    ("POST", f"{REGISTRY}/runs/{{run}}/listLogSasUrl", log_url),
    ("GET", f"{_BLOBS}/{{run}}.log", log),
    ("HEAD", f"{_BLOBS}/{{run}}.log", log),
)
