"""What may happen to a call, at most one of these each, and how it must end then (the relay's table of endings).

A call ends *properly* when each end said a Close and heard the other's: then every frame has arrived. A fault cuts it.
"""

from dataclasses import dataclass

SAID = -1
"""In place of a code: the one that the end which closes said; 1005 when it said none."""
OVER_CODE = 1001
"""What clients say that are called home at the end of the run."""


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
    # A reset may overtake what was said before it, and with it the end of a frame that the relay is in then.
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
