"""Tickets: what a backend that has a client key hands to a browser instead of the key. Once, and not for long.

A ticket is a JWT (RFC 7519): HS256 with the client's key, ``kid`` the client's name, ``aud`` rtproxy, ``exp`` at most
five minutes away, ``jti`` anything that was not there before. ``ek_`` may stand in front, by which the OpenAI SDKs know
that a browser may have it. Any JWT library mints one, this one too:

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

from rtproxy.refusal import unknown

AUDIENCE = "rtproxy"
PREFIX = "ek_"
LIFE_S = 300
"""A ticket is good for this long at most."""
LEEWAY_S = 10
"""Two clocks may differ by this much."""
KEY_CHARACTERS = 32
"""Whoever holds a ticket can try keys against its signature for as long as it likes: RFC 7518 section 3.2."""
WRONG_TYPES = (TypeError, ValueError, OverflowError, AttributeError, RecursionError)
"""What PyJWT raises for claims that are signed and of no type of theirs: an ``exp`` that is a list, or infinite."""
_SWEEP_S = 60.0


class Ticket(NamedTuple):
    """A ticket whose signature holds. ``number`` stands for its jti, ``until`` is its end, as a Unix time."""

    client: str
    number: bytes
    until: float


def mint(client: str, key: str, seconds: int = 60) -> str:
    """A ticket for one call of ``client``, to be begun in the next ``seconds``. ValueError when it would be refused."""
    if len(key) < KEY_CHARACTERS:
        raise ValueError(f"A key that signs tickets has {KEY_CHARACTERS} characters or more.")
    if not 1 <= seconds <= LIFE_S:
        raise ValueError(f"A ticket is good for 1 to {LIFE_S} seconds.")
    claims = {"aud": AUDIENCE, "exp": int(time.time()) + seconds, "jti": secrets.token_urlsafe(16)}
    return PREFIX + jwt.encode(claims, key, algorithm="HS256", headers={"kid": client})


class Tickets:
    """Reads tickets, each of which lets in one call of this replica. ``key_of`` gives the key of a client, or None.

    What was used is remembered until it would have expired: some 300 bytes a ticket, for six minutes at most.
    """

    def __init__(self, key_of: Callable[[str], str | None]) -> None:
        self._key_of = key_of
        self._used: dict[tuple[str, bytes], float] = {}
        self._sweep_at = 0.0

    def read(self, token: str, client: object) -> Ticket:
        """The ticket that ``token``, signed in the name of ``client``, is. Raises Refused; uses nothing up."""
        key = (self._key_of(client) if isinstance(client, str) else None) or ""
        # Signed by nobody, by somebody unknown and with a short key are one: the answer tells no names.
        sound = len(key) >= KEY_CHARACTERS
        try:
            claims = jwt.decode(
                token,
                key if sound else secrets.token_hex(),
                algorithms=["HS256"],
                audience=AUDIENCE,
                leeway=LEEWAY_S,
                options={"require": ["aud", "exp", "jti"]},
            )
        except jwt.ExpiredSignatureError:
            raise unknown("expired_token", "The ticket has expired: ask for a new one.") from None
        except jwt.InvalidSignatureError:
            signed = (
                f"The ticket is not signed with the key, of {KEY_CHARACTERS} characters or more, of the client kid."
            )
            raise unknown("invalid_token", signed) from None
        except (jwt.InvalidTokenError, *WRONG_TYPES):
            raise unknown("invalid_token", f"A ticket has exp, a jti and the aud {AUDIENCE!r}.") from None
        if not isinstance(claims["exp"], int | float):  # PyJWT takes digits in a string, too
            raise unknown("invalid_token", "A ticket's exp is a number (RFC 7519 section 2).")
        if claims["exp"] > time.time() + LIFE_S + LEEWAY_S:
            raise unknown("invalid_token", f"A ticket is good for {LIFE_S} s at most: this one is for longer.")
        # A jti may be as long as a header.
        number = hashlib.sha256(claims["jti"].encode("utf-8", "surrogatepass")).digest()
        ticket = Ticket(str(client), number, claims["exp"] + LEEWAY_S)
        if (ticket.client, ticket.number) in self._used:
            raise unknown("used_ticket", "The ticket has been used: every call takes a new one.")
        return ticket

    def give_back(self, ticket: Ticket) -> None:
        """The call that ``ticket`` let in did not come to stand: it lets one in once more."""
        self._used.pop((ticket.client, ticket.number), None)

    def use(self, ticket: Ticket) -> None:
        """From now on ``ticket`` lets nobody in."""
        now = time.time()
        if now >= self._sweep_at:
            self._used = {used: until for used, until in self._used.items() if until > now}
            self._sweep_at = now + _SWEEP_S
        self._used[ticket.client, ticket.number] = ticket.until


def main() -> int:
    """Prints a ticket, and nothing else, on stdout."""
    parser = argparse.ArgumentParser(
        prog="python -m rtproxy.ticket",
        description="Mints a ticket: it lets in one call, soon. The client's key is read from RTPROXY_KEY.",
    )
    parser.add_argument("client", metavar="NAME", help="the name beside the key in RTPROXY_CLIENT_KEYS")
    parser.add_argument("--seconds", type=int, default=60, help=f"how long it is good for, at most {LIFE_S} (60)")
    arguments = parser.parse_args()
    try:
        print(mint(arguments.client, os.environ.get("RTPROXY_KEY", ""), arguments.seconds))  # noqa: T201
    except ValueError as problem:
        parser.error(f"{problem} The key is read from RTPROXY_KEY.")
    return 0
