"""What the platform did, as few labels: what happens to many replicas of a revision at once is said once."""

from collections.abc import Sequence
from dataclasses import dataclass

from clients.evidence import Evidence
from clients.facts import Act, Window

TOGETHER_S = 3.0
SHOWN = {
    "revision.created": "{revision} created",
    "revision.ready": "{revision} ready",
    "revision.failed": "{revision} failed",
    "revision.activated": "{revision} activated",
    "revision.deactivated": "{revision} deactivated",
    "revision.scaled": "{revision} {replicas_from} to {replicas_to}",
    "replica.sigterm": "{revision} SIGTERM{why}",
    "replica.sigkill": "{revision} SIGKILL",
    "replica.exited": "{revision} exited",
    "probe.failed": "{revision} {probe} probe failed",
    "stage.stopped": "stage stopped",
}
TOLD_ELSEWHERE = {"revision.scaled": ("created", "deactivated")}
"""Scaling that only follows from another act. A startup probe that fails is a start."""


@dataclass(frozen=True, slots=True)
class Label:
    """`times`: how often within a few seconds; `until` is the last of them."""

    at: float
    until: float
    text: str
    times: int

    @property
    def words(self) -> str:
        return f"{self.text} x{self.times}" if self.times > 1 else self.text


def labels(evidence: Evidence, since: float) -> list[Label]:
    """In order of time. Probes and exits that repeat stay one label for as long as they go on."""
    said = [(window.start, _weights(window)) for window in evidence.windows]
    said += [(act.at, text) for act in evidence.acts if (text := _text(act))]
    found: list[Label] = []
    for at, text in sorted(each for each in said if each[0] >= since):
        same = next((i for i, each in enumerate(found) if each.text == text and at - each.until < TOGETHER_S), None)
        if same is None:
            found.append(Label(at, at, text, 1))
        else:
            found[same] = Label(found[same].at, at, text, found[same].times + 1)
    return found


def _weights(window: Window) -> str:
    return " / ".join(f"{short(name)} {weight}" for name, weight in window.weights.items())


def _text(act: Act) -> str:
    if act["reason"] in TOLD_ELSEWHERE.get(act.name, ()) or (act.name == "probe.failed" and act["probe"] == "startup"):
        return ""
    why = "" if act["reason"] in (None, "deactivated") else f", {act['reason']}"
    fields = {name: act[name] for name in ("probe", "replicas_from", "replicas_to")}
    return SHOWN.get(act.name, "").format(revision=short(str(act["revision"])), why=why, **fields)


def short(revision: str) -> str:
    """A revision without the name of its app, which all of them have in common."""
    return revision.rpartition("--")[2] or revision


def rows(found: Sequence[Label], span_s: float, plot_px: float) -> list[int]:
    """A row for each label so that no two overlap when the plot is ``plot_px`` wide."""
    ends: list[float] = []
    placed = []
    for label in found:
        x = label.at * plot_px / span_s
        row = next((i for i, end in enumerate(ends) if end < x), len(ends))
        ends[row : row + 1] = [x + 6.0 * len(label.words) + 14]
        placed.append(row)
    return placed
