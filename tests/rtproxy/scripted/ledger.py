"""Who still owes what in a call: the judge's own account of it, which knows nothing of the relay's.

An event counts when it has arrived at the other side: then the relay has passed it on, so it knows of it. Whoever gets
an event writes down what follows from it; the one whose turn it is knows what it is going to do. A debt that the caller
is not going to pay, and that nobody but the caller can tell from one that it pays, is ``open``: a relay may wait for it
or not (a tool whose output the caller never sends, a button let go without a commit).
"""

import time
from typing import NamedTuple


class Debt(NamedTuple):
    """``kind`` and a number are its name; ``owner`` is ``caller`` or ``model``."""

    owner: str
    kind: str
    sure: bool


class Ledger:
    """The debts of one call. A name that was settled stays so: what arrives late does not bring it back."""

    def __init__(self) -> None:
        self.debts: dict[str, Debt] = {}
        self.history: list[str] = []
        self.settled: set[str] = set()
        self._began = time.monotonic()
        self._frozen = False
        self.owed_since: float | None = None
        """Since when somebody has owed something, surely, without a moment in between."""
        self.clear_since: float | None = self._began
        """Since when nobody has owed anything, not even perhaps."""
        self.clear: list[tuple[float, float]] = []
        """From when to when nobody did, before."""

    def note(self, what: str) -> None:
        """Writes a line of what happened, for who reads a failure."""
        if not self._frozen:
            self.history.append(f"{time.monotonic() - self._began:7.3f}  {what}")

    def owe(self, owner: str, name: str, *, sure: bool = True) -> None:
        """``name`` is owed from now on, if it was not settled already."""
        if self._frozen or name in self.settled:
            return
        self.debts[name] = Debt(owner, name.split()[0], sure)
        self.note(f"{owner} owes {name}" if sure else f"{owner} owes {name}, perhaps")
        self._changed()

    def doubt(self, name: str) -> None:
        """The caller has decided never to pay ``name``; nobody else can know."""
        if name in self.debts:
            self.owe(self.debts[name].owner, name, sure=False)

    def settle(self, *names: str) -> None:
        """These are not owed any more."""
        for name in names:
            if self._frozen:
                return
            if self.debts.pop(name, None) is not None:
                self.note(f"settled: {name}")
            self.settled.add(name)
        self._changed()

    def settle_doubts(self, kind: str) -> None:
        """Nobody can expect an open debt of ``kind`` any more."""
        self.settle(*[name for name, debt in self.debts.items() if debt.kind == kind and not debt.sure])

    def freeze(self) -> None:
        """The Closes have arrived on both sides: nothing counts that comes later."""
        self._frozen = True
        if self.clear_since is not None:
            self.clear.append((self.clear_since, time.monotonic()))

    @property
    def sure(self) -> list[str]:
        return [name for name, debt in self.debts.items() if debt.sure]

    def _changed(self) -> None:
        now = time.monotonic()
        if not self.sure:
            self.owed_since = None
        elif self.owed_since is None:
            self.owed_since = now
        if self.debts:
            if self.clear_since is not None:
                self.clear.append((self.clear_since, now))
            self.clear_since = None
        elif self.clear_since is None:
            self.clear_since = now
