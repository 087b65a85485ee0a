"""``python -m stage.rehearse``: one scenario on a stage of its own, a verdict, a report, an exit code."""

import argparse
import asyncio
import sys
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from stage.__main__ import how_to_use
from stage.azure import Stage
from stage.commandline import calls, new_folder, until_interrupted
from stage.rehearsal.rehearsal import Rehearsal, Unexpected
from stage.rehearsal.scenarios import SCENARIOS, Scenario
from stage.rehearsal.steps import Steps

NO_STAGE = 3

EXIT_CODES = """

exit code:
  0 the verdict is the one the scenario should have, 1 it is another, or the rehearsal broke off, 2 bad arguments,
  3 the stage could not be set up, 130 interrupted
"""


async def rehearse(name: str, out: Path, connections: int, keep: bool) -> int:
    """Sets up the stage, runs the scenario, judges; the exit code. Nothing is left running, whatever happens."""
    scenario = SCENARIOS[name]
    steps = Steps()
    steps.say(f"{name}: {scenario.about}")
    async with AsyncExitStack() as stack:
        with steps.step("the stage stands: model, Envoy, replicas, ARM"):
            stage = Stage(
                out,
                scenario.seed,
                gateway=scenario.gateway,
                model_options=scenario.model_options,
                unverified=scenario.unverified,
            )
            await stack.enter_async_context(stage)
        code = await _play(Rehearsal(stage, steps, connections), scenario)
        if keep:
            steps.say(how_to_use(stage))
            # Ctrl-C is how it is meant to end: the verdict stands.
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
    return code


async def _play(rehearsal: Rehearsal, scenario: Scenario) -> int:
    try:
        await scenario.script(rehearsal)
    except Unexpected as surprise:
        rehearsal.steps.say(f"rehearsal broke off: {surprise}")
        await rehearsal.judge({})
        return 1
    code = await rehearsal.judge(scenario.expected, scenario.required)
    rehearsal.steps.say(f"The verdict is {'not ' if code else ''}the one that this scenario should have.")
    return code


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="nox -s rehearse --",
        description="A rollout rehearsed on this machine: real az, real Ansible, real Envoy, a simulated model.",
        epilog="scenarios:\n" + "\n".join(f"  {name:16}{each.about}" for name, each in SCENARIOS.items()) + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--scenario", choices=SCENARIOS, default="rollout", metavar="NAME", help="one of those below (%(default)s)")
    add("--connections", type=calls(1000), default=20, metavar="N", help="calls held (%(default)s)")
    add("--out", type=new_folder, metavar="DIR", help="what it writes (rehearsals/SCENARIO-TIME)")
    add("--keep", action="store_true", help="leave the stage up after the verdict, until Ctrl-C")
    given = parser.parse_args()
    out = given.out or Path("rehearsals", f"{given.scenario}-{time.strftime('%Y%m%d-%H%M%S')}")
    try:
        return asyncio.run(until_interrupted(rehearse(given.scenario, out.absolute(), given.connections, given.keep)))
    except (OSError, RuntimeError) as error:
        sys.stderr.write(f"rehearse: the stage could not be set up: {error}\n")
        return NO_STAGE


if __name__ == "__main__":
    sys.exit(main())
