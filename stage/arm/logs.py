"""Log streams: what replicas print, and what the platform does, as lines of JSON or text."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from stage.arm.ids import ENVIRONMENTS
from stage.arm.routes import ANY_GROUP, Route
from stage.arm.subscription import Subscription
from stage.platform import Rejected

_APP = f"{ANY_GROUP}/containerApps/{{app}}"
_ENVIRONMENT = f"{ANY_GROUP}/providers/{ENVIRONMENTS}/{{environment}}"
_DEFAULT_TAIL = "20"
# Files tell nobody that they grew.
_LOOK_AGAIN_S = 0.1

News = Callable[[], list[str]]
"""The lines since it was last asked."""


async def console(
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


async def system(subscription: Subscription, request: web.Request, group: str, app: str) -> web.StreamResponse:
    """What the platform did with the app."""
    _authorize(subscription, request)
    name = subscription.app(group, app).name
    return await _stream(request, _acts(subscription, name), lambda: name not in subscription.environment.apps)


async def environment(
    subscription: Subscription, request: web.Request, group: str, environment: str
) -> web.StreamResponse:
    """What the platform did at all."""
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
    """A file that somebody else appends lines to."""

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
    """The relay's own, where the line has one."""
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
    ("GET", f"{_APP}/revisions/{{revision}}/replicas/{{replica}}/containers/{{container}}/logstream", console),
    ("GET", f"{_APP}/eventstream", system),
    ("GET", f"{_ENVIRONMENT}/eventstream", environment),
)
