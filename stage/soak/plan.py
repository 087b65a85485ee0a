"""What may happen to a call, how the call must end then, and which call it happens to.

The client and the model each work it out from the seed and the call's number alone. A call ends *properly* when each
end sent a Close and got the other's: then every frame has arrived. A fault cuts the call.
"""

import random
from dataclasses import dataclass

SAID = -1
"""Instead of a code: the one that the closing end sent; 1005 when it sent none."""
OVER_CODE = 1001
"""The code of clients that are stopped at the end of the run."""
SHORTEST_S = 0.3
CLIENT_CODES = (1000, 1001, 3000, 4001, 4999, None)
MODEL_CODES = (1000, 1011, 4000, 4429)
NUMBER = "soak."
"""The subprotocol that carries the call's number to the model: soak.17"""


@dataclass(frozen=True, slots=True)
class Kind:
    """``weight`` is its share among the faults, 0 for what is none. ``status`` is what the client is answered.

    ``ended_by`` and the codes are those of the summary; several where it depends on what the kernel still delivers.
    ``needs_s``: only in runs whose calls may live this long.
    """

    name: str
    weight: float
    ended_by: str = ""
    client_codes: frozenset[int] = frozenset()
    upstream_codes: frozenset[int] = frozenset()
    proper: bool = False
    status: int = 101
    needs_s: float = 0.0


def _proper(name: str, weight: float, ended_by: str) -> Kind:
    said = frozenset({SAID})
    return Kind(name, weight, ended_by, said, said, proper=True)


def _cut(name: str, weight: float, ended_by: str, client: set[int], upstream: set[int], needs_s: float = 0) -> Kind:
    return Kind(name, weight, ended_by, frozenset(client), frozenset(upstream), needs_s=needs_s)


CALM = _proper("client.closes", 0, "client")
_ALL = (
    CALM,
    _proper("model.closes", 3, "upstream"),
    _proper("model.late", 2, "client"),
    _proper("model.floods", 1, "client"),
    _proper("client.stalls", 2, "client"),
    # A reset may overtake what was sent before it, and with it the end of a frame that the relay is in then.
    _cut("client.resets", 4, "client", {1006}, {1001, 1006}),
    _cut("client.leaves", 4, "client", {1006}, {1001, 1006}),
    _cut("client.mid-frame", 3, "client", {1006}, {1001, 1006}),
    _cut("client.stuck", 1, "limit", {1008}, {1001}, needs_s=90),
    _cut("client.silent", 2, "heartbeat", {1011}, {1001}),
    _cut("client.breaks", 3, "error", {1002}, {1001}),
    _cut("client.oversends", 0.3, "limit", {1009}, {1001}),
    _cut("client.hangs-up", 2, "client", {1006}, {1001, 1006}),
    _cut("model.resets", 3, "upstream", {1011, 1006}, {1006}),
    _cut("model.drops", 3, "upstream", {1011, 1006}, {1006}),
    _cut("model.mid-delta", 3, "upstream", {1011, 1006}, {1006}),
    _cut("model.silent", 2, "heartbeat", {1011}, {1011}),
    _cut("model.breaks", 2, "error", {1011}, {1002}),
    Kind("client.bad-key", 3, status=401),
    Kind("client.slow", 1, status=0),
    Kind("model.busy", 2, status=429),
    Kind("model.fails", 2, status=502),
    Kind("model.mute", 0.5, status=504, needs_s=15),
)
KINDS = {kind.name: kind for kind in _ALL}


@dataclass(frozen=True, slots=True)
class Life:
    """``lasts_s`` is from the 101 to what ends the call, ``code`` is that of the Close (None: an empty Close)."""

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
