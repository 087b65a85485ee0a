"""The model side: where it is, who we are to it, and the dial. A failed dial is an HTTP status for the client."""

import asyncio
import base64
import os
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from aiohttp import hdrs
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from rtproxy import __version__
from rtproxy.dial import Answer, Connection
from rtproxy.frames import close_frame
from rtproxy.handover import Taken, accept_of, says_upgrade
from rtproxy.identity import Identity, NoToken
from rtproxy.kernel import no_descriptor_is_left
from rtproxy.refusal import Refused, full
from rtproxy.settings import Settings
from rtproxy.tls import client_context

DIAL_TIMEOUT_S = 10.0
"""Name, TCP, TLS and the model's 101; a caller hears silence for as long."""
_REQUEST_ID_HEADERS = ("apim-request-id", "x-request-id")


FAILURE_CAUSES = ("refused", "unreachable", "timeout", "token", "descriptors")


class Dialed(NamedTuple):
    """A leg to the model, its 101 read; ``early`` is what it said behind it."""

    connection: Connection
    early: bytes
    subprotocol: str | None
    request_id: str | None
    dial_ms: float

    def take_over(self) -> Taken:
        """The socket, for a leg."""
        return self.connection.taken(self.early)

    def hang_up(self) -> int:
        """Closes a leg that no client took over; returns the code that the model was given."""
        code = 1001
        self.connection.leave(close_frame(code, "client went away", masked=True))
        return code


class DialFailed(Refused):
    """The model did not take the call. ``cause`` is one of FAILURE_CAUSES."""

    def __init__(
        self,
        status: int,
        cause: str,
        message: str,
        *,
        upstream_status: int | None = None,
        request_id: str | None = None,
        retry_after: str | None = None,
    ) -> None:
        kind = "rate_limit_error" if status == 429 else "server_error"
        code = {429: "rate_limit_exceeded", 503: "at_capacity"}.get(status, f"upstream_{cause}")
        super().__init__(status, kind, code, message, retry_after=retry_after)
        self.cause = cause
        self.upstream_status = upstream_status
        self.request_id = request_id


def realtime_url(settings: Settings) -> URL:
    """The GA URL, or the preview URL when an api-version is set; without a query, which is the call's."""
    return settings.endpoint / ("openai/v1/realtime" if settings.api_version is None else "openai/realtime")


class Upstream:
    """Dials the model. Dials may run at once; they share a TLS context, and the last session to resume."""

    def __init__(self, settings: Settings, identity: Identity | None) -> None:
        self._url = realtime_url(settings)
        self._api_key = settings.api_key
        self._identity = identity
        self._tls = client_context()
        self._session: ssl.SSLSession | None = None

    async def dial(self, subprotocols: Sequence[str], query: Mapping[str, str], headers: Mapping[str, str]) -> Dialed:
        """Opens a WebSocket to the model, offering ``subprotocols``; ``query`` and ``headers`` are the call's own part.

        Raises DialFailed, in DIAL_TIMEOUT_S at most.
        """
        started = time.monotonic()
        key = base64.b64encode(os.urandom(16)).decode()
        url = self._url % query
        headers = {**headers, **self._headers(key, subprotocols)}
        try:
            async with asyncio.timeout(DIAL_TIMEOUT_S):
                connection = await Connection.open(url, self._tls, self._session)
                try:
                    answer = await connection.ask(url, headers)
                    _check(answer, key)
                except BaseException:
                    connection.leave()
                    raise
        except TimeoutError:
            raise DialFailed(504, "timeout", f"The model did not answer within {DIAL_TIMEOUT_S:g} s.") from None
        except (OSError, HttpProcessingError) as problem:
            if no_descriptor_is_left():
                told = full()
                raise DialFailed(told.status, "descriptors", told.message, retry_after=told.retry_after) from problem
            what = type(problem).__name__
            raise DialFailed(502, "unreachable", f"The model could not be reached ({what}).") from problem
        if connection.tls is not None and not connection.tls.resumed:
            self._session = connection.tls.session
        protocol = answer.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL)
        dial_ms = round((time.monotonic() - started) * 1000, 1)
        accepted = protocol if protocol in subprotocols else None
        return Dialed(connection, answer.early, accepted, _request_id(answer), dial_ms)

    def _headers(self, key: str, subprotocols: Sequence[str]) -> dict[str, str]:
        headers = {
            hdrs.CONNECTION: "Upgrade",
            hdrs.UPGRADE: "websocket",
            hdrs.SEC_WEBSOCKET_VERSION: "13",
            hdrs.SEC_WEBSOCKET_KEY: key,
            hdrs.USER_AGENT: f"rtproxy/{__version__}",
        }
        if subprotocols:
            headers[hdrs.SEC_WEBSOCKET_PROTOCOL] = ", ".join(subprotocols)
        if self._api_key is not None:
            return headers | {"api-key": self._api_key}
        assert self._identity is not None, "without a key there is an identity"
        try:
            return headers | self._identity.header()
        except NoToken:
            raise DialFailed(502, "token", "The relay has no Entra ID token for the model.") from None


def _check(answer: Answer, key: str) -> None:
    request_id = _request_id(answer)
    told = f" (upstream request id {request_id})" if request_id else ""
    if answer.status == 429:
        raise DialFailed(
            429,
            "refused",
            f"The model takes no more calls for now{told}.",
            upstream_status=429,
            request_id=request_id,
            retry_after=_retry_after(answer),
        )
    sound = (
        answer.status == 101
        and says_upgrade(answer.headers)
        and answer.headers.get(hdrs.SEC_WEBSOCKET_ACCEPT) == accept_of(key)
        and answer.headers.get(hdrs.UPGRADE, "").lower() == "websocket"
        # An extension we did not offer would put bits into frames that nobody agreed on (RFC 6455 section 4.1).
        and hdrs.SEC_WEBSOCKET_EXTENSIONS not in answer.headers
    )
    if not sound:
        what = f"HTTP {answer.status}" if answer.status != 101 else "an unsound handshake"
        raise DialFailed(
            502,
            "refused",
            f"The model refused the call: {what}{told}.",
            upstream_status=answer.status,
            request_id=request_id,
        )


def _request_id(answer: Answer) -> str | None:
    for name in _REQUEST_ID_HEADERS:
        if value := answer.headers.get(name):
            # Bytes that are no UTF-8 come as surrogates, which no JSON carries.
            return value[:128].encode("ascii", "replace").decode()
    return None


def _retry_after(answer: Answer) -> str | None:
    value = answer.headers.get(hdrs.RETRY_AFTER, "")
    return value if value and len(value) <= 40 else None
