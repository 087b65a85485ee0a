"""The two upper panels: weights and live sessions of each revision over time."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go  # type: ignore[import-untyped]

from clients.drawing.acts import short
from clients.drawing.colours import UNKNOWN
from clients.evidence import Evidence
from clients.facts import utc


def weights(evidence: Evidence, colour: Mapping[str, str], zero: float) -> list[Any]:
    """Stepped areas on top of each other; an area ends where the record does."""
    windows = [each for each in evidence.windows if each.end > zero and each.start < evidence.ended]
    starts = [max(each.start, zero) for each in windows]
    times = [*starts, evidence.ended] if windows else []
    traces = []
    for revision in dict.fromkeys(name for each in windows for name in each.weights):
        shares = [each.weights.get(revision, 0) for each in windows]
        traces.append(
            go.Scatter(
                name=revision,
                x=[round(at - zero, 3) for at in times],
                y=[*shares, *shares[-1:]],
                stackgroup="weights",
                mode="lines",
                line={"shape": "hv", "width": 0, "color": colour.get(revision, UNKNOWN)},
                customdata=[utc(at) for at in times],
                hovertemplate=f"{short(revision)}: %{{y}} %<br>from %{{x:.1f}} s, %{{customdata}}<extra></extra>",
                legendgroup=revision,
                showlegend=False,
            )
        )
    return traces


def live_sessions(evidence: Evidence, colour: Mapping[str, str], zero: float) -> list[Any]:
    traces = []
    for revision, chosen in colour.items():
        mine = [session for session in evidence.sessions if session.revision == revision]
        changes = [(session.opened, 1) for session in mine]
        changes += [(session.end.at, -1) for session in mine if session.end]
        times, counts, live = [zero], [0], 0
        for at, change in sorted(changes):
            live += change
            times.append(at)
            counts.append(live)
        times.append(evidence.ended)
        counts.append(live)
        traces.append(
            go.Scatter(
                name=revision,
                x=[round(at - zero, 3) for at in times],
                y=counts,
                mode="lines",
                line={"shape": "hv", "width": 2, "color": chosen},
                fill="tozeroy",
                fillcolor=f"rgba{(*(int(chosen[i : i + 2], 16) for i in (1, 3, 5)), 0.12)}",
                customdata=[utc(at) for at in times],
                hovertemplate=f"{short(revision)}: %{{y}} live<br>%{{x:.1f}} s, %{{customdata}}<extra></extra>",
                legendgroup=revision,
            )
        )
    return traces
