"""A row as a whole rehearsal: the real az, the real play, Envoy; the play must find it and go back to blue."""

import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import orjson

from stage.azure import Stage
from stage.rehearsal import Rehearsal, Steps, Unexpected
from stage.rehearse import PASSING, ROLLOUT, TALKATIVE
from stage.sabotage.middle import VARIABLE, program
from stage.sabotage.rollout import STARTUP_EVERY_S, Broken, Result, failed
from stage.sabotage.row import Row
from stage.seed import Seed

CONNECTIONS = 6
WENT_BACK = re.compile(r'"msg": "Rolled back, \S+ carries every call: (?P<record>[\w-]+): (?P<reason>[^"]*)')


async def rehearsed(row: Row, out: Path) -> Result:
    """What the play found, and what the verdict did; nothing is left running. Raises Broken where no play failed."""
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(Stage(out, Seed(startup_every_s=STARTUP_EVERY_S), program=program))
        rehearsal = Rehearsal(stage, Steps(quiet=True), CONNECTIONS)
        async with rehearsal.calls(*TALKATIVE, *PASSING):
            green = {"green_env": {VARIABLE: row.green, **row.green_env}}
            try:
                await rehearsal.play("bluegreen.yml", {**ROLLOUT, **green}, succeeds=False)
            except Unexpected as surprise:
                raise Broken(str(surprise)) from None
        return _result(out)


def _result(out: Path) -> Result:
    """What the play says that it went back for, with the checks that failed there. Raises Broken where it did not."""
    said = WENT_BACK.search((out / "play.log").read_text(errors="replace"))
    if said is None:
        raise Broken(f"the play did not go back to blue for a reason: see {out / 'play.log'}")
    name, reason = said["record"], said["reason"]
    written = out / "rollout" / f"{name}.json"
    found: dict[str, Any] = orjson.loads(written.read_bytes()) if written.exists() else {}
    sentences = {check["name"]: check["sentence"] for check in found.get("checks", ()) if not check["as_expected"]}
    return Result(stopped_at=name, by_play=failed(found) or [name], sentences=sentences or {name: reason})
