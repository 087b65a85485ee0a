"""Which call lives through what: worked out from the seed and its number alone, by the client and by the model."""

import random
from dataclasses import dataclass

from stage.soak.kinds import CALM, KINDS, Kind

SHORTEST_S = 0.3
CLIENT_CODES = (1000, 1001, 3000, 4001, 4999, None)
MODEL_CODES = (1000, 1011, 4000, 4429)
NUMBER = "soak."
"""The subprotocol that tells the model the call's number: soak.17"""


@dataclass(frozen=True, slots=True)
class Life:
    """``lasts_s`` is from the 101 to what ends the call, ``code`` what the Close then says (None: nothing)."""

    number: int
    kind: Kind
    lasts_s: float
    code: int | None
    chance: random.Random


@dataclass(frozen=True, slots=True)
class Plan:
    """The load of a run. ``faults`` is the share of calls that have one, ``period_s`` from frame to frame each way.

    ``tls``: the model is behind it. ``jemalloc`` is the library from which the relay takes its memory, as in the image;
    None: from the C library.
    """

    seed: int
    calls: int
    longest_s: float
    faults: float
    period_s: float
    heartbeat_s: int
    tls: bool = False
    jemalloc: str | None = None

    def kinds(self) -> list[Kind]:
        """What may happen in this run."""
        return [kind for kind in KINDS.values() if kind.needs_s <= self.longest_s]

    def life(self, number: int, end: str) -> Life:
        """The life of call ``number``; ``end`` has chances of its own for what only it decides."""
        chance = random.Random(f"{self.seed}/{number}")
        kinds = self.kinds()
        if number < len(kinds):
            # Each of them at least once, however short the run.
            kind, longest_s = kinds[number], self.longest_s / 2
        else:
            faults = [kind for kind in kinds if kind.weight]
            (kind,) = chance.choices(faults, [kind.weight for kind in faults])
            kind = kind if chance.random() < self.faults else CALM
            longest_s = self.longest_s
        lasts_s = SHORTEST_S * (longest_s / SHORTEST_S) ** chance.random()
        codes = MODEL_CODES if kind.name == "model.closes" else CLIENT_CODES
        return Life(number, kind, lasts_s, chance.choice(codes), random.Random(f"{self.seed}/{number}/{end}"))
