"""One caller's way to the target: each dial is an open WebSocket or a Refusal."""

import asyncio
import time
from dataclasses import dataclass
from typing import Literal

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse

from clients import refusal
from clients.address import dialled
from clients.observations import ms
from clients.target import Target

Socket = aiohttp.ClientWebSocketResponse[Literal[False]]

# A relay dials its model before it answers; this leaves it time to say 504 itself.
CONNECT_DEADLINE_S = 30


@dataclass(frozen=True, slots=True)
class Connection:
    socket: Socket
    connect_ms: float
    revision: str | None
    replica: str | None
    session: str | None


class Line:
    """Keeps the cookies it was given, as a browser does, and shares them with no other line.

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
            raise refusal.Refusal(None, "timeout", f"no answer in {CONNECT_DEADLINE_S} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise refusal.from_exception(error) from error
        connect_ms = ms(time.monotonic() - began)
        revision, replica, session = (self._said(f"x-rtproxy-{name}") for name in ("revision", "replica", "session"))
        return Connection(socket, connect_ms, revision, replica, session)

    @property
    def revision(self) -> str | None:
        """Whose answer the last dial got, a session or a refusal; None: no relay's, or no answer."""
        return None if self._answer is None else self._said("x-rtproxy-revision")

    async def close(self) -> None:
        await self._http.close()

    def _said(self, name: str) -> str | None:
        assert self._answer is not None
        value = self._answer.headers.get(name)
        return None if value is None else refusal.printable(value)

    async def _look_at_answer(self, request: ClientRequest, send: ClientHandlerType) -> ClientResponse:
        """A middleware, as ws_connect itself shows neither the headers of a 101 nor the body of a refusal."""
        self._answer = await send(request)
        if self._answer.status != 101:
            raise refusal.from_response(self._answer, await self._answer.read())
        return self._answer
