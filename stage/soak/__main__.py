"""``python -m stage.soak``: hundreds of calls and random faults through one relay process, and a verdict."""

import argparse
import asyncio
import os
import platform
import random
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from ctypes.util import find_library
from dataclasses import asdict
from pathlib import Path

import orjson

from stage.commandline import INTERRUPTED, calls, new_folder, on_stop, positive
from stage.soak.plan import Plan
from stage.soak.report import page, show
from stage.soak.run import Found, View, run

HELD, FAILED, NO_STAGE = 0, 1, 3
EXIT_CODES = """
exit code:
  0 every check held, 1 one failed, 2 bad arguments, 3 model, relay or load did not start or broke off,
  130 interrupted, and what was seen until then held
"""
LONGEST_S, OF_THE_RUN = 120.0, 0.25
"""How long a call lives at most, and at most so much of a short run."""
PERIOD_S = 0.15
HEARTBEAT_S, SHORT_HEARTBEAT_S = 5, 3
"""A silent peer is given up after two of them; a process that waits for its turn that long is a busy machine's."""


async def soak(plan: Plan, seconds: float, every_s: float, out: Path) -> Found | None:
    """The run. A first Ctrl-C ends it early, with a verdict on what was seen; a second one at once, with none."""
    interrupted = asyncio.Event()
    with View(seconds) as view:
        task = asyncio.create_task(run(plan, seconds, every_s, out, interrupted, view))

        def interrupt() -> None:
            if interrupted.is_set():
                task.cancel()
            interrupted.set()

        on_stop(interrupt)
        with suppress(asyncio.CancelledError):
            return await task
    return None


def main() -> int:
    given = _parse(sys.argv[1:])
    seconds = given.minutes * 60
    longest_s = min(LONGEST_S, seconds * OF_THE_RUN)
    plan = Plan(
        seed=random.SystemRandom().randrange(1 << 31) if given.seed is None else given.seed,
        calls=given.calls,
        longest_s=longest_s,
        faults=given.faults,
        period_s=PERIOD_S,
        tls=given.tls,
        jemalloc=find_library("jemalloc"),
        heartbeat_s=HEARTBEAT_S if longest_s > 4 * HEARTBEAT_S else SHORT_HEARTBEAT_S,
    )
    if plan.tls and plan.jemalloc is None:
        sys.stderr.write(
            "soak: no jemalloc here, which the image has: memory may rise (apt-get install libjemalloc2)\n"
        )
    out: Path = given.out or Path("artifacts", f"soak-{time.strftime('%Y%m%d-%H%M%S')}")
    began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    try:
        out.mkdir(parents=True, exist_ok=True)
        found = asyncio.run(soak(plan, seconds, given.every, out))
    except (OSError, RuntimeError) as error:
        sys.stderr.write(f"soak: no run: {error}\n")
        return NO_STAGE
    if found is None:
        return INTERRUPTED
    failed = [check for check in found.checks if not check.held]
    code = FAILED if failed else INTERRUPTED if found.interrupted else HELD
    verdict = {
        "headline": _headline(plan, found),
        "command": _command(given, plan.seed),
        "exit_code": code,
        "interrupted": found.interrupted,
        "seconds": round(found.seconds, 1),
        "date": began,
        "machine": _machine(),
        "plan": asdict(plan),
        "kinds": found.kinds,
        "checks": [asdict(check) | {"held": check.held} for check in found.checks],
    }
    (out / "verdict.json").write_bytes(orjson.dumps(verdict, option=orjson.OPT_INDENT_2))
    (out / "soak.html").write_text(page(verdict, found.samples, found.under_load), encoding="utf-8")
    show(found.checks, f"{verdict['headline']} {out}: soak.html, verdict.json, and what they were made of")
    return code


def _headline(plan: Plan, found: Found) -> str:
    failed = sum(not check.held for check in found.checks)
    said = f"{failed} of {len(found.checks)} checks failed" if failed else "Every check held"
    until = ", until the interrupt" if found.interrupted else ""
    return f"{said}: {plan.calls} calls for {found.seconds / 60:.1f} minutes{until}."


def _command(given: argparse.Namespace, seed: int) -> str:
    """What gives the same calls the same faults again."""
    tls = " --tls" if given.tls else ""
    return (
        f"nox -s soak -- --calls {given.calls} --minutes {given.minutes:g} --faults {given.faults:g} --seed {seed}{tls}"
    )


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    return (
        f"{os.cpu_count()} cores of {cpu}, Linux {platform.release().split('-')[0]}, Python {platform.python_version()}"
    )


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="nox -s soak --",
        description="One relay, hundreds of calls and random faults on loopback: do the figures add up, does it grow?",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--calls", type=calls(5000), default=500, metavar="N", help="calls at once (%(default)s)")
    add("--minutes", type=positive, default=30.0, metavar="M", help="how long (%(default)g)")
    add("--seed", type=int, metavar="N", help="the same seed gives the same calls the same faults (one by chance)")
    add("--faults", type=_share, default=0.2, metavar="X", help="share of calls that have a fault (%(default)g)")
    add("--tls", action="store_true", help="the model speaks TLS, as Azure's does")
    add("--every", type=positive, default=2.0, metavar="S", help="seconds between two samples (%(default)g)")
    add("--out", type=new_folder, metavar="DIR", help="folder of the results (artifacts/soak-TIME)")
    return parser.parse_args(argv)


def _share(text: str) -> float:
    if (value := positive(text)) > 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share of 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
