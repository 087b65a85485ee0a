"""The container registry's part of ARM, the blobs through which az sends builds and reads their logs, and the tags.

An image is built without a builder: what a build would fail on before it ran anything is looked for in the context.
That is the Containerfile itself, the images that its FROM names with the arguments of the build, and the sources that
its COPY and ADD name, where a .dockerignore may hide them.
"""

import asyncio
import io
import json
import re
import shlex
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from aiohttp import web

from stage.arm.resources import REGISTRIES, SUBSCRIPTION
from stage.arm.routes import ANY_GROUP, Route, read_body
from stage.arm.subscription import DEFAULT_TAG, Registry, Run, Subscription
from stage.platform import Rejected

_CONTINUED = re.compile(r"\\\s*\n")
REGISTRY = f"{ANY_GROUP}/providers/{REGISTRIES}/{{registry}}"
_BLOBS = "/blobs/builds"
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")
_HUB = "docker.io"
_LIMIT = "You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit"
# A request right after the start finds the build running.
_BUILD_S = 0.2


class BuildFailed(Exception):
    """The last line of the log."""


def build(
    context: bytes,
    containerfile: str,
    images: Sequence[str],
    log: list[str],
    arguments: Mapping[str, str],
    refused: Callable[[str], str],
) -> None:
    """Appends to ``log`` what it does; raises BuildFailed.

    ``refused`` returns for each base that is not an earlier stage why it cannot be pulled, or an empty text.
    """
    log.append("Downloading source code...")
    try:
        with tarfile.open(fileobj=io.BytesIO(context)) as tar:
            names = {name.removeprefix("./").strip("/") for name in tar.getnames()}
            found = tar.extractfile(containerfile) if containerfile in names else None
            if found is None:
                raise BuildFailed(f"failed to read dockerfile: open {containerfile}: no such file or directory")
            text = found.read().decode(errors="replace")
    except tarfile.TarError as fault:
        raise BuildFailed(f"failed to download source code: {fault}") from None
    log.append("Finished downloading source code")
    steps = list(_instructions(text))
    if not any(word == "FROM" for word, _ in steps):
        raise BuildFailed("failed to parse dockerfile: no build stage in current context")
    known, stages = dict(_defaults(steps)) | dict(arguments), set[str]()
    for at, (word, rest) in enumerate(steps, 1):
        log.append(f"Step {at}/{len(steps)} : {word} {rest}")
        if word == "FROM":
            base, _, name = re.sub(r"\$\{?(\w+)\}?", lambda each: known.get(each[1], ""), rest).partition(" ")
            if not base:
                raise BuildFailed(f"base name ({rest.split()[0]}) should not be blank")
            if base not in stages and base != "scratch" and (why := refused(base)):
                raise BuildFailed(why)
            log.append(f" ---> {base}{', an earlier stage' if base in stages else ''}")
            stages.add(name.split()[-1] if name else base)
        if word in ("COPY", "ADD"):
            _check_sources(word, rest, names)
    declared = {rest.partition("=")[0] for word, rest in steps if word == "ARG"}
    if unused := sorted(set(arguments) - declared):
        log.append(f"[Warning] One or more build-args [{' '.join(unused)}] were not consumed")
    log += [f"Successfully tagged {image}" for image in images]


def _defaults(steps: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Of the arguments that stand before the first FROM, which are those that a FROM may name."""
    for word, rest in steps:
        if word == "FROM":
            return
        if word == "ARG":
            name, _, value = rest.partition("=")
            yield name, value.strip('"')


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in _CONTINUED.sub(" ", lines).splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word.upper(), rest.strip()


def _check_sources(word: str, rest: str, names: set[str]) -> None:
    words = shlex.split(rest)
    if any(each.startswith("--from=") for each in words) or rest.startswith(("[", "<<")):
        return
    for source in [each for each in words if not each.startswith("--")][:-1]:
        path = source.removeprefix("./").strip("/")
        known = path in ("", ".") or path in names or any(name.startswith(f"{path}/") for name in names)
        if not known and "://" not in source and not set(source) & set("*?[$"):
            raise BuildFailed(f"{word} failed: file not found in build context or excluded by .dockerignore: {source}")


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
    target, asked = _find(subscription, group, registry), await read_body(request)
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
    """The registry that the name of an image names."""
    first, slash, _ = image.partition("/")
    return first if slash and (set(".:") & set(first) or first == "localhost") else _HUB


async def import_image(subscription: Subscription, request: web.Request, group: str, registry: str) -> web.Response:
    """A copy of an image of another registry. Docker Hub counts requests without a login by address."""
    target, asked = _find(subscription, group, registry), await read_body(request)
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
    """The blob as az follows it: its metadata has the result of the run, its ranges are read one by one."""
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


async def challenge(subscription: Subscription, request: web.Request) -> web.Response:
    host = subscription.registry.login_server
    bearer = f'Bearer realm="https://{host}/oauth2/token",service="{host}"'
    return web.json_response({"errors": [{"code": "UNAUTHORIZED"}]}, status=401, headers={"WWW-Authenticate": bearer})


async def refresh_token(subscription: Subscription, request: web.Request) -> web.Response:
    return web.json_response({"refresh_token": subscription.stream_token})


async def access_token(subscription: Subscription, request: web.Request) -> web.Response:
    return web.json_response({"access_token": subscription.stream_token})


async def list_repositories(subscription: Subscription, request: web.Request) -> web.Response:
    return web.json_response({"repositories": sorted(subscription.registry.tags)})


async def list_tags(subscription: Subscription, request: web.Request, repository: str) -> web.Response:
    found = subscription.registry.tags.get(repository)
    if found is None:
        message = f"repository name not known to registry: {repository}"
        return web.json_response({"errors": [{"code": "NAME_UNKNOWN", "message": message}]}, status=404)
    return web.json_response({"imageName": repository, "tags": [{"name": tag} for tag in found]})


TAG_ROUTES: tuple[Route, ...] = (
    ("GET", "/v2", challenge),
    ("POST", "/oauth2/exchange", refresh_token),
    ("POST", "/oauth2/token", access_token),
    ("GET", "/v2/_catalog", list_repositories),
    ("GET", "/acr/v1/(?P<repository>\\S+)/_tags", list_tags),
)
