"""The container registry's part of ARM, and the blobs through which az sends builds and reads their logs."""

import re
from typing import Any

from aiohttp import web

from stage.arm.body import read
from stage.arm.build import BuildFailed, build
from stage.arm.ids import REGISTRIES
from stage.arm.registry import DEFAULT_TAG, Registry, Run
from stage.arm.routes import ANY_GROUP, Route
from stage.arm.subscription import Subscription
from stage.platform import Rejected

REGISTRY = f"{ANY_GROUP}/providers/{REGISTRIES}/{{registry}}"
_BLOBS = "/blobs/builds"
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


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
    context = target.contexts.pop(str(asked.get("sourceLocation")), None)
    if context is None:
        raise Rejected("InvalidSourceLocation", "the stage builds from an uploaded directory only")
    run = _build(target, context, asked)
    return web.json_response(_run(run, "Queued"))


def _build(registry: Registry, context: bytes, asked: dict[str, Any]) -> Run:
    names = [str(name) for name in asked.get("imageNames") or ()]
    arguments = {str(each["name"]): str(each.get("value")) for each in asked.get("arguments") or ()}
    log: list[str] = []
    try:
        build(context, str(asked.get("dockerFilePath")), names, log, arguments)
    except BuildFailed as failure:
        return registry.record(False, [*log, str(failure)])
    if asked.get("isPushEnabled"):
        for name in names:
            repository, _, tag = name.partition(":")
            log.append(f"Successfully pushed image: {registry.add(repository, tag or DEFAULT_TAG)}")
    return registry.record(True, log)


async def run(subscription: Subscription, request: web.Request, group: str, registry: str, run: str) -> web.Response:
    found = _find(subscription, group, registry).run(run)
    return web.json_response(_run(found, "Succeeded" if found.succeeded else "Failed"))


async def log_url(
    subscription: Subscription, request: web.Request, group: str, registry: str, run: str
) -> web.Response:
    found = _find(subscription, group, registry).run(run)
    return web.json_response({"logLink": _blob(subscription, f"{found.id}.log")})


async def log(subscription: Subscription, request: web.Request, run: str) -> web.Response:
    """The blob as az follows it: its metadata tell how the run ended, its ranges are read one by one."""
    found = subscription.registry.run(run)
    headers = {
        "x-ms-meta-Complete": "successful" if found.succeeded else "failed",
        "x-ms-blob-type": "AppendBlob",
        "ETag": '"1"',
        "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
    }
    if request.method == "HEAD":
        return web.Response(body=found.log, headers=headers)
    asked = _RANGE.fullmatch(request.headers.get("x-ms-range", request.headers.get("Range", "")))
    first, last = (int(asked[1]), int(asked[2])) if asked else (0, len(found.log))
    part = found.log[first : last + 1]
    headers["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{len(found.log)}"
    return web.Response(status=206, body=part, headers=headers)


def _find(subscription: Subscription, group: str, name: str) -> Registry:
    subscription.found(group, REGISTRIES, name)
    return subscription.registry


def _run(run: Run, status: str) -> dict[str, Any]:
    return {"name": run.id, "properties": {"runId": run.id, "status": status, "provisioningState": "Succeeded"}}


def _blob(subscription: Subscription, name: str) -> str:
    return f"{subscription.operations.url}{_BLOBS}/{name}?sig=stage"


ROUTES: tuple[Route, ...] = (
    ("POST", f"{REGISTRY}/listBuildSourceUploadUrl", upload_url),
    ("PUT", f"{_BLOBS}/{{blob}}", upload),
    ("POST", f"{REGISTRY}/scheduleRun", schedule),
    ("GET", f"{REGISTRY}/runs/{{run}}", run),
    ("POST", f"{REGISTRY}/runs/{{run}}/listLogSasUrl", log_url),
    ("GET", f"{_BLOBS}/{{run}}.log", log),
    ("HEAD", f"{_BLOBS}/{{run}}.log", log),
)
