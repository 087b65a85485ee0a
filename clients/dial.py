"""The ways to a target: a caller's WebSocket, or a plain question. Each gives an answer, or a Refusal with cause."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal, Self

import aiohttp
import orjson
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from yarl import URL

from clients.observations import ms
from clients.target import Address, Target, dialled

Socket = aiohttp.ClientWebSocketResponse[Literal[False]]

# A relay dials its model before it answers; this leaves it time to answer 504 itself.
CONNECT_DEADLINE_S = 30

# The first that fits counts: the later are bases of the earlier.
CODES: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ClientConnectorDNSError, "unknown_host"),
    (aiohttp.ClientConnectorCertificateError, "certificate"),
    (aiohttp.ClientConnectorSSLError, "tls"),
    (aiohttp.ClientConnectorError, "unreachable"),
    (aiohttp.WSServerHandshakeError, "not_a_websocket"),
    (aiohttp.ClientResponseError, "not_http"),
    (TimeoutError, "timeout"),
    (aiohttp.ClientError, "connection_lost"),
    (OSError, "connection_lost"),
)

CURES: dict[int | str | None, str] = {
    "unknown_host": "check the host name",
    "certificate": "name its authority with --ca-file, or use --insecure for a stage",
    "tls": "check that the port speaks TLS; a plain one wants ws://",
    "connection_refused": "is it running, and is the port right?",
    "unreachable": "check the host, the port and the network between",
    "not_a_websocket": "check the path: something answered there that is no WebSocket",
    "not_a_relay": "check the URL: what answers there is no relay, or has none behind it",
    "not_http": "a port with TLS wants wss://",
    "timeout": "check the network between, and whether the relay can reach its model",
    "connection_lost": "a port with TLS wants wss://; else see the relay's log",
    400: "see the message; --model names the deployment",
    401: "give the key that the relay expects with --key or RTPROXY_KEY (see --key-header)",
    403: "the relay is there and refuses: check its allowed origins and networks",
    404: "check the path of the URL and --model",
    426: "something on the way removes the Upgrade header: let it pass WebSockets",
    429: "the model's quota is used up: fewer --connections, or wait",
    502: "the relay is up, its model is not: check the relay's endpoint and credentials",
    503: "draining, full, or no replica ready: try again, or fewer --connections",
    504: "the relay is up, its model does not answer: check the relay's endpoint",
    None: "see the message",
}


def printable(sent: str) -> str:
    """One line, whatever was sent: it is shown on terminals, and a header that is no UTF-8 fits no record."""
    return "".join(letter if letter.isprintable() else " " for letter in sent)


class Refusal(Exception):
    """No session, or no answer. `status` is None when no HTTP answer came; `code` is then one of CODES.

    Otherwise `code` is that of the answer's error envelope.
    """

    def __init__(self, status: int | None, code: str | None, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = None if code is None else printable(code)
        self.message = printable(message)
        self.retry_after_s = retry_after_s


def cause_and_cure(status: int | None, code: str | None, message: str) -> str:
    """For a target that gave no session at all."""
    answer = f"HTTP {status}: " if status else ""
    return f"{answer}{message}\n  cure: {CURES.get(status or code, CURES[None])}"


@dataclass(frozen=True, slots=True)
class Connection:
    socket: Socket
    connect_ms: float
    revision: str | None
    replica: str | None
    session: str | None


class Line:
    """One caller's connections. It keeps the cookies it was given, as a browser does, and shares them with no other.

    So session affinity acts on each call by itself, and a call that comes back is known to the balancer.
    """

    def __init__(self, target: Target, connector: aiohttp.TCPConnector) -> None:
        self._url, host, self._server_hostname = dialled(target.url, target.connect_to)
        self._http = aiohttp.ClientSession(
            connector=connector,
            connector_owner=False,
            headers=target.headers | host,
            cookie_jar=aiohttp.CookieJar(unsafe=True),  # "unsafe" admits hosts that are IP addresses
            middlewares=[self._look_at_answer],
            timeout=aiohttp.ClientTimeout(total=None),
        )
        self._answer: ClientResponse | None = None

    async def dial(self) -> Connection:
        """Raises Refusal. The socket does not answer pings or closes by itself: its reader sees them all."""
        began = time.monotonic()
        self._answer = None
        try:
            async with asyncio.timeout(CONNECT_DEADLINE_S):
                socket = await self._http.ws_connect(
                    self._url,
                    server_hostname=self._server_hostname,
                    autoping=False,
                    autoclose=False,
                    compress=0,
                    max_msg_size=0,
                    decode_text=False,
                )
        except TimeoutError:
            raise Refusal(None, "timeout", f"no answer in {CONNECT_DEADLINE_S} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise _from_exception(error) from error
        connect_ms = ms(time.monotonic() - began)
        revision, replica, session = (self._header(f"x-rtproxy-{name}") for name in ("revision", "replica", "session"))
        return Connection(socket, connect_ms, revision, replica, session)

    @property
    def revision(self) -> str | None:
        """Whose answer the last dial got, a session or a refusal; None: no relay's, or no answer."""
        return None if self._answer is None else self._header("x-rtproxy-revision")

    async def close(self) -> None:
        await self._http.close()

    def _header(self, name: str) -> str | None:
        assert self._answer is not None
        value = self._answer.headers.get(name)
        return None if value is None else printable(value)

    async def _look_at_answer(self, request: ClientRequest, send: ClientHandlerType) -> ClientResponse:
        """A middleware, as ws_connect itself shows neither the headers of a 101 nor the body of a refusal."""
        self._answer = await send(request)
        if self._answer.status != 101:
            raise _from_response(self._answer, await self._answer.read())
        return self._answer


class Questions:
    """GET requests for one URL. A balancer picks who answers, so each has a new connection and carries no cookie."""

    def __init__(self, url: URL, connect_to: Address | None, trust: ssl.SSLContext | bool, deadline_s: float) -> None:
        self._url, self._host, self._server_hostname = dialled(url, connect_to)
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True, ssl=trust),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=deadline_s),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._http.close()

    @asynccontextmanager
    async def ask(self) -> AsyncIterator[ClientResponse]:
        """The answer, whatever its status. Raises Refusal where none came."""
        try:
            async with self._http.get(
                self._url, headers=self._host, server_hostname=self._server_hostname, allow_redirects=False
            ) as response:
                yield response
        except (aiohttp.ClientError, OSError) as error:
            raise _from_exception(error) from error


def _from_exception(error: Exception) -> Refusal:
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, ConnectionRefusedError):
        return Refusal(None, "connection_refused", _words(error))
    code = next(code for kind, code in CODES if isinstance(error, kind))
    return Refusal(None, code, _words(error) or "the connection ended during the handshake")


def _words(error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return f"cannot trust {error.host}:{error.port}: {error.certificate_error}"
        case aiohttp.ClientConnectorError():
            return f"cannot connect to {error.host}:{error.port}: {error.os_error.strerror or error.os_error}"
        case aiohttp.ClientResponseError():
            return error.message
    return str(error)


def _from_response(response: ClientResponse, body: bytes) -> Refusal:
    """Reads OpenAI's error envelope; a body of another shape leaves `code` None and the status line as message."""
    try:
        error = orjson.loads(body)["error"]
        code, message = error.get("code"), error.get("message")
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        code = message = None
    # Of Retry-After the form in seconds only: relays do not use the HTTP date.
    after = response.headers.get("Retry-After")
    return Refusal(
        response.status,
        None if code is None else str(code),
        str(message or response.reason or "no reason given"),
        float(after) if after and after.isdecimal() else None,
    )
