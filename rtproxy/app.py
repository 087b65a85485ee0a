"""The routes, and the wiring of the parts."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from aiohttp import hdrs, web

from rtproxy import __version__
from rtproxy.call.heartbeat import Wheel
from rtproxy.call.leg import Runtime
from rtproxy.call.patience import Times
from rtproxy.call.room import Room, memory
from rtproxy.call.roster import Roster
from rtproxy.call.session import Session, Shared
from rtproxy.call.trace import untraced
from rtproxy.carry import ADMISSION, LOG, ROSTER, SHARED, TRACING, UPSTREAM, carry, refusal_response
from rtproxy.door.admission import Admission, Door
from rtproxy.door.answers import REFUSE
from rtproxy.door.strangers import STRANGERS, Strangers
from rtproxy.log import Log
from rtproxy.model.identity import Identity, TokenTimes
from rtproxy.model.upstream import DialTimes, Upstream
from rtproxy.refusal import Refused
from rtproxy.settings import Settings, not_taken
from rtproxy.watch.metrics import Metrics
from rtproxy.wire.credit import Allowance
from rtproxy.wire.poller import Poller

CALL_ROUTES = ("/ws", "/v1/realtime", "/openai/v1/realtime", "/openai/realtime")
"""With these paths an OpenAI SDK, of the GA or of the preview protocol, needs only a new base URL."""
Lifespan = Callable[[web.Application], AsyncIterator[None]]
"""A part of the application that exists from its start to its end (aiohttp's cleanup contexts)."""
TELEMETRY = web.AppKey("telemetry", str)
"""``on``, ``off``, or ``missing``: an endpoint is set, but the extra rtproxy[telemetry] is not installed."""


class Tuning(NamedTuple):
    """Limits that are no settings, because no deployment needs other values. Tests pass in shorter ones."""

    times: Times = Times()
    allowance: Allowance = Allowance()
    dial: DialTimes = DialTimes()
    tokens: TokenTimes = TokenTimes()


DEFAULT_TUNING = Tuning()


def make_app(settings: Settings, log: Log, tuning: Tuning = DEFAULT_TUNING) -> web.Application:
    """The relay as an aiohttp application. It runs on one uvloop, and has no global state."""
    roster = Roster()
    admission = Admission(settings, roster)
    metrics = Metrics(roster, lambda: admission.draining, log)
    identity = None
    if settings.api_key is None:

        def no_token(error: str) -> None:
            log("upstream.failed", cause="token", error=error)

        identity = Identity(settings.token_scope, no_token, tuning.tokens)
    started = time.monotonic()
    identity_headers = {
        hdrs.SERVER: "rtproxy",
        "x-rtproxy-revision": settings.revision,
        "x-rtproxy-replica": settings.replica,
    }

    async def healthz(request: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "revision": settings.revision, "replica": settings.replica})

    async def readyz(request: web.Request) -> web.Response:
        state = "draining" if admission.draining else Door.OPEN.value
        if identity is not None and not identity.ready:
            state = "no token for the model"
        if admission.issuer is not None and not admission.issuer.ready:
            state = "no keys of the issuer of tokens"
        return web.json_response({"status": state}, status=200 if state == Door.OPEN.value else 503)

    async def status(request: web.Request) -> web.Response:
        quiet = await metrics.quiet()
        return web.json_response(
            {
                "version": __version__,
                "revision": settings.revision,
                "replica": settings.replica,
                "sessions": len(roster),
                "quiet": quiet,
                "oldest_s": round(roster.oldest_s, 3),
                "draining": admission.draining,
                "uptime_s": round(time.monotonic() - started, 3),
            }
        )

    async def exposition(request: web.Request) -> web.Response:
        return web.Response(body=await metrics.exposition(), headers={hdrs.CONTENT_TYPE: "text/plain; version=0.0.4"})

    async def identify(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(identity_headers)

    def refuse(refusal: Refused) -> web.Response:
        response = refusal_response(roster, log, refusal)
        response.headers.update(identity_headers)  # `identify` is not called for what is not HTTP
        return response

    app = web.Application()
    app[LOG], app[ROSTER], app[ADMISSION] = log, roster, admission
    app[STRANGERS], app[REFUSE] = Strangers(roster), refuse
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/status", status)
    app.router.add_get("/metrics", exposition)
    for route in CALL_ROUTES:
        for path in (route, f"{route}/"):  # base URLs are used with and without a slash at the end
            app.router.add_get(path, carry, allow_head=False)
    app.on_response_prepare.append(identify)
    app.cleanup_ctx.append(_shared(settings, roster, log, tuning))
    app.cleanup_ctx.append(_telemetry(settings, metrics))
    app.cleanup_ctx.append(_upstream(settings, identity, tuning.dial))
    app.cleanup_ctx.append(_admitting)
    return app


def _shared(settings: Settings, roster: Roster, log: Log, tuning: Tuning) -> Lifespan:
    async def shared(app: web.Application) -> AsyncIterator[None]:
        poller, wheel = Poller(), Wheel(settings.heartbeat_s, tuning.times.stall_s)
        runtime = Runtime(poller, wheel, asyncio.get_running_loop(), tuning.times, tuning.allowance)
        app[SHARED] = Shared(roster, log, runtime, Room(memory()), settings.client_events, settings.max_call_s)
        turning = asyncio.create_task(wheel.run())
        yield
        turning.cancel()
        poller.close()

    return shared


async def _admitting(app: web.Application) -> AsyncIterator[None]:
    async def revoke(revoked: set[str]) -> None:
        def revoke_session(session: Session) -> None:
            if session.client in revoked:
                session.revoke()

        await app[ROSTER].for_each(revoke_session)

    admission = app[ADMISSION]
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(admission.keys.watched(revoke))
        if admission.issuer is not None:
            await stack.enter_async_context(admission.issuer.kept_fresh())
        yield


def _telemetry(settings: Settings, metrics: Metrics) -> Lifespan:
    async def telemetry(app: web.Application) -> AsyncIterator[None]:
        app[TELEMETRY] = "on" if settings.telemetry else "off"
        app[TRACING] = untraced
        async with contextlib.AsyncExitStack() as stack:
            if settings.telemetry:
                try:
                    from rtproxy.watch.telemetry import exporting
                except ModuleNotFoundError:
                    # The platform sets its agent's endpoint for every app, which is no reason not to start.
                    app[TELEMETRY] = "missing"
                except ValueError as problem:  # it reads some of its variables on import
                    raise not_taken(problem) from problem
                else:
                    app[TRACING] = await stack.enter_async_context(exporting(settings, metrics))
            yield

    return telemetry


def _upstream(settings: Settings, identity: Identity | None, times: DialTimes) -> Lifespan:
    async def dialling(app: web.Application) -> AsyncIterator[None]:
        app[UPSTREAM] = Upstream(settings, identity, times)
        if identity is None:
            yield
        else:
            async with identity.kept_fresh():
                yield

    return dialling
