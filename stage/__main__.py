"""``python -m stage``: Azure's parts on loopback until Ctrl-C, for a person with an ``az`` at hand."""

import argparse
import asyncio
import shlex
import sys
from pathlib import Path

import certifi

from stage.azure import RESOURCE_GROUP, Stage
from stage.commandline import on_stop
from stage.platform import Rejected
from stage.seed import APP, Seed

DESCRIPTION = """\
Azure's parts on loopback: a simulated gpt-realtime, Envoy as Application Gateway and Container Apps ingress, one
container app whose replicas are real relay processes, and an ARM endpoint for the real az. It runs until Ctrl-C.
With --empty the subscription has nothing in it, for a deployment.
"""


async def stand(out: Path, app_seed: Seed | None) -> int:
    """Starts the stage, prints how to use it, and keeps it until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    on_stop(stop.set)
    async with Stage(out, app_seed) as stage:
        sys.stdout.write(how_to_use(stage) + "\n")
        sys.stdout.flush()
        await stop.wait()
    return 0


def how_to_use(stage: Stage) -> str:
    """The commands for another terminal. The environment is in a file that only its owner can read: it holds a key."""
    # In a person's shell REQUESTS_CA_BUNDLE is for every tool, pip among them: the usual CAs belong to it.
    bundle = stage.out / "ca-bundle.pem"
    bundle.write_bytes(Path(certifi.where()).read_bytes() + Path(stage.environ["REQUESTS_CA_BUNDLE"]).read_bytes())
    environ = stage.environ | {"REQUESTS_CA_BUNDLE": str(bundle)}
    script = stage.out / "env.sh"
    script.touch(mode=0o600)
    script.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in environ.items()))
    if stage.empty:
        return "\n".join(
            (
                f"The subscription is empty; its gateway will answer at {stage.environment.gateway_url}",
                f"What the platform does is written to {stage.out / 'timeline.jsonl'}",
                "In another terminal:",
                f"  source {shlex.quote(str(script))}",
                "  export RESOURCE_GROUP=voice LOCATION=eastus2 PREFIX=relay",
                "  ansible-playbook -i playbooks/inventories/stage.yml playbooks/deploy.yml",
                "Ctrl-C ends all of it.",
            )
        )
    return "\n".join(
        (
            f"The app {APP} answers at {stage.environment.gateway_url}",
            f"What the platform does is written to {stage.out / 'timeline.jsonl'}",
            "In another terminal:",
            f"  source {shlex.quote(str(script))}",
            f"  az containerapp revision list -n {APP} -g {RESOURCE_GROUP} -o table",
            '  python -m clients.hold "$STAGE_GATEWAY_URL" --connections 5 --duration 60',
            "  ansible-playbook -i playbooks/inventories/stage.yml playbooks/bluegreen.yml",
            "Ctrl-C ends all of it.",
        )
    )


def main() -> int:
    """1: a part of the stage did not start, and is named. 2: the arguments describe no valid app."""
    parser = argparse.ArgumentParser(
        prog="python -m stage", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path("rehearsals/stage"), metavar="DIR", help="folder of the results (%(default)s)")
    add("--mode", choices=("Single", "Multiple"), default=Seed.mode, help="revision mode of the app (%(default)s)")
    add("--affinity", choices=("sticky", "none"), default=Seed.affinity, help="session affinity (%(default)s)")
    add("--min-replicas", type=int, default=Seed.min_replicas, metavar="N", help="of each revision (%(default)s)")
    add("--max-replicas", type=int, default=Seed.max_replicas, metavar="N", help="of each revision (%(default)s)")
    add("--cooldown", type=int, default=Seed.cooldown_s, metavar="S", help="cooldownPeriod in seconds (%(default)s)")
    add("--empty", action="store_true", help="start without a resource group and an app, for a deployment")
    given = parser.parse_args()
    app_seed = Seed(
        mode=given.mode,
        affinity=given.affinity,
        min_replicas=given.min_replicas,
        max_replicas=given.max_replicas,
        cooldown_s=given.cooldown,
    )
    try:
        return asyncio.run(stand(given.out.absolute(), None if given.empty else app_seed))
    except Rejected as error:
        sys.stderr.write(f"stage: the app was rejected: {error.message}\n")
        return 2
    except (OSError, RuntimeError) as error:
        sys.stderr.write(f"stage: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
