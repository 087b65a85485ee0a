"""The colours of a drawing, and the platform's acts as few labels: what happens to many replicas at once is shown once.

The palette is Okabe and Ito's, which people with any kind of colour vision can tell apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from clients.evidence import Evidence
from clients.judging.answer import Rollout
from clients.recorded import Act, Window

BLUE, GREEN = "#0072B2", "#009E73"
OTHERS = ("#E69F00", "#CC79A7", "#56B4E9", "#F0E442")
UNKNOWN = "#8A8A8A"
CUT, FAILED_TURN, INK, GRID = "#C1121F", "#D55E00", "#22272E", "#E3E6EA"
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
SHOWN_ELSEWHERE = {"revision.scaled": ("created", "deactivated")}
"""Scaling that only follows from another act. A startup probe that fails is a start."""


def colours(evidence: Evidence, rollout: Rollout) -> dict[str, str]:
    """In the order in which revisions came; the first blue is blue, the first green is green."""
    served = [session.revision for session in evidence.sessions if session.revision]
    revisions = list(dict.fromkeys([*rollout.blue, *rollout.green, *served]))
    blue, green = rollout.blue[:1] or tuple(revisions[:1]), rollout.green[:1] or tuple(revisions[1:2])
    rest = [revision for revision in revisions if revision not in (*blue, *green)]
    chosen = dict(zip((*blue, *green), (BLUE, GREEN), strict=False))
    chosen |= {revision: OTHERS[index % len(OTHERS)] for index, revision in enumerate(rest)}
    return {revision: chosen[revision] for revision in revisions}


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
    events = [(window.start, _weights(window)) for window in evidence.windows]
    events += [(act.at, text) for act in evidence.acts if (text := _text(act))]
    labels: list[Label] = []
    for at, text in sorted(each for each in events if each[0] >= since):
        same = next((i for i, each in enumerate(labels) if each.text == text and at - each.until < TOGETHER_S), None)
        if same is None:
            labels.append(Label(at, at, text, 1))
        else:
            first = labels[same]
            labels[same] = Label(first.at, at, text, first.times + 1)
    return labels


def _weights(window: Window) -> str:
    return " / ".join(f"{short(name)} {weight}" for name, weight in window.weights.items())


def _text(act: Act) -> str:
    if act["reason"] in SHOWN_ELSEWHERE.get(act.name, ()) or (act.name == "probe.failed" and act["probe"] == "startup"):
        return ""
    why = "" if act["reason"] in (None, "deactivated") else f", {act['reason']}"
    fields = {name: act[name] for name in ("probe", "replicas_from", "replicas_to")}
    return SHOWN.get(act.name, "").format(revision=short(str(act["revision"])), why=why, **fields)


def short(revision: str) -> str:
    """A revision without the name of its app, which all of them have in common."""
    return revision.rpartition("--")[2] or revision


def rows(labels: Sequence[Label], span_s: float, plot_px: float) -> list[int]:
    """A row for each label so that no two overlap when the plot is ``plot_px`` wide."""
    ends: list[float] = []
    placed = []
    for label in labels:
        x = label.at * plot_px / span_s
        row = next((i for i, end in enumerate(ends) if end < x), len(ends))
        ends[row : row + 1] = [x + 6.0 * len(label.words) + 14]
        placed.append(row)
    return placed
