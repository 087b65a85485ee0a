"""The figure: weights, live sessions and a lane per call, over one time axis in seconds since the first observation.

In its lane a call has its sessions as bars in the colour of the revision that served them, and what happened as marks.
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go  # type: ignore[import-untyped]
from plotly.subplots import make_subplots  # type: ignore[import-untyped]

from clients.drawing import marks
from clients.drawing.marks import CUT, FAILED_TURN, GRID, INK, UNKNOWN, Label, colours, short
from clients.evidence import Evidence
from clients.judging.answer import Rollout
from clients.judging.check import several
from clients.judging.hearing import FAULTS
from clients.judging.survival import cause_of
from clients.recorded import Fault, Session, Turn, utc

WEIGHTS_PX, LIVE_PX, GAP_PX, LABEL_PX, FOOT_PX = 80, 130, 34, 16, 46
PLOT_PX = 720.0
"""The least width of the plot, for which labels are placed: a narrower screen scrolls."""
EDGE = 0.01
"""Of the time axis, at both its ends."""
Place = tuple[str, int]
TICK = "line-ns"
"""White on a bar, so a legend could not show it."""
MANY_MARKS = 6000
"""Above that the browser draws turns as pixels instead of shapes."""


@dataclass(frozen=True, slots=True)
class Lanes:
    """Where each place is, from the top; `headings` name each hold above its lanes. One lane is `px` high."""

    of: Mapping[Place, int]
    headings: Sequence[tuple[float, str]]
    count: int
    px: float


def figure(evidence: Evidence, rollout: Rollout) -> go.Figure:
    zero, span_s = evidence.began, max(evidence.ended - evidence.began, 1.0)
    edge_s = EDGE * span_s
    colour = colours(evidence, rollout)
    lane = arrange(evidence)
    lanes_px = max(60.0, lane.count * lane.px + 8)
    labels = [each for each in marks.labels(evidence, zero - edge_s) if each.at <= evidence.ended + edge_s]
    relative = [Label(each.at - zero, each.until - zero, each.text, each.times) for each in labels]
    rows = marks.rows(relative, span_s + 2 * edge_s, PLOT_PX)
    top_px = 58 + LABEL_PX * (max(rows, default=0) + 1)
    heights = [WEIGHTS_PX, LIVE_PX, lanes_px]
    inner_px = sum(heights) + 2 * GAP_PX
    drawing = make_subplots(
        rows=3,
        cols=1,
        shared_xaxes=True,
        row_heights=heights,
        vertical_spacing=GAP_PX / inner_px,
    )
    for trace in weights(evidence, colour, zero):
        drawing.add_trace(trace, row=1, col=1)
    for trace in live_sessions(evidence, colour, zero):
        drawing.add_trace(trace, row=2, col=1)
    for trace in traces(evidence, lane, colour, zero):
        drawing.add_trace(trace, row=3, col=1)
    _axes(drawing, lane, span_s)
    _label(drawing, relative, rows, inner_px)
    _headings(drawing, lane)
    drawing.update_layout(
        height=inner_px + top_px + FOOT_PX,
        margin={"l": 54, "r": 14, "t": top_px, "b": FOOT_PX},
        barmode="overlay",
        bargap=0,
        hovermode="closest",
        plot_bgcolor="white",
        paper_bgcolor="white",
        font={"family": "system-ui, sans-serif", "size": 12, "color": INK},
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yref": "container", "yanchor": "top"},
        hoverlabel={"align": "left"},
    )
    return drawing


def _axes(drawing: go.Figure, lane: Lanes, span_s: float) -> None:
    drawing.update_xaxes(range=[-EDGE * span_s, (1 + EDGE) * span_s], showgrid=True, gridcolor=GRID, zeroline=False)
    drawing.update_xaxes(title_text="seconds since the first observation", title_standoff=6, row=3, col=1)
    drawing.update_yaxes(showgrid=True, gridcolor=GRID, zeroline=False, title_standoff=4)
    drawing.update_yaxes(title_text="weight", range=[0, 100], tickvals=[0, 50, 100], row=1, col=1)
    drawing.update_yaxes(title_text="live calls", rangemode="tozero", nticks=5, row=2, col=1)
    every = 1 if lane.px >= 12 else 5 if lane.px >= 7 else 10
    ticks = {row: str(call) for (_, call), row in lane.of.items() if call % every == 0 or (call == 1 and every < 10)}
    drawing.update_yaxes(
        title_text="call",
        range=[lane.count - 0.2, -0.5],
        tickvals=list(ticks),
        ticktext=list(ticks.values()),
        tickfont={"size": 10},
        showgrid=False,
        row=3,
        col=1,
    )


def _label(drawing: go.Figure, labels: list[Label], rows: list[int], inner_px: float) -> None:
    """A line through all three panels and a label above them; what belongs together has one."""
    for label, row in zip(labels, rows, strict=True):
        above_px = 4 + LABEL_PX * row
        drawing.add_shape(
            type="line",
            xref="x",
            yref="paper",
            x0=label.at,
            x1=label.at,
            y0=0,
            y1=1 + above_px / inner_px,
            line={"color": "rgba(34,39,46,.45)", "width": 1, "dash": "dot"},
            layer="above",
        )
        drawing.add_annotation(
            xref="x",
            yref="paper",
            x=label.at,
            y=1,
            xanchor="left",
            yanchor="bottom",
            yshift=above_px - 3,
            xshift=1,
            text=html.escape(label.words),
            showarrow=False,
            font={"size": 11},
            bgcolor="rgba(255,255,255,.75)",
            borderpad=0,
        )


def _headings(drawing: go.Figure, lane: Lanes) -> None:
    for row, text in lane.headings:
        drawing.add_annotation(
            xref="x3 domain",
            yref="y3",
            x=0,
            y=row,
            xanchor="left",
            yanchor="middle",
            text=f"<b>{text}</b>",
            showarrow=False,
            font={"size": 11},
        )


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


def arrange(evidence: Evidence) -> Lanes:
    """Holds in the order in which they began, each under its heading; thinner where there are many."""
    places = set(evidence.calls) | {(refused.hold, refused.call) for refused in evidence.refusals}
    started = {place[0]: evidence.ended for place in places}
    started |= {id_: hold.started for id_, hold in evidence.holds.items() if id_ in started}
    of: dict[Place, int] = {}
    headings = []
    row = 0
    px = _lane_px(len(places))
    room = max(1, round(22 / px))
    for id_ in sorted(started, key=lambda each: started[each]):
        mine = sorted(place for place in places if place[0] == id_)
        row += room
        headings.append((row - (room + 1) / 2, _heading(evidence, id_, len(mine))))
        of |= {place: row + index for index, place in enumerate(mine)}
        row += len(mine)
    return Lanes(of, headings, row, px)


def _lane_px(places: int) -> float:
    """Room for marks while the lanes fit a screen, then as thin as one can still follow."""
    if places <= 30:
        return 16.0
    return max(9.0, 600 / places) if places <= 60 else max(3.0, 1100 / places)


def _heading(evidence: Evidence, id_: str, places: int) -> str:
    hold = evidence.holds.get(id_)
    if hold is None:
        return f"{id_}: {several(places, 'place')}"
    at = "at a revision's own address" if hold.to_revision else "at the app's address"
    return f"{html.escape(hold.name)}: {several(places, 'place')} {at}"


def traces(evidence: Evidence, lanes: Lanes, colour: Mapping[str, str], zero: float) -> list[Any]:
    """In the order of drawing: the last are on top."""
    size = max(4.0, min(9.0, lanes.px * 0.55))
    bars = [_bars(evidence, lanes, revision, colour, zero) for revision in (*colour, None)]
    turns = [turn for turn in evidence.all_turns if (turn.hold, turn.call) in lanes.of]
    completed = [turn for turn in turns if turn.status == "completed"]
    failed = [turn for turn in turns if turn.status not in ("completed", "cut", "unanswered")]
    faults = [_fault(each, lanes, zero) for each in evidence.faults if (each.hold, each.call) in lanes.of]
    sessions = evidence.sessions
    cuts = [_ended(s, zero, lanes, f"<b>{html.escape(cause_of(s, evidence))}</b><br>") for s in sessions if s.cut]
    moves = [_ended(s, zero, lanes, "<b>moved</b>, between two turns<br>") for s in sessions if s.moved]
    unproven = [_ended(s, zero, lanes, "<b>moved or cut</b>: 1012, cause unknown<br>") for s in sessions if s.unproven]
    refusals = [
        (
            each.at - zero,
            lanes.of[each.hold, each.call],
            f"<b>refused</b> {html.escape(each.answer)}<br>"
            f"{html.escape(each.message)}<br>call {each.call}, {utc(each.at)}",
        )
        for each in evidence.refusals
    ]
    tick = {"symbol": TICK, "size": lanes.px * 0.6, "line": {"width": 1.5, "color": "rgba(255,255,255,.85)"}}
    cross = {"symbol": "x", "size": max(10.0, size + 4), "color": CUT, "line": {"width": 1.2, "color": "white"}}
    right = {"symbol": "triangle-right", "size": size + 3, "color": "white", "line": {"width": 1.4, "color": INK}}
    down = {
        "symbol": "triangle-down",
        "size": max(6.0, size + 1),
        "color": FAILED_TURN,
        "line": {"width": 1, "color": "white"},
    }
    square = {"symbol": "square-x-open", "size": size + 3, "color": CUT, "line": {"width": 1.6}}
    return [
        *(bar for bar in bars if bar is not None),
        _marks("turn completed", (_turn(each, lanes, zero) for each in completed), tick),
        _marks("turn not completed", (_turn(each, lanes, zero) for each in failed), down),
        _marks("fault heard", faults, down | {"symbol": "diamond", "color": CUT}),
        _marks("moved (1012)", moves, right),
        _marks("moved or cut (1012)", unproven, down | {"symbol": "triangle-right-open", "color": CUT}),
        _marks("refused", refusals, square),
        _marks("cut", cuts, cross),
    ]


def _bars(evidence: Evidence, lanes: Lanes, revision: str | None, colour: Mapping[str, str], zero: float) -> Any:
    mine = [session for session in evidence.sessions if session.revision == revision]
    if not mine:
        return None
    ends = [session.end.at if session.end else evidence.ended for session in mine]
    return go.Bar(
        orientation="h",
        name=revision or "unknown revision",
        base=[round(session.opened - zero, 3) for session in mine],
        x=[round(end - session.opened, 3) for session, end in zip(mine, ends, strict=True)],
        y=[lanes.of[session.place] for session in mine],
        width=0.78,
        marker={"color": colour.get(revision or "", UNKNOWN), "line": {"width": 0}},
        customdata=[_about(session, end, zero) for session, end in zip(mine, ends, strict=True)],
        hovertemplate="%{customdata}<extra></extra>",
        legendgroup=revision,
        showlegend=False,
    )


def _marks(name: str, points: Iterable[tuple[float, int, str]], marker: dict[str, Any]) -> Any:
    drawn = list(points)
    kind = go.Scattergl if len(drawn) > MANY_MARKS else go.Scatter
    return kind(
        name=name,
        mode="markers",
        x=[round(x, 3) for x, _, _ in drawn],
        y=[lane for _, lane, _ in drawn],
        marker=marker,
        customdata=[words for _, _, words in drawn],
        hovertemplate="%{customdata}<extra></extra>",
        showlegend=bool(drawn) and marker["symbol"] != TICK,
    )


def _turn(turn: Turn, lanes: Lanes, zero: float) -> tuple[float, int, str]:
    audio = f", first audio after {turn.first_audio_ms:.0f} ms" if turn.first_audio_ms is not None else ""
    detail = f"<br>{html.escape(turn.detail)}" if turn.detail else ""
    words = (
        f"turn {html.escape(turn.status)}{audio}{detail}<br>call {turn.call}, {turn.at - zero:.1f} s, {utc(turn.at)}"
    )
    return turn.at - zero, lanes.of[turn.hold, turn.call], words


def _fault(fault: Fault, lanes: Lanes, zero: float) -> tuple[float, int, str]:
    words = f"<b>{html.escape(FAULTS.get(fault.fault, fault.fault))}</b><br>{html.escape(fault.detail)}"
    about = f"<br>call {fault.call}, {fault.at - zero:.1f} s, {utc(fault.at)}"
    return fault.at - zero, lanes.of[fault.hold, fault.call], words + about


def _ended(session: Session, zero: float, lanes: Lanes, words: str) -> tuple[float, int, str]:
    end = session.end
    assert end is not None
    return end.at - zero, lanes.of[session.place], words + _about(session, end.at, zero)


def _about(session: Session, until: float, zero: float) -> str:
    end = session.end
    ended = f"ended {end.code}, {end.closed_by}" if end else "still open at the end of the record"
    return (
        f"call {session.call} on {html.escape(short(session.revision or 'unknown'))}: {ended}<br>"
        f"session {html.escape(session.name)}<br>replica {html.escape(session.replica or 'unknown')}<br>"
        f"{session.opened - zero:.1f} s to {until - zero:.1f} s, {utc(session.opened)} to {utc(until)}"
    )
