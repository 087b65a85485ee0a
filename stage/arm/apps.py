"""Container apps, their revisions and their log streams.

A change of an app is an operation that goes on until the new revision, if there is one, is ready or has failed. The
streams have what replicas print and what the platform does, as lines of JSON or text.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from stage.arm import documents, roles
from stage.arm.resources import APPS, ENVIRONMENTS
from stage.arm.routes import ANY_GROUP, ANY_SUBSCRIPTION, Route, read_body
from stage.arm.subscription import Operation, Subscription
from stage.platform import App, Rejected

APP = f"{ANY_GROUP}/providers/{APPS}/{{app}}"
_FIELDS = ("location", "tags", "identity")
# At least, for a write: on Azure it is seconds, in which the app takes no other.
_WRITE_S = 0.2
REVISION = f"{APP}/revisions/{{revision}}"
_APP = f"{ANY_GROUP}/containerApps/{{app}}"
_ENVIRONMENT = f"{ANY_GROUP}/providers/{ENVIRONMENTS}/{{environment}}"
_DEFAULT_TAIL = "20"
# A file does not report that it has grown.
_LOOK_AGAIN_S = 0.1
News = Callable[[], list[str]]
"""The lines since it was last asked."""


async def list_apps(subscription: Subscription, request: web.Request, group: str | None = None) -> web.Response:
    found = [documents.app(subscription, app) for app in subscription.apps(group)]
    return web.json_response({"value": found})


async def show_app(subscription: Subscription, request: web.Request, group: str, app: str) -> web.Response:
    return web.json_response(documents.app(subscription, subscription.app(group, app)))


async def put_app(subscription: Subscription, request: web.Request, group: str, app: str) -> web.Response:
    operation = await write(subscription, group, app, await read_body(request))
    document = documents.app(subscription, subscription.app(group, app)) if subscription.find(group, app) else {}
    return web.json_response(document, status=201, headers=subscription.operations.headers(operation))


async def patch_app(subscription: Subscription, request: web.Request, group: str, app: str) -> web.Response:
    body = await read_body(request)
    target = subscription.app(group, app)
    with subscription.operations.alone(target.name) as goes_on:
        if subscription.faults.pending:
            operation = goes_on(subscription.operations.start(subscription.faults.strike()))
        else:
            before = set(target.revisions)
            fields = documents.merge_patch(subscription.resource(target.name).fields, body)
            properties = documents.patched(body.get("properties") or {}, target.properties)
            roles.check_pull(subscription, fields, properties)
            roles.check_secrets(subscription, fields, properties)
            await _having(subscription, target.name, group, fields, target.update(properties))
            operation = goes_on(subscription.operations.start(_provisioned(target, before)))
    return web.Response(status=202, headers=subscription.operations.headers(operation))


async def delete_app(subscription: Subscription, request: web.Request, group: str, app: str) -> web.Response:
    target = subscription.find(group, app)
    if target is None:
        return web.Response(status=204)
    with subscription.operations.alone(target.name) as goes_on:
        operation = goes_on(subscription.operations.start(_deleted(subscription, target.name)))
    return web.Response(status=202, headers=subscription.operations.location(operation))


async def list_secrets(subscription: Subscription, request: web.Request, group: str, app: str) -> web.Response:
    secrets = subscription.app(group, app).properties.get("configuration", {}).get("secrets", [])
    return web.json_response({"value": secrets})


async def auth_token(subscription: Subscription, request: web.Request, group: str, app: str) -> web.Response:
    subscription.app(group, app)
    return web.json_response({"properties": {"token": subscription.stream_token}})


async def write(subscription: Subscription, group: str, name: str, body: dict[str, Any]) -> Operation:
    """Creates the app, or replaces all of it. Raises Rejected before anything has changed."""
    group = subscription.group(group)
    subscription.check_stays(group)
    asked = body.get("properties") or {}
    _check_environment(subscription, asked)
    current = subscription.find(group, name)
    name = current.name if current is not None else name
    with subscription.operations.alone(name) as goes_on:
        if subscription.faults.pending:
            return goes_on(subscription.operations.start(subscription.faults.strike()))
        before = set(current.revisions) if current is not None else ()
        properties = documents.created(asked, current.properties if current else {})
        roles.check_pull(subscription, body, properties)
        roles.check_secrets(subscription, body, properties)
        await _having(subscription, name, group, body, subscription.environment.put(name, properties))
        return goes_on(subscription.operations.start(_provisioned(subscription.environment.apps[name], before)))


async def _having(
    subscription: Subscription, app: str, group: str, body: dict[str, Any], change: Awaitable[object]
) -> None:
    """Makes the change of an app, which has its group and its identity while its replicas start."""
    resource = subscription.resource(app)
    before = (resource.group, resource.fields)
    resource.group = subscription.group(group)
    resource.fields = _fields(body)
    try:
        await change
    except Rejected:
        resource.group, resource.fields = before
        raise


def _fields(body: dict[str, Any]) -> dict[str, Any]:
    """The fields of a body that the platform does not use, without what Azure itself adds to an identity."""
    fields = {name: body[name] for name in _FIELDS if body.get(name) is not None}
    if assigned := fields.get("identity", {}).get("userAssignedIdentities"):
        fields["identity"] = {**fields["identity"], "userAssignedIdentities": {each: {} for each in assigned}}
    return fields


def _check_environment(subscription: Subscription, asked: dict[str, Any]) -> None:
    ours = subscription.environment_id()
    for name in ("managedEnvironmentId", "environmentId"):
        if str(asked.get(name) or ours).lower() != ours.lower():
            raise Rejected("InvalidManagedEnvironment", f"{name}: the stage has one environment: {ours}")


async def _provisioned(app: App, before: Collection[str]) -> None:
    """Returns when the revision that a change made, if any, is provisioned; old ones may still be ending."""
    await asyncio.sleep(_WRITE_S)
    made = [revision for name, revision in app.revisions.items() if name not in before]
    for revision in made:
        await revision.settled()
        if revision.provisioning_state == "Failed":
            why = revision.provisioning_error or "the revision did not become ready"
            what = f"Failed to provision revision '{revision.name}' for container app '{app.name}'"
            raise Rejected("ContainerAppOperationError", f"{what}. Error details: {why}", 409)


async def _deleted(subscription: Subscription, app: str) -> None:
    await subscription.environment.delete(app)
    subscription.forget(app)


ROUTES: tuple[Route, ...] = (
    ("GET", f"{ANY_SUBSCRIPTION}/providers/{APPS}", list_apps),
    ("GET", f"{ANY_GROUP}/providers/{APPS}", list_apps),
    ("GET", APP, show_app),
    ("PUT", APP, put_app),
    ("PATCH", APP, patch_app),
    ("DELETE", APP, delete_app),
    ("POST", f"{APP}/listSecrets", list_secrets),
    ("POST", f"{APP}/getAuthToken", auth_token),
)


async def list_revisions(subscription: Subscription, request: web.Request, group: str, app: str) -> web.Response:
    found = subscription.app(group, app)
    value = [documents.revision(subscription, found, revision) for revision in found.revisions.values()]
    return web.json_response({"value": value})


async def show_revision(
    subscription: Subscription, request: web.Request, group: str, app: str, revision: str
) -> web.Response:
    found = subscription.revision(group, app, revision)
    return web.json_response(documents.revision(subscription, subscription.app(group, app), found))


async def act(
    subscription: Subscription, request: web.Request, group: str, app: str, revision: str, verb: str
) -> web.Response:
    found = subscription.app(group, app)
    name = subscription.revision(group, app, revision).name
    with subscription.operations.alone(found.name) as goes_on:
        match verb.lower():
            case "activate":
                await found.activate(name)
                goes_on(subscription.operations.start(found.revisions[name].settled()))
            case "deactivate":
                await found.deactivate(name)
            case _:
                await found.restart(name)
    return web.json_response("Success")  # az reads any body


async def list_replicas(
    subscription: Subscription, request: web.Request, group: str, app: str, revision: str
) -> web.Response:
    found = subscription.revision(group, app, revision)
    if not found.lists_replicas:
        raise Rejected("ReplicasNotFound", f"No replica of revision '{revision}' was found.", 404)
    owner = subscription.app(group, app)
    value = [documents.replica(subscription, owner, found, replica) for replica in found.replicas]
    return web.json_response({"value": value})


async def show_replica(
    subscription: Subscription, request: web.Request, group: str, app: str, revision: str, replica: str
) -> web.Response:
    owner, found = subscription.app(group, app), subscription.revision(group, app, revision)
    for each in found.replicas:
        if each.name == replica:
            return web.json_response(documents.replica(subscription, owner, found, each))
    raise Rejected("ReplicaNotFound", f"Replica '{replica}' of revision '{revision}' was not found.", 404)


REVISION_ROUTES: tuple[Route, ...] = (
    ("GET", f"{APP}/revisions", list_revisions),
    ("GET", REVISION, show_revision),
    ("POST", f"{REVISION}/(?P<verb>activate|deactivate|restart)", act),
    ("GET", f"{REVISION}/replicas", list_replicas),
    ("GET", f"{REVISION}/replicas/{{replica}}", show_replica),
)


async def stream_console(
    subscription: Subscription, request: web.Request, group: str, app: str, revision: str, replica: str, container: str
) -> web.StreamResponse:
    """What one replica wrote to stdout and stderr."""
    _authorize(subscription, request)
    found = subscription.revision(group, app, revision)
    source = next((each for each in found.replicas if each.name == replica), None)
    if source is None:
        raise Rejected("ReplicaNotFound", f"Replica '{replica}' of revision '{revision}' was not found.", 404)
    output, errors = _Growing(source.log), _Growing(source.errors)
    draw = _as_json if request.query.get("output", "json") == "json" else _as_text

    def news() -> list[str]:
        return [draw(line) for line in output.new_lines() + errors.new_lines()]

    return await _stream(request, news, lambda: source not in found.replicas)


async def stream_app(subscription: Subscription, request: web.Request, group: str, app: str) -> web.StreamResponse:
    """What the platform did with the app."""
    _authorize(subscription, request)
    name = subscription.app(group, app).name
    return await _stream(request, _acts(subscription, name), lambda: name not in subscription.environment.apps)


async def stream_environment(
    subscription: Subscription, request: web.Request, group: str, environment: str
) -> web.StreamResponse:
    """What the platform did with all apps."""
    _authorize(subscription, request)
    return await _stream(request, _acts(subscription, None), lambda: False)


async def environment_token(
    subscription: Subscription, request: web.Request, group: str, environment: str
) -> web.Response:
    subscription.found(group, ENVIRONMENTS, environment)
    return web.json_response({"properties": {"token": subscription.stream_token}})


def _authorize(subscription: Subscription, request: web.Request) -> None:
    if request.headers.get("Authorization") != f"Bearer {subscription.stream_token}":
        raise Rejected("Unauthorized", "a log stream wants the token that getAuthToken gives", 401)


async def _stream(request: web.Request, news: News, over: Callable[[], bool]) -> web.StreamResponse:
    tail = int(request.query.get("tailLines", _DEFAULT_TAIL))
    follow = request.query.get("follow") == "true"
    response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
    await response.prepare(request)
    lines = news()
    lines = lines[len(lines) - tail :] if tail < len(lines) else lines
    while True:
        # Asked before the lines are read: what is written until it is over is read once more.
        last = not follow or over()
        try:
            await response.write("".join(f"{line}\n" for line in lines).encode())
        except ConnectionResetError:
            return response
        if last or request.transport is None:
            return response
        await asyncio.sleep(_LOOK_AGAIN_S)
        lines = news()


class _Growing:
    """A file to which another process appends lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new_lines(self) -> list[str]:
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        return whole.decode(errors="replace").splitlines()


def _as_json(line: str) -> str:
    return json.dumps({"TimeStamp": _time_of(line), "Log": line})


def _as_text(line: str) -> str:
    return f"{_time_of(line)} {line}"


def _time_of(line: str) -> str:
    """The time that the relay wrote into the line, or now."""
    try:
        return str(json.loads(line)["ts"])
    except (ValueError, TypeError, KeyError):
        return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _acts(subscription: Subscription, app: str | None) -> News:
    timeline = _Growing(subscription.timeline)

    def news() -> list[str]:
        acts = [json.loads(line) for line in timeline.new_lines()]
        return [json.dumps(_event(act)) for act in acts if app is None or _concerns(act, app)]

    return news


def _concerns(act: dict[str, Any], app: str) -> bool:
    return act.get("app") == app or str(act.get("revision", "")).startswith(f"{app}--")


def _event(act: dict[str, Any]) -> dict[str, Any]:
    told = {name: value for name, value in act.items() if name not in ("ts", "act", "app", "revision", "replica")}
    return {
        "TimeStamp": act["ts"],
        "Type": "Warning" if act["act"].endswith((".failed", ".unready", ".sigkill")) else "Normal",
        "ContainerAppName": act.get("app") or str(act.get("revision", "")).partition("--")[0] or None,
        "RevisionName": act.get("revision"),
        "ReplicaName": act.get("replica"),
        "Msg": " ".join([act["act"], *(f"{name}={value}" for name, value in told.items())]),
        "Reason": "".join(word.capitalize() for word in act["act"].split(".")),
        "EventSource": "ContainerAppController",
        "Count": 1,
    }


TOKEN_ROUTES: tuple[Route, ...] = (("POST", f"{_ENVIRONMENT}/getAuthToken", environment_token),)
STREAM_ROUTES: tuple[Route, ...] = (
    ("GET", f"{_APP}/revisions/{{revision}}/replicas/{{replica}}/containers/{{container}}/logstream", stream_console),
    ("GET", f"{_APP}/eventstream", stream_app),
    ("GET", f"{_ENVIRONMENT}/eventstream", stream_environment),
)
