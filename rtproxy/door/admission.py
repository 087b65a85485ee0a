"""Decides before the 101 who may come in. A refusal is an HTTP response with OpenAI's error object."""

from enum import Enum
from typing import NamedTuple

import jwt
from aiohttp import hdrs, web

from rtproxy.door.clientkeys import ClientKeys
from rtproxy.door.handshake import KEY_PROTOCOL, check_upgrade, credentials_of
from rtproxy.door.limits import Calls, Limits
from rtproxy.door.oidc import Issuer
from rtproxy.door.parameters import Parameters, parameters_of
from rtproxy.door.ticket import PREFIX, Ticket, Tickets
from rtproxy.origins import Origins
from rtproxy.refusal import Refused, draining, full, unauthorized
from rtproxy.settings import Settings

ANONYMOUS = "anonymous"
SIGNED = 4
"""The most tickets and tokens of one request that are checked."""
_HEADER_CHARACTERS = 1024
TICKET_CHARACTERS = 2048
"""A longer credential is not checked as a ticket, because an unknown client could use much CPU time with it."""


class Door(Enum):
    """``DRAINING`` still admits calls, because a balancer learns late; ``SHUT`` refuses them."""

    OPEN = "open"
    DRAINING = "draining"
    SHUT = "shut"


class Admitted(NamedTuple):
    """An admitted client, its parameters for the dial, and what was reserved for its call."""

    client: str
    parameters: Parameters
    start: float
    ticket: Ticket | None


class Admission:
    """Admits calls by the settings, until a drain shuts the door."""

    def __init__(self, settings: Settings, calls: Calls) -> None:
        self.door = Door.OPEN
        self.keys = ClientKeys(settings.client_keys, settings.client_keys_file)
        self.issuer: Issuer | None = None
        if settings.oidc_issuer is not None:
            self.issuer = Issuer(
                settings.oidc_issuer, settings.oidc_audience, settings.oidc_scope, settings.https_proxy
            )
        self._calls = calls
        self._limit = settings.max_sessions
        self._limits = Limits(settings.max_client_sessions, settings.max_client_starts, calls)
        self._origins = Origins(settings.allowed_origins)
        self._settings = settings
        self._anonymous = settings.allow_anonymous
        self._tickets = Tickets(self.keys.key_of)

    async def admit(self, request: web.Request) -> Admitted:
        """The admitted client and its parameters. Raises Refused.

        The caller must add the call to the open calls before anything else may run.
        """
        check_upgrade(request)
        self._check_door()
        origins = request.headers.getall(hdrs.ORIGIN, [])
        if len(origins) > 1:
            raise Refused(
                403, "invalid_request_error", "origin_not_allowed", "A request may have only one Origin header."
            )
        if not self._origins.allow(origins):
            cure = "Calls from this web origin are not allowed: add it to RTPROXY_ALLOWED_ORIGINS."
            raise Refused(403, "invalid_request_error", "origin_not_allowed", cure)
        client, ticket = await self._client(request)
        parameters = parameters_of(request, self._settings)
        # Nothing below awaits, so that no other call is admitted in between.
        self._check_door()
        if len(self._calls) >= self._limit:
            raise full()
        start = self._limits.take(client)
        if ticket is not None:
            self._tickets.use(ticket)
        return Admitted(client, parameters, start, ticket)

    def give_back(self, admitted: Admitted) -> None:
        """The call was not established: its ticket can be used again, and it does not count as a start."""
        self._limits.give_back(admitted.client, admitted.start)
        if admitted.ticket is not None:
            self._tickets.give_back(admitted.ticket)

    def model_refused(self, client: str, wait_s: float | None) -> None:
        """See `Limits.model_refused`."""
        self._limits.model_refused(client, wait_s)

    @property
    def draining(self) -> bool:
        """Whether a drain has begun."""
        return self.door is not Door.OPEN

    def drain(self) -> None:
        """Still admits calls, because a balancer learns late; `draining` is true."""
        self.door = Door.DRAINING

    def shut(self) -> None:
        """From now on refuses every call."""
        self.door = Door.SHUT

    def _check_door(self) -> None:
        if self.door is Door.SHUT:
            raise draining()

    async def _client(self, request: web.Request) -> tuple[str, Ticket | None]:
        credentials = credentials_of(request)
        name = self.keys.name_of(credentials)
        if name is not None:
            return name, None
        if self._anonymous and not (credentials and (self.keys or self.issuer)):
            return ANONYMOUS, None
        refusal = None
        signed = [credential for credential in credentials if credential.count(".") == 2]
        for credential in signed[:SIGNED]:
            try:
                return await self._signed(credential)
            except Refused as problem:
                # A reason about a signature helps more than "not a key".
                refusal = problem if refusal is None or refusal.code == "invalid_api_key" else refusal
        if credentials:
            raise refusal or _no_key("invalid_api_key")
        raise _no_key("missing_api_key")

    async def _signed(self, credential: str) -> tuple[str, Ticket | None]:
        """The client that a ticket or a token names."""
        token = credential.removeprefix(PREFIX)
        header_part = token.partition(".")[0]
        if len(header_part) > _HEADER_CHARACTERS:
            raise _no_key("invalid_api_key")
        try:
            header = jwt.get_unverified_header(f"{header_part}.e30.")
        # Bytes that are not UTF-8 are surrogates here; and JSON may be nested more deeply than Python reads.
        except (jwt.InvalidTokenError, ValueError, TypeError, RecursionError):
            raise _no_key("invalid_api_key") from None
        if header.get("alg") == "HS256":
            if len(token) > TICKET_CHARACTERS:
                raise unauthorized("invalid_token", f"A ticket may have at most {TICKET_CHARACTERS} characters.")
            ticket = self._tickets.read(token, header.get("kid"))
            return ticket.client, ticket
        if self.issuer is None:
            raise unauthorized("invalid_token", "This relay accepts no tokens: RTPROXY_OIDC_ISSUER is not set.")
        return await self.issuer.client_of(token, header.get("kid")), None


def _no_key(code: str) -> Refused:
    return unauthorized(
        code,
        "A client key of this relay is needed: Authorization: Bearer KEY, an api-key header, "
        f"or the subprotocol {KEY_PROTOCOL}KEY.",
    )
