"""Who may come in: all of it is decided before the 101, and a refusal is an HTTP answer in OpenAI's envelope."""

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
from rtproxy.refusal import Refused, draining, full, unknown
from rtproxy.settings import Settings

ANONYMOUS = "anonymous"
SIGNED = 4
"""So many tickets and tokens of one request are checked; and of each first what stands before its first dot."""
_HEADER_CHARACTERS = 1024
TICKET_CHARACTERS = 2048
"""What a stranger shows as a ticket is checked up to this length: that takes time."""


class Door(Enum):
    """``DRAINING`` still admits calls, because a balancer learns late; ``SHUT`` refuses them."""

    OPEN = "open"
    DRAINING = "draining"
    SHUT = "shut"


class Admitted(NamedTuple):
    """Who may come in, what the dial has to ask for, and what was reserved while it lasts."""

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
        """The client that may come in, and what it asks for, now that there is room for it. Raises Refused.

        Whoever calls it puts the call among the live ones before anything else may run.
        """
        check_upgrade(request)
        self._check_door()
        origins = request.headers.getall(hdrs.ORIGIN, [])
        if len(origins) > 1:
            raise Refused(403, "invalid_request_error", "origin_not_allowed", "A request has one Origin at most.")
        if not self._origins.allow(origins):
            cure = "Calls from this web origin are not allowed: add it to RTPROXY_ALLOWED_ORIGINS."
            raise Refused(403, "invalid_request_error", "origin_not_allowed", cure)
        client, ticket = await self._client(request)
        parameters = parameters_of(request, self._settings)
        # From here on nothing waits: nobody else comes in between.
        self._check_door()
        if len(self._calls) >= self._limit:
            raise full()
        start = self._limits.take(client)
        if ticket is not None:
            self._tickets.use(ticket)
        return Admitted(client, parameters, start, ticket)

    def give_back(self, admitted: Admitted) -> None:
        """The call did not come to stand: its ticket is good again, and it does not count as a start."""
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
        """Calls are still let in, because a balancer learns late; `draining` is true."""
        self.door = Door.DRAINING

    def shut(self) -> None:
        """From now on every call is refused."""
        self.door = Door.SHUT

    def _check_door(self) -> None:
        if self.door is Door.SHUT:
            raise draining()

    async def _client(self, request: web.Request) -> tuple[str, Ticket | None]:
        shown = credentials_of(request)
        name = self.keys.name_of(shown)
        if name is not None:
            return name, None
        if self._anonymous and not (shown and (self.keys or self.issuer)):
            return ANONYMOUS, None
        refusal = None
        signed = [credential for credential in shown if credential.count(".") == 2]
        for credential in signed[:SIGNED]:
            try:
                return await self._signed(credential)
            except Refused as problem:
                # A word about a signature tells more than that something else was no key.
                refusal = problem if refusal is None or refusal.code == "invalid_api_key" else refusal
        if shown:
            raise refusal or _no_key("invalid_api_key")
        raise _no_key("missing_api_key")

    async def _signed(self, credential: str) -> tuple[str, Ticket | None]:
        """Who shows a ticket or a token."""
        token = credential.removeprefix(PREFIX)
        said = token.partition(".")[0]
        if len(said) > _HEADER_CHARACTERS:
            raise _no_key("invalid_api_key")
        try:
            header = jwt.get_unverified_header(f"{said}.e30.")
        # Bytes that are no UTF-8 came as surrogates; and JSON may be deeper than Python reads.
        except (jwt.InvalidTokenError, ValueError, TypeError, RecursionError):
            raise _no_key("invalid_api_key") from None
        if header.get("alg") == "HS256":
            if len(token) > TICKET_CHARACTERS:
                raise unknown("invalid_token", f"A ticket has {TICKET_CHARACTERS} characters at most.")
            ticket = self._tickets.read(token, header.get("kid"))
            return ticket.client, ticket
        if self.issuer is None:
            raise unknown("invalid_token", "Tokens are not taken here: RTPROXY_OIDC_ISSUER is not set.")
        return await self.issuer.client_of(token, header.get("kid")), None


def _no_key(code: str) -> Refused:
    return unknown(
        code,
        "A client key of this relay is needed: Authorization: Bearer KEY, an api-key header, "
        f"or the subprotocol {KEY_PROTOCOL}KEY.",
    )
