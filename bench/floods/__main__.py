"""The command: each flood at each number of connections, as a table. 0: within the bounds. 1: not, or void."""

import argparse
import contextlib
import os
import sys
from datetime import UTC, datetime

import uvloop

from bench.floods.pump import KINDS, SIDES
from bench.floods.window import PROBES, Waits, half_a_core, place, window
from bench.process import Cores
from bench.result import interpreter, machine

CONNECTIONS = (1, 8, 64, 400)
CORES = {"1": (100.0, 5.0), "0.5": (1000.0, 20.0)}
"""Of a share of a core: ms in which 99 of 100 probes have their answer, and that an echo may take longer at p50."""
HEADINGS = (
    "side",
    "flood",
    "connections",
    "cores",
    "healthz p50 / p99 / max, ms",
    "echo p50 / p99, ms",
    "past the relay p50",
    "added p50",
    "lag p99",
    "verdict",
)
TRIES = 3
"""A void window is measured again, this often in all."""


async def main() -> int:
    """Prints a line a window; 1 where a bound did not hold."""
    parser = argparse.ArgumentParser(prog="python -m bench.floods", description=__doc__)
    parser.add_argument("--connections", default=",".join(map(str, CONNECTIONS)), help="calls of one key (%(default)s)")
    parser.add_argument("--kinds", default=",".join(KINDS), help="some of %(default)s")
    parser.add_argument("--sides", default=",".join(SIDES), help="who floods: some of %(default)s")
    parser.add_argument("--cores", default=",".join(CORES), help="what the relay has of its core: %(default)s")
    parser.add_argument("--probes", type=int, default=PROBES, help="how often /healthz is asked (%(default)s)")
    arguments = parser.parse_args()
    about, date = machine(), f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    _say(f"{date}; {about.cpu}, {about.cores} cores; {interpreter()}; load {os.getloadavg()[0]:.1f}")
    _say(f"| {' | '.join(HEADINGS)} |")
    _say(f"|{'---|' * len(HEADINGS)}")
    failed = 0
    machine_cores = Cores()
    for cores in arguments.cores.split(","):
        for connections in map(int, arguments.connections.split(",")):
            for side in arguments.sides.split(","):
                for kind in arguments.kinds.split(","):
                    waits = await measured(machine_cores, kind, side, connections, cores, arguments.probes)
                    verdict = _verdict(waits, cores)
                    failed += verdict != "held"
                    _tell(side, kind, connections, cores, waits, verdict)
    return min(1, failed)


async def measured(on: Cores, kind: str, side: str, connections: int, share: str, probes: int) -> Waits:
    """One window, measured again while it is void, or where no relay came up. Each has a relay of its own."""
    for left in range(TRIES, 0, -1):
        try:
            async with place(on, connections) as (site, echo, past):
                await site.flood(kind, side, connections)
                async with half_a_core(site.relay) if share != "1" else contextlib.nullcontext():
                    waits = await window(site, echo, past, probes)
        except (RuntimeError, ConnectionError):  # no relay came up, or the two calls answer no ping for too long
            if left == 1:
                raise
            continue
        if not waits.void or left == 1:
            return waits
    raise AssertionError("the last try returns or raises")


def _verdict(waits: Waits, cores: str) -> str:
    healthz, added = CORES[cores]
    if waits.void:
        return "void"
    return "held" if waits.healthz_p99 < healthz and waits.added_p50 <= added else "NOT HELD"


def _tell(side: str, kind: str, connections: int, cores: str, waits: Waits, verdict: str) -> None:
    _say(
        f"| {side} | {kind} | {connections} | {cores} "
        f"| {waits.healthz_p50:.1f} / {waits.healthz_p99:.1f} / {waits.healthz_max:.1f} "
        f"| {waits.echo_p50:.1f} / {waits.echo_p99:.1f} | {waits.past_p50:.1f} | {waits.added_p50:.1f} "
        f"| {waits.lag_p99:.1f} | {verdict} |"
    )


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
