"""``python -m stage.rehearse``: one scenario on a stage of its own, a verdict, a report, an exit code.

The scenarios are a closed list: what each is about, what it sets, what happens in it, and which verdict is the right
one. A scenario that shows a failure passes when the failure is found: ``expected`` names it.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stage.__main__ import how_to_use
from stage.azure import Stage
from stage.commandline import calls, new_folder, until_interrupted
from stage.platform import Gateway, Unverified
from stage.rehearsal import Rehearsal, Steps, Unexpected
from stage.seed import APP, SUFFIX, Seed

TALKATIVE = ("--reconnect", "--ping-interval", "2", "--talk-every", "10")
PASSING = ("--call-seconds", "30")
"""Calls that end by themselves and are followed by others, as on a phone line."""
MIXED = (*PASSING, "--kinds", "vad,long,push-to-talk,tools,long,text,barge-in,mute,long,silent", "--tool-seconds", "10")
"""What people do on a line. A tool is out for less than a drain takes, so that no turn has to be cut."""
AFTERWARDS_S = 8.0
"""Calls go on for so long after what happened, so that the verdict sees how they fare."""
BLUE, GREEN = f"{APP}--{SUFFIX}", f"{APP}--green"
COOLDOWN_S = 15
ROLLOUT: Mapping[str, Any] = {"release": "green", "judge_seconds": 12, "smoke_seconds": 10, "long_seconds": 45}
UNTRIED: Mapping[str, Any] = {**ROLLOUT, "smoke_drain": False}
"""Where green would not get as far as its callers if the play had seen it drain, or it takes time for nothing."""
NO_STAGE = 3
EXIT_CODES = """

exit code:
  0 the verdict is the one the scenario should have, 1 it is another, or the rehearsal broke off, 2 bad arguments,
  3 the stage could not be set up, 130 interrupted
"""
SURVIVED = {"survival.cut": "pass", "rollback.blue_untouched": "pass", "placement.one_place": "pass"}
EXITED = {"termination.grace": "pass", "termination.no_sigkill": "pass"}
DRAINED = EXITED | {"termination.codes": "pass", "termination.turns": "pass"}
ROLLED_OUT = {"rollback.outcome": "pass", "cooldown.no_new_calls": "pass"}
HELD = ("survival.cut", "survival.refused", "placement.one_place")
HEARD = ("hearing", "quality", "admission")
SEEN = (*HELD, *HEARD, "survival.moved", "routing", "cooldown.no_new_calls", "termination", "rollback", "evidence")
"""The checks that show that no caller noticed anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """``script`` runs on a stage made of the other fields; ``expected`` is the status of each check that matters.

    ``required`` are checks or groups of them that have to be decided, whichever way, beside those expected.
    """

    about: str
    script: Callable[[Rehearsal], Awaitable[None]]
    expected: Mapping[str, str]
    required: tuple[str, ...]
    seed: Seed = field(default_factory=Seed)
    gateway: Gateway = field(default_factory=Gateway)
    model_options: tuple[str, ...] = ()
    unverified: Unverified = field(default_factory=Unverified)


async def rollout(rehearsal: Rehearsal) -> None:
    async with rehearsal.calls(*TALKATIVE, *MIXED):
        await rehearsal.play("bluegreen.yml", {**ROLLOUT, "drain_timeout": 6})
        await rehearsal.lasting(AFTERWARDS_S, "calls go on with green")


async def broken_green(rehearsal: Rehearsal) -> None:
    # Without the key the relay asks for an identity, which this app does not have: it runs and is never ready.
    async with rehearsal.calls(*TALKATIVE, *PASSING):
        broken = {"green_env": {"AZURE_OPENAI_API_KEY": ""}, "ready_timeout": 15}
        await rehearsal.play("bluegreen.yml", {**ROLLOUT, **broken}, succeeds=False)
        await rehearsal.lasting(AFTERWARDS_S, "calls go on with blue")


async def bad_green(rehearsal: Rehearsal) -> None:
    # Longer than the smoke test looks, shorter than the long calls of the first step are.
    model = await rehearsal.stage.another_model("--drop-after", "14")
    async with rehearsal.calls(*TALKATIVE, *PASSING):
        bad = {"green_env": {"AZURE_OPENAI_ENDPOINT": model}, "judge_seconds": 18}
        await rehearsal.play("bluegreen.yml", {**UNTRIED, **bad}, succeeds=False)
        await rehearsal.lasting(AFTERWARDS_S, "calls go on with blue")


async def stuck_calls(rehearsal: Rehearsal) -> None:
    async with rehearsal.calls(*TALKATIVE):
        await rehearsal.play("bluegreen.yml", {**UNTRIED, "drain_timeout": 6})
        await rehearsal.lasting(AFTERWARDS_S, "calls go on with green")


async def short_grace(rehearsal: Rehearsal) -> None:
    # No answer ends in the time of a judgement, so none is asked for there.
    unheard = {"held_with": ["--talk-every", "0"], "green_checks": [], "compared_checks": []}
    async with rehearsal.calls(*TALKATIVE, "--turn-deadline", "60"):
        await rehearsal.play("bluegreen.yml", {**UNTRIED, **unheard, "drain_timeout": 2})
        await rehearsal.lasting(AFTERWARDS_S, "calls go on with green")


async def scale_to_zero(rehearsal: Rehearsal) -> None:
    async with rehearsal.calls(*TALKATIVE):
        await rehearsal.lasting(10, "calls held on the only replica")
    await rehearsal.until("nobody calls: the last replica goes", 90, "replica.exited", revision=BLUE)
    async with rehearsal.calls(*TALKATIVE, record="woken.jsonl"):
        await rehearsal.lasting(AFTERWARDS_S, "calls held by the replica they woke")
    with rehearsal.steps.step("az containerapp update --min-replicas 1, and blue is deactivated"):
        await rehearsal.az("containerapp", "update", "--revision-suffix", "green", "--min-replicas", "1")
        await rehearsal.az("containerapp", "revision", "deactivate", "--revision", BLUE)
    await rehearsal.lasting(2 * COOLDOWN_S, "nobody calls: green's only replica stays")
    async with rehearsal.calls(*TALKATIVE, record="late.jsonl"):
        await rehearsal.lasting(2, "calls find it up")


async def single_mode(rehearsal: Rehearsal) -> None:
    async with rehearsal.calls(*TALKATIVE, "--call-seconds", "6"):
        await rehearsal.lasting(20, "calls come back with their cookies")
        with rehearsal.steps.step("az refuses weights in Single mode"):
            await _weights_are_refused(rehearsal)
        with rehearsal.steps.step("az containerapp update, in Single mode"):
            await rehearsal.az("containerapp", "update", "--revision-suffix", "green")
        await rehearsal.until("blue is stopped by the platform", 120, "revision.deactivated", revision=BLUE)
        await rehearsal.lasting(30, "blue drains, calls go on with green")


async def _weights_are_refused(rehearsal: Rehearsal) -> None:
    try:
        await rehearsal.az("containerapp", "ingress", "traffic", "set", "--revision-weight", f"{BLUE}=100")
    except Unexpected:
        return
    raise Unexpected("az set weights in Single mode, where they do not apply")


async def gateway_timeout(rehearsal: Rehearsal) -> None:
    async with rehearsal.calls("--reconnect", "--ping-interval", "0", "--talk-every", "0"):
        await rehearsal.lasting(25, "calls are silent for longer than the gateway's request timeout")


SCENARIOS: Mapping[str, Scenario] = {
    "rollout": Scenario(
        about="Green replaces blue while calls are held; nobody may notice.",
        script=rollout,
        required=SEEN,
        expected=SURVIVED | DRAINED | ROLLED_OUT | {"survival.moved": "pass"},
        # Calls last half a minute, and each gets a ping or two.
        seed=Seed(heartbeat_s=10),
    ),
    "broken-green": Scenario(
        about="Green never becomes ready: it must get no traffic and be stopped.",
        script=broken_green,
        required=(*HELD, "rollback"),
        expected=SURVIVED | {"rollback.outcome": "fail"},
        # Until then the app takes no other write; on Azure that is 20 minutes.
        unverified=Unverified(provisioning_deadline_s=45),
    ),
    "bad-green": Scenario(
        about="Green is ready and passes its smoke test, but cuts calls: blue must get all traffic back.",
        script=bad_green,
        required=(*HELD, "rollback", "admission"),
        expected={"rollback.outcome": "fail", "rollback.blue_untouched": "pass", "survival.cut": "fail"},
    ),
    "stuck-calls": Scenario(
        about="Calls outlive the drain timeout: they move between two turns, and none is cut.",
        script=stuck_calls,
        required=(*HELD, "survival.moved", "termination", "rollback"),
        expected=SURVIVED | DRAINED | ROLLED_OUT | {"survival.moved": "pass"},
    ),
    "short-grace": Scenario(
        about="Responses last longer than the grace period: calls are closed in the middle of a turn, and it shows.",
        script=short_grace,
        required=(*HELD, "termination", "rollback"),
        expected={
            "survival.cut": "fail",
            "rollback.blue_untouched": "fail",
            "termination.turns": "fail",
            "termination.grace": "pass",
        },
        seed=Seed(grace_s=6, drain_s=4),
        model_options=("--answer-seconds", "40", "--pace", "1"),
    ),
    "scale-to-zero": Scenario(
        about="cooldownPeriod: the last replica goes that long after the last call; with minReplicas 1 it stays.",
        script=scale_to_zero,
        required=(*HELD, "cooldown.zero", "cooldown.no_effect"),
        expected={"survival.cut": "pass", "cooldown.zero": "pass", "cooldown.no_effect": "pass"},
        seed=Seed(min_replicas=0, cooldown_s=COOLDOWN_S, polling_s=5),
    ),
    "single-mode": Scenario(
        about="Session affinity: in Single mode calls come back to their replica; weights cannot be set.",
        script=single_mode,
        required=(*HELD, "affinity", *EXITED),
        expected=SURVIVED | EXITED | {"affinity.reconnects": "pass"},
        seed=Seed(mode="Single", affinity="sticky"),
    ),
    "gateway-timeout": Scenario(
        about="A silent call meets the gateway's request timeout: the report must say so.",
        script=gateway_timeout,
        required=HELD,
        expected={"survival.cut": "fail"},
        # A heartbeat longer than the timeout is the mistake to be found.
        seed=Seed(heartbeat_s=60),
        gateway=Gateway(request_timeout_s=15),
    ),
}


async def rehearse(name: str, out: Path, connections: int, keep: bool) -> int:
    """Sets up the stage, runs the scenario, judges; the exit code. Nothing is left running, whatever happens."""
    scenario = SCENARIOS[name]
    steps = Steps()
    steps.say(f"{name}: {scenario.about}")
    async with AsyncExitStack() as stack:
        with steps.step("the stage is up: model, Envoy, replicas, ARM"):
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
            # Ctrl-C is the intended end: the verdict is final.
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
    add("--out", type=new_folder, metavar="DIR", help="folder of the results (rehearsals/SCENARIO-TIME)")
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
