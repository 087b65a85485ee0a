"""The way of a new call: admit it, dial the model, accept the client; or refuse it at one of these steps."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import cast

from aiohttp import web

from rtproxy.call.roster import Roster
from rtproxy.call.session import Session, Shared
from rtproxy.call.trace import Trace
from rtproxy.door.admission import Admission
from rtproxy.door.strangers import STRANGERS, Stranger
from rtproxy.log import Log
from rtproxy.model.upstream import DialFailed, Upstream
from rtproxy.refusal import Refused, defect, draining
from rtproxy.upgrade import path_of, subprotocols_of

LOG = web.AppKey("log", Log)
ROSTER = web.AppKey("roster", Roster)
ADMISSION = web.AppKey("admission", Admission)
UPSTREAM = web.AppKey("upstream", Upstream)
SHARED = web.AppKey("shared", Shared)
TRACING: web.AppKey[Callable[[web.Request], Trace]] = web.AppKey("tracing")


async def carry(request: web.Request) -> web.StreamResponse:
    """The handler of the WebSocket routes. It returns when the call is established, or with a refusal."""
    log, roster, admission = request.app[LOG], request.app[ROSTER], request.app[ADMISSION]
    try:
        admitted = await admission.admit(request)
    except Refused as refusal:
        return refusal_response(roster, log, refusal, path_of(request))
    except Exception:  # a defect ends this call and no other; the same below
        logging.getLogger("rtproxy").exception("an admission raised")
        return refusal_response(roster, log, defect(), path_of(request))
    trace = request.app[TRACING](request)
    client, parameters = admitted.client, admitted.parameters
    session = Session(client, request.app[SHARED], trace, partial(admission.give_back, admitted))
    roster.add(session)
    request.app[STRANGERS].admitted(cast(Stranger, request.protocol))
    try:
        headers = {**trace.headers, **parameters.headers}
        dialed = await request.app[UPSTREAM].dial(subprotocols_of(request), parameters.query, headers)
    except DialFailed as failure:
        session.not_established(failure)
        roster.dial_failures[failure.cause] += 1
        if failure.by_the_model:
            admission.model_refused(client, failure.wait_s)
        log(
            "upstream.failed",
            session=session.id,
            client=client,
            cause=failure.cause,
            status=failure.status,
            upstream_status=failure.upstream_status,
            upstream_error=failure.upstream_error,
            request_id=failure.request_id,
        )
        return failure.response()
    except Exception:  # as above
        logging.getLogger("rtproxy").exception("a dial raised")
        return _refuse_admitted(session, request, defect())
    except asyncio.CancelledError:
        session.not_established(draining())
        raise
    if session.closing:
        dialed.hang_up()
        return _refuse_admitted(session, request, session.closing_refusal())
    log(
        "upstream.connected",
        session=session.id,
        client=client,
        dial_ms=dialed.dial_ms,
        request_id=dialed.request_id,
    )
    trace.event("upstream.connected", dial_ms=dialed.dial_ms, request_id=dialed.request_id)
    try:
        return await session.accept(request, dialed)
    except Refused as refusal:
        return _refuse_admitted(session, request, refusal)


def _refuse_admitted(session: Session, request: web.Request, refusal: Refused) -> web.Response:
    """Refuses an admitted call for a reason of the relay itself: counts and logs it, and makes the response."""
    session.not_established(refusal)
    refusal.client = session.client
    return refusal_response(request.app[ROSTER], request.app[LOG], refusal, path_of(request))


def refusal_response(roster: Roster, log: Log, refusal: Refused, path: str | None = None) -> web.Response:
    """Counts and logs a refusal, and makes the response.

    ``path`` is one of the routes, never a path that a client chose.
    """
    roster.refusals[refusal.status, refusal.code] += 1
    log.refused(refusal.status, refusal.code, refusal.client, path)
    return refusal.response()
