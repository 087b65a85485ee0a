"""One client, or its model, floods: probes are answered and another caller's frames go there and back meanwhile.

The small form of ``python -m bench.floods``, whose figures stand in docs/faults.md. What others wait for is compared
with the same relay, and the same machine, just before the flood.
"""

import pytest

from bench.floods.pump import KINDS, SIDES
from bench.floods.window import Waits, place, window

PROBES = 30
TRIES = 3
"""A busy machine is not a defect: a window that says so is taken again."""


async def windows(kind: str, side: str, connections: int) -> tuple[Waits, Waits]:
    """Before the flood, and in it."""
    async with place(None, connections) as (stands, echo, past):
        before = await window(stands, echo, past, PROBES)
        await stands.flood(kind, side, connections)
        return before, await window(stands, echo, past, PROBES)


@pytest.mark.parametrize("connections", [pytest.param(1, marks=pytest.mark.nightly), 8])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", SIDES)
async def test_others_are_served_while_a_side_floods(side: str, kind: str, connections: int) -> None:
    for _ in range(TRIES):
        before, amid = await windows(kind, side, connections)
        held = amid.healthz_p50 < 3 * before.healthz_p50 + 25 and amid.echo_p50 < 3 * before.echo_p50 + 10
        if held:
            return
    raise AssertionError(f"before: {before}; amid the flood: {amid}")
