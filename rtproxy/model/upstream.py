"""The model's address, the relay's credential for it, and the dial. A failed dial is an HTTP status for the client."""

import asyncio
import base64
import contextlib
import os
import re
import ssl
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import orjson
from aiohttp import hdrs
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from rtproxy import __version__
from rtproxy.model.dial import Answer, Connection, ProxyFailed, no_descriptor_is_left
from rtproxy.model.identity import Identity, NoToken, Token
from rtproxy.refusal import Refused, full
from rtproxy.settings import Settings
from rtproxy.upgrade import accept_of, has_upgrade
from rtproxy.wire.frames import close_frame
from rtproxy.wire.takeover import DetachedSocket
from rtproxy.wire.tls import client_context

CODE_CHARACTERS = 64
RETRY_AFTER_MS = "retry-after-ms"
_REQUEST_ID_HEADERS = ("apim-request-id", "x-request-id")
_CODE = re.compile(r"[A-Za-z0-9_.:-]+")
_SECONDS = re.compile(r"[0-9]{1,10}")
_MILLISECONDS = re.compile(r"[0-9]{1,10}(\.[0-9]{1,3})?")
_DATE, _DATE_CHARACTERS = "%a, %d %b %Y %H:%M:%S GMT", 29

FAILURE_CAUSES = ("refused", "unreachable", "timeout", "token", "descriptors", "proxy")


class DialTimes(NamedTuple):
    """Time limits, in seconds; tests hand in shorter ones."""

    dial_s: float = 10.0
    """For the name, TCP, TLS and the model's 101. The caller hears nothing for this long."""
    reason_s: float = 1.0
    """After a refusal, for its body."""


class Dialed(NamedTuple):
    """A connection to the model after its 101. ``early``: bytes that came behind the 101."""

    connection: Connection
    early: bytes
    subprotocol: str | None
    request_id: str | None
    dial_ms: float

    def detach(self) -> DetachedSocket:
        """The socket, for a leg."""
        return self.connection.detach(self.early)

    def hang_up(self) -> int:
        """Closes a connection that no client uses. Returns the close code that was sent to the model."""
        code = 1001
        self.connection.close(close_frame(code, "client went away", masked=True))
        return code


class DialFailed(Refused):
    """The model did not accept the call. ``cause`` is one of FAILURE_CAUSES.

    ``wait_s``: how long a busy model wants the client to wait.
    """

    def __init__(
        self,
        status: int,
        cause: str,
        message: str,
        *,
        upstream_status: int | None = None,
        upstream_error: str | None = None,
        request_id: str | None = None,
        retry_after: str | None = None,
        headers: Mapping[str, str] = {},
        wait_s: float | None = None,
    ) -> None:
        kind = "rate_limit_error" if status == 429 else "server_error"
        code = {429: "rate_limit_exceeded", 503: "at_capacity"}.get(status, f"upstream_{cause}")
        super().__init__(status, kind, code, message, retry_after=retry_after, headers=headers)
        self.cause = cause
        self.upstream_status = upstream_status
        self.upstream_error = upstream_error
        self.request_id = request_id
        self.wait_s = wait_s

    @property
    def by_the_model(self) -> bool:
        """Whether the model itself answered. A model that could not be reached has refused nothing."""
        return self.upstream_status is not None and self.cause != "proxy"


def realtime_url(settings: Settings) -> URL:
    """The GA URL, or the preview URL when an api-version is set. The query is added for each call."""
    return settings.endpoint / ("openai/v1/realtime" if settings.api_version is None else "openai/realtime")


class Upstream:
    """Dials the model.

    Dials may run at the same time. They share a TLS context, and the last TLS session, which the next dial resumes.
    """

    def __init__(self, settings: Settings, identity: Identity | None, times: DialTimes) -> None:
        self._times = times
        self._url = realtime_url(settings)
        self._proxy = settings.https_proxy.of(self._url)
        self._api_key = settings.api_key
        self._identity = identity
        self._tls = client_context()
        self._session: ssl.SSLSession | None = None

    async def dial(self, subprotocols: Sequence[str], query: Mapping[str, str], headers: Mapping[str, str]) -> Dialed:
        """Opens a WebSocket to the model, and offers ``subprotocols``; ``query`` and ``headers`` depend on the call.

        When the model refuses the token of an identity, it is dialed once more, with a token of the other scope. Raises
        DialFailed, within the sum of the two `DialTimes`.
        """
        deadline = asyncio.get_running_loop().time() + self._times.dial_s
        if self._identity is None:
            return await self._dial(deadline, subprotocols, query, headers, None)
        try:
            token = self._identity.token()
        except NoToken:
            raise DialFailed(502, "token", "The relay has no Entra ID token for the model.") from None
        try:
            dialed = await self._dial(deadline, subprotocols, query, headers, token)
        except DialFailed as refusal:
            alternative = await self._alternative_to(token, deadline) if refusal.upstream_status == 401 else None
            if alternative is None:
                raise
            token = alternative
            dialed = await self._dial(deadline, subprotocols, query, headers, token)
        self._identity.accepted(token)
        return dialed

    async def _alternative_to(self, refused: Token, deadline: float) -> Token | None:
        assert self._identity is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                return await self._identity.alternative_to(refused)
        return None

    async def _dial(
        self,
        deadline: float,
        subprotocols: Sequence[str],
        query: Mapping[str, str],
        headers: Mapping[str, str],
        token: Token | None,
    ) -> Dialed:
        started = time.monotonic()
        key = base64.b64encode(os.urandom(16)).decode()
        url = self._url % query
        headers = {**headers, **self._headers(key, subprotocols, token)}
        try:
            async with asyncio.timeout_at(deadline):
                connection = await Connection.open(url, self._tls, self._session, self._proxy)
                try:
                    answer = await connection.request(url, headers)
                except BaseException:
                    connection.close()
                    raise
        except TimeoutError:
            through = " through the proxy of HTTPS_PROXY" if self._proxy else ""
            text = f"The model did not answer within {self._times.dial_s:g} s{through}."
            raise DialFailed(504, "timeout", text) from None
        except (OSError, HttpProcessingError) as problem:
            if no_descriptor_is_left():
                refusal = full()
                raise DialFailed(
                    refusal.status, "descriptors", refusal.message, retry_after=refusal.retry_after
                ) from problem
            if isinstance(problem, ProxyFailed):
                text = f"The proxy of HTTPS_PROXY {problem}."
                raise DialFailed(502, "proxy", text, upstream_status=problem.status) from problem
            what = type(problem).__name__
            raise DialFailed(502, "unreachable", f"The model could not be reached ({what}).") from problem
        try:
            if not _is_sound(answer, key):
                reason = b"" if answer.status == 101 else await connection.refusal_body(answer, self._times.reason_s)
                raise _refused(answer, _error_code(reason, headers))
        except BaseException:
            connection.close()
            raise
        if connection.tls is not None and not connection.tls.resumed:
            self._session = connection.tls.session
        protocol = answer.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL)
        dial_ms = round((time.monotonic() - started) * 1000, 1)
        accepted = protocol if protocol in subprotocols else None
        return Dialed(connection, answer.early, accepted, _request_id(answer), dial_ms)

    def _headers(self, key: str, subprotocols: Sequence[str], token: Token | None) -> dict[str, str]:
        headers = {
            hdrs.CONNECTION: "Upgrade",
            hdrs.UPGRADE: "websocket",
            hdrs.SEC_WEBSOCKET_VERSION: "13",
            hdrs.SEC_WEBSOCKET_KEY: key,
            hdrs.USER_AGENT: f"rtproxy/{__version__}",
        }
        if subprotocols:
            headers[hdrs.SEC_WEBSOCKET_PROTOCOL] = ", ".join(subprotocols)
        if token is not None:
            return headers | token.header
        assert self._api_key is not None, "without an identity there is a key"
        return headers | {"api-key": self._api_key}


def _is_sound(answer: Answer, key: str) -> bool:
    return (
        answer.status == 101
        and has_upgrade(answer.headers)
        and answer.headers.get(hdrs.SEC_WEBSOCKET_ACCEPT) == accept_of(key)
        and answer.headers.get(hdrs.UPGRADE, "").lower() == "websocket"
        # An extension that the relay did not offer would change frames without the client's consent (RFC 6455 section
        # 4.1).
        and hdrs.SEC_WEBSOCKET_EXTENSIONS not in answer.headers
    )


def _refused(answer: Answer, error: str | None) -> DialFailed:
    request_id = _request_id(answer)
    # The client is sent the error only if it has the form of a code; any other text is only logged.
    why = [error] if error is not None and _CODE.fullmatch(error) else []
    why += [f"upstream request id {request_id}"] if request_id else []
    detail = f" ({', '.join(why)})" if why else ""
    busy = answer.status in (429, 503)
    again = _time_to_come_back(answer.headers.get(hdrs.RETRY_AFTER)) if busy else None
    again_ms = answer.headers.get(RETRY_AFTER_MS, "") if busy else ""
    if not _MILLISECONDS.fullmatch(again_ms):
        again_ms = ""
    if answer.status == 429:
        text = f"The model takes no more calls for now{detail}."
    elif answer.status == 101:
        text = f"The model refused the call: its handshake is not valid{detail}."
    elif 300 <= answer.status < 400:
        text = f"The model refused the call: HTTP {answer.status}, a redirect, which is not followed{detail}."
    elif answer.status in (404, 410):
        text = (
            f"The model refused the call: HTTP {answer.status}{detail}, no such deployment, or its model has retired."
        )
    else:
        text = f"The model refused the call: HTTP {answer.status}{detail}."
    return DialFailed(
        429 if answer.status == 429 else 502,
        "refused",
        text,
        upstream_status=answer.status,
        upstream_error=error,
        request_id=request_id,
        retry_after=answer.headers[hdrs.RETRY_AFTER] if again is not None else None,
        headers={RETRY_AFTER_MS: again_ms} if again_ms else {},
        # If both headers are there, the more precise one counts.
        wait_s=None if answer.status != 429 else float(again_ms) / 1000 if again_ms else again,
    )


def _error_code(body: bytes, headers: Mapping[str, str]) -> str | None:
    """The reason in a refusal's body (``error.code`` of Azure and OpenAI), cut and printable; never a credential."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    error = document.get("error", document) if isinstance(document, dict) else None
    found = [error.get(name) for name in ("code", "type", "statusCode")] if isinstance(error, dict) else [error]
    codes = [str(each) for each in found if isinstance(each, str | int) and not isinstance(each, bool) and each != ""]
    if isinstance(error, str) and not _CODE.fullmatch(error):
        return None  # a sentence, not a code
    secrets = (headers.get("api-key", ""), headers.get(hdrs.AUTHORIZATION, "").removeprefix("Bearer "))
    if not codes or any(secret and secret in codes[0] for secret in secrets):
        return None
    return "".join(each if each.isascii() and each.isprintable() else "?" for each in codes[0][:CODE_CHARACTERS])


def _request_id(answer: Answer) -> str | None:
    for name in _REQUEST_ID_HEADERS:
        if value := answer.headers.get(name):
            # Bytes that are not UTF-8 are surrogates here, which JSON cannot hold.
            text = value[:128].encode("ascii", "replace").decode()
            return "".join(each if each.isprintable() else "?" for each in text)
    return None


def _time_to_come_back(value: str | None) -> float | None:
    """The seconds of a Retry-After, which is delay-seconds or an HTTP-date (RFC 9110 section 10.2.3), or None."""
    if value is None or not value.isascii():
        return None
    if _SECONDS.fullmatch(value):
        return float(value)
    try:
        when = datetime.strptime(value, _DATE).replace(tzinfo=UTC)
    except ValueError:
        return None
    # strptime accepts other forms of a date (one digit, many blanks); only the one of RFC 9110 counts.
    return max(0.0, when.timestamp() - time.time()) if len(value) == _DATE_CHARACTERS else None
