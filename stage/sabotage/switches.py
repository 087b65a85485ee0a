"""Switches of the ingress, and what may happen to a record before it is judged."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from stage.ingress import Ingress, Site

Line = dict[str, Any]
Change = Callable[[Line], Line | None]
"""A line to what is left of it; None: nothing."""


class Reweighted(Ingress):
    """Takes every setting of weights and sends calls by its own: those of `weights`, where it is about two."""

    def weights(self, asked: Mapping[str, int]) -> Mapping[str, int]:
        raise NotImplementedError

    async def set_traffic(self, app: str, site: Site | None) -> None:
        if site is not None:
            site = replace(site, weights=self.weights(site.weights))
        await super().set_traffic(app, site)


class FirstOnly(Reweighted):
    """While two revisions have a weight, the older one gets every call."""

    def weights(self, asked: Mapping[str, int]) -> Mapping[str, int]:
        first = next((name for name, weight in asked.items() if weight), None)
        return {name: weight if name == first else 0 for name, weight in asked.items()}


class Skewed(Reweighted):
    """A share of a half is a share of a twentieth."""

    def weights(self, asked: Mapping[str, int]) -> Mapping[str, int]:
        return {name: 5 if weight == 50 and name.endswith("green") else weight for name, weight in asked.items()}


class Lingering(Ingress):
    """A revision that had a weight keeps a third of the calls when it is set to 0, as long as it is active."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._had: dict[str, int] = {}

    async def set_traffic(self, app: str, site: Site | None) -> None:
        if site is not None:
            self._had |= {name: 50 for name, weight in site.weights.items() if weight}
            active = {name: weight for name, weight in self._had.items() if name in site.addresses.values()}
            site = replace(site, weights=active | {name: weight for name, weight in site.weights.items() if weight})
        await super().set_traffic(app, site)


def _each(change: Change, *where: str) -> Callable[[Path], None]:
    """Writes the files of the record anew that match, line by line."""

    def rewrite(out: Path) -> None:
        for pattern in where:
            for path in out.glob(pattern):
                lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
                kept = [changed for line in lines if (changed := change(line)) is not None]
                path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in kept))

    return rewrite


def without_acts(*names: str) -> Callable[[Path], None]:
    """The platform wrote nothing of these."""
    return _each(lambda line: None if line["act"] in names else line, "timeline.jsonl")


def without_events(*names: str) -> Callable[[Path], None]:
    """The relays' logs lack these."""
    return _each(lambda line: None if line["event"] in names else line, "replicas/*.jsonl")


def without_a_log(out: Path) -> None:
    """There are no logs of the relays at all."""
    for path in out.glob("replicas/*.jsonl"):
        path.unlink()


def without_one_log(out: Path) -> None:
    """The log of one replica of green is missing."""
    sorted(out.glob("replicas/*--green-*.jsonl"))[0].unlink()


def skewed(seconds: float, *where: str) -> Callable[[Path], None]:
    """The clock of those who wrote these files is so many seconds ahead, or behind."""

    def moved(line: Line) -> Line:
        at = datetime.fromisoformat(line["ts"]) + timedelta(seconds=seconds)
        return {**line, "ts": at.isoformat(timespec="milliseconds").replace("+00:00", "Z")}

    return _each(moved, *where)


def cut_off(pattern: str) -> Callable[[Path], None]:
    """The second half of these files is missing: a disk that was full."""

    def cut(out: Path) -> None:
        for path in out.glob(pattern):
            lines = path.read_bytes()
            path.write_bytes(lines[: len(lines) // 2])

    return cut


def without_the_models_record(out: Path) -> None:
    """The model kept no record, as on Azure."""
    for path in out.glob("model*.jsonl"):
        path.unlink()
