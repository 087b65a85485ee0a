"""A row as a whole rehearsal: the real az, the real play, Envoy; the play must find it and go back to blue."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import orjson

from stage.azure import Stage
from stage.rehearsal.rehearsal import Rehearsal, Unexpected
from stage.rehearsal.scenarios import PASSING, ROLLOUT, TALKATIVE
from stage.rehearsal.steps import Steps
from stage.sabotage.middle import VARIABLE, program
from stage.sabotage.rollout import Broken, Result
from stage.sabotage.row import Row
from stage.seed import Seed

CONNECTIONS = 6
PLAY_ENDED = "fatal: ["


async def rehearsed(row: Row, out: Path) -> Result:
    """What the play found, and what the verdict did; nothing is left running. Raises Broken where no play failed."""
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(Stage(out, Seed(), program=program))
        rehearsal = Rehearsal(stage, Steps(quiet=True), CONNECTIONS)
        async with rehearsal.calls(*TALKATIVE, *PASSING):
            green = {"green_env": {VARIABLE: row.green, **row.green_env}}
            try:
                await rehearsal.play("bluegreen.yml", {**ROLLOUT, **green}, succeeds=False)
            except Unexpected as surprise:
                raise Broken(str(surprise)) from None
        return _result(out)


def _result(out: Path) -> Result:
    """The judgement that failed, by what the play wrote; where none did, by what it said."""
    for path in sorted((out / "rollout").glob("*.json"), key=lambda path: path.stat().st_mtime):
        found: dict[str, Any] = orjson.loads(path.read_bytes())
        failed = [check for check in found.get("checks", ()) if not check["as_expected"]]
        if failed:
            sentences = {check["name"]: check["sentence"] for check in failed}
            return Result(stopped_at=path.stem, by_play=list(sentences), sentences=sentences)
    said = (out / "play.log").read_text(errors="replace").splitlines()
    reason = next((line for line in said if PLAY_ENDED in line), "it gave no reason")
    return Result(stopped_at="play", by_play=["play"], sentences={"play": reason})
