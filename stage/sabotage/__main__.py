"""``python -m stage.sabotage``: bad releases and good ones, each rolled out, and a table of who found what."""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from stage.commandline import calls, new_folder, until_interrupted
from stage.platform import Rejected
from stage.sabotage.rollout import Broken, Result, Rollout
from stage.sabotage.row import Row
from stage.sabotage.rows import ROWS
from stage.sabotage.whole import rehearsed

AS_IT_SHOULD_BE, OTHERWISE = 0, 1
CALLS_PER_PLACE = 30
EXIT_CODES = """
exit code:
  0 every row is as it should be, 1 one is not, 2 bad arguments, 130 interrupted
"""


def found(result: Result) -> str:
    """Who found it, in words."""
    if result.stopped_at:
        return f"{result.stopped_at}: {', '.join(result.by_play)}"
    return f"verdict: {', '.join(result.by_verdict)}" if result.by_verdict else "nobody"


def as_it_should_be(row: Row, result: Result) -> bool:
    """Whether the right part found it, by one of the right checks; a good release: whether none did."""
    if row.good:
        return not result.stopped_at and not result.by_verdict
    if row.by == "play":
        return bool(result.stopped_at) and _any(row.must, result.by_play)
    return _any(row.must, result.by_verdict)


def _any(must: Iterable[str], failed: Iterable[str]) -> bool:
    """A group's name means all of its checks."""
    return any(name == each or name.startswith(f"{each}.") for each in must for name in failed)


class View:
    """A line for each row as it ends."""

    def __init__(self) -> None:
        self.bad: list[str] = []
        self._console = Console(highlight=False, markup=False, soft_wrap=True)

    def row(self, row: Row, result: Result | str, seconds: float) -> None:
        good = isinstance(result, Result) and as_it_should_be(row, result)
        if not good:
            self.bad.append(row.name)
        must = "nobody" if row.good else f"{row.by}: {' | '.join(row.must)}"
        words = found(result) if isinstance(result, Result) else f"broken: {result}"
        mark = "ok " if good else "BAD"
        self._console.print(
            f"{mark} {row.name:24} {seconds:5.0f} s  must {must:44}  found {words}", style="" if good else "bold red"
        )
        if not good and isinstance(result, Result):
            for name, sentence in result.sentences.items():
                self._console.print(f"      {name}: {sentence}")
            self._console.print(f"      {result.headline}")

    def end(self, count: int, seconds: float) -> None:
        said = f"{len(self.bad)} of {count} rows are not as they should be: {', '.join(self.bad)}"
        self._console.print(f"{said if self.bad else f'All {count} rows are as they should be'} ({seconds:.0f} s)")


class GoodRollout:
    """One rollout whose record several rows are about; it is made when the first of them asks."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._making: asyncio.Task[Result] | None = None

    async def record(self) -> Path:
        """Where its record is. Raises Broken where it did not pass."""
        if self._making is None:
            row = Row(name="good-for-many", about="a release like the one before", by="nobody")
            self._making = asyncio.create_task(Rollout(row, self._out).run())
        result = await self._making
        if found(result) != "nobody":
            raise Broken(f"the good rollout whose record this is about did not pass: {found(result)}")
        return self._out


class Places:
    """So many rows may run at once; one with many calls takes the place of several, for it loads the machine so."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._free = asyncio.Semaphore(count)
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def taken(self, row: Row) -> AsyncIterator[None]:
        """Waits until the row may run; first come, first served."""
        async with AsyncExitStack() as taken:
            async with self._turn:
                for _ in range(self.needed(row)):
                    await taken.enter_async_context(self._free)
            yield

    def needed(self, row: Row) -> int:
        """How many places the row takes."""
        return min(self._count, max(1, row.connections // CALLS_PER_PLACE))


async def run(rows: Sequence[Row], jobs: int, out: Path, *, whole: bool) -> int:
    """Every row, ``jobs`` at a time; the exit code. Cancelled, it leaves nothing running.

    ``whole`` rehearses them with az and Ansible, where the play must find them.
    """
    view, began, places = View(), time.monotonic(), Places(jobs)

    good = GoodRollout(out / "good-for-many")

    async def one(row: Row) -> None:
        async with places.taken(row):
            started, folder = time.monotonic(), out / row.name
            try:
                result: Result | str
                if whole:
                    result = await rehearsed(row, folder)
                elif row.shares_a_rollout:
                    result = await Rollout(row, folder).judged(await good.record())
                else:
                    result = await Rollout(row, folder).run()
            except (Broken, Rejected, OSError, RuntimeError) as error:
                result = str(error)
            view.row(row, result, time.monotonic() - started)

    async with asyncio.TaskGroup() as group:
        for row in sorted(rows, key=places.needed, reverse=True):
            group.create_task(one(row))
    view.end(len(rows), time.monotonic() - began)
    return OTHERWISE if view.bad else AS_IT_SHOULD_BE


def main() -> int:
    given = _parse(sys.argv[1:])
    rows = [ROWS[name] for name in given.only or ROWS]
    if given.whole:
        rows = [row for row in rows if row.whole]
    if given.list:
        table = Table("row", "what is wrong", "who must find it", "by", box=None)
        for row in rows:
            table.add_row(row.name, row.about, row.by, " | ".join(row.must))
        Console(width=200).print(table)
        return 0
    out = given.out or Path("rehearsals", f"sabotage-{time.strftime('%Y%m%d-%H%M%S')}")
    return asyncio.run(until_interrupted(run(rows, given.jobs, out.absolute(), whole=given.whole)))


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="nox -s sabotage --",
        description="Releases that are bad in one way each, rolled out on the stage: does the play find them before"
        " blue stops, or at least the verdict? And does a good one pass?",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--only", action="append", default=[], choices=ROWS, metavar="ROW", help="this row; repeatable")
    add("--list", action="store_true", help="print the rows and end")
    add("--whole", action="store_true", help="rehearse those rows that are marked so with az, Ansible and Envoy")
    add(
        "--jobs",
        type=calls(64),
        default=8,
        metavar="N",
        help="rows at a time; one with many calls is several (%(default)s)",
    )
    add("--out", type=new_folder, metavar="DIR", help="folder of the results (rehearsals/sabotage-TIME)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
