"""Whose id is it: what every call of one hold has heard, so that an id of another call is known at once.

The service makes its ids at random, so one that two calls hear went astray on the way.
"""

from dataclasses import dataclass

# Minutes of a few calls, half a minute of 500: what goes astray arrives soon, and a hold's memory stays bounded.
REMEMBERED = 50_000


@dataclass(frozen=True, slots=True, eq=False)
class Owner:
    """One session of a call; a call that comes back is another owner."""

    call: int
    session: str | None

    def __str__(self) -> str:
        return f"call {self.call}" + (f" (session {self.session})" if self.session else "")


class Ids:
    """At least the last `REMEMBERED` ids, at most twice as many."""

    def __init__(self) -> None:
        self._newer: dict[str, Owner] = {}
        self._older: dict[str, Owner] = {}

    def claim(self, name: str, owner: Owner) -> Owner | None:
        """Whose it is already, which may be `owner`; None when nobody had heard it: then it is `owner`'s from now."""
        known = self._newer.get(name) or self._older.get(name)
        if known is None:
            if len(self._newer) >= REMEMBERED:
                self._older, self._newer = self._newer, {}
            self._newer[name] = owner
        return known
