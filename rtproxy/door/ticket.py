"""Tickets: a backend that has a client key gives one to a browser instead of the key.

A ticket is valid for one call, and for at most five minutes.

A ticket is a JWT (RFC 7519): HS256 with the client's key, ``kid`` the client's name, ``aud`` rtproxy, ``exp`` at most
five minutes away, ``jti`` any text that was not used before. It may begin with ``ek_``, which tells the OpenAI SDKs
that a browser may have it. Any JWT library can mint a ticket, and so can this module:

    RTPROXY_KEY=... python -m rtproxy.ticket NAME
"""

import argparse
import hashlib
import os
import secrets
import time
from collections.abc import Callable
from typing import NamedTuple

import jwt

from rtproxy.refusal import unauthorized

AUDIENCE = "rtproxy"
PREFIX = "ek_"
LIFE_S = 300
"""The longest validity of a ticket."""
LEEWAY_S = 10
"""Two clocks may differ by this much."""
KEY_CHARACTERS = 32
"""The shortest key that may sign tickets: the holder of a ticket can try keys against its signature (RFC 7518 section
3.2)."""
WRONG_TYPES = (TypeError, ValueError, OverflowError, AttributeError, RecursionError)
"""The exceptions of PyJWT for signed claims of a wrong type: an ``exp`` that is a list, or infinite."""
_SWEEP_S = 60.0


class Ticket(NamedTuple):
    """A ticket with a valid signature. ``number`` is the digest of its jti, ``until`` its end as a Unix time."""

    client: str
    number: bytes
    until: float


def mint(client: str, key: str, seconds: int = 60) -> str:
    """A ticket for one call of ``client``, which must begin within ``seconds``.

    Raises ValueError when it would be refused.
    """
    if len(key) < KEY_CHARACTERS:
        raise ValueError(f"A key that signs tickets must have {KEY_CHARACTERS} characters or more.")
    if not 1 <= seconds <= LIFE_S:
        raise ValueError(f"A ticket can be valid for 1 to {LIFE_S} seconds.")
    claims = {"aud": AUDIENCE, "exp": int(time.time()) + seconds, "jti": secrets.token_urlsafe(16)}
    return PREFIX + jwt.encode(claims, key, algorithm="HS256", headers={"kid": client})


class Tickets:
    """Checks tickets, each of which admits one call of this replica. ``key_of`` returns the key of a client, or None.

    Used tickets are remembered until they would have expired: some 300 bytes each, for six minutes at most.
    """

    def __init__(self, key_of: Callable[[str], str | None]) -> None:
        self._key_of = key_of
        self._used: dict[tuple[str, bytes], float] = {}
        self._sweep_at = 0.0

    def read(self, token: str, client: object) -> Ticket:
        """The ticket in ``token``, which is signed in the name of ``client``.

        Raises Refused; the ticket is not used up.
        """
        key = (self._key_of(client) if isinstance(client, str) else None) or ""
        # An unsigned ticket, an unknown client and a key that is too short get the same answer, so that it reveals no
        # names.
        valid = len(key) >= KEY_CHARACTERS
        try:
            claims = jwt.decode(
                token,
                key if valid else secrets.token_hex(),
                algorithms=["HS256"],
                audience=AUDIENCE,
                leeway=LEEWAY_S,
                options={"require": ["aud", "exp", "jti"]},
            )
        except jwt.ExpiredSignatureError:
            raise unauthorized("expired_token", "The ticket has expired: ask for a new one.") from None
        except jwt.InvalidSignatureError:
            text = f"The ticket must be signed with the key of its kid, of {KEY_CHARACTERS} characters or more."
            raise unauthorized("invalid_token", text) from None
        except (jwt.InvalidTokenError, *WRONG_TYPES):
            raise unauthorized("invalid_token", f"A ticket must have exp, jti and the aud {AUDIENCE!r}.") from None
        if not isinstance(claims["exp"], int | float):  # PyJWT also accepts digits in a string
            raise unauthorized("invalid_token", "A ticket's exp must be a number (RFC 7519 section 2).")
        if claims["exp"] > time.time() + LIFE_S + LEEWAY_S:
            raise unauthorized(
                "invalid_token", f"A ticket can be valid for {LIFE_S} s at most: this one is valid for longer."
            )
        # A jti may be as long as a header.
        number = hashlib.sha256(claims["jti"].encode("utf-8", "surrogatepass")).digest()
        ticket = Ticket(str(client), number, claims["exp"] + LEEWAY_S)
        if (ticket.client, ticket.number) in self._used:
            raise unauthorized("used_ticket", "The ticket has been used: each call needs a new one.")
        return ticket

    def give_back(self, ticket: Ticket) -> None:
        """The call of ``ticket`` was not established: the ticket can be used once more."""
        self._used.pop((ticket.client, ticket.number), None)

    def use(self, ticket: Ticket) -> None:
        """From now on ``ticket`` admits no call."""
        now = time.time()
        if now >= self._sweep_at:
            self._used = {used: until for used, until in self._used.items() if until > now}
            self._sweep_at = now + _SWEEP_S
        self._used[ticket.client, ticket.number] = ticket.until


def main() -> int:
    """Prints a ticket, and nothing else, on stdout."""
    parser = argparse.ArgumentParser(
        prog="python -m rtproxy.ticket",
        description="Mints a ticket, which admits one call and expires soon. RTPROXY_KEY is the client's key.",
    )
    parser.add_argument("client", metavar="NAME", help="the name beside the key in RTPROXY_CLIENT_KEYS")
    parser.add_argument("--seconds", type=int, default=60, help=f"how long it is valid, at most {LIFE_S} (60)")
    arguments = parser.parse_args()
    try:
        print(mint(arguments.client, os.environ.get("RTPROXY_KEY", ""), arguments.seconds))  # noqa: T201
    except ValueError as problem:
        parser.error(f"{problem} The key is read from RTPROXY_KEY.")
    return 0
