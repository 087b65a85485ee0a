"""A lane per call: its sessions as bars in the colour of the revision that served them, and what happened as marks."""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go  # type: ignore[import-untyped]

from clients.drawing.acts import short
from clients.drawing.colours import CUT, FAILED_TURN, INK, UNKNOWN
from clients.evidence import Evidence
from clients.facts import Fault, Session, Turn, utc
from clients.judging.causes import cause_of
from clients.judging.check import several
from clients.judging.hearing import FAULTS

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
    turns = [turn for each in evidence.turns.values() for turn in each if (turn.hold, turn.call) in lanes.of]
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
        _marks("wrong to hear", faults, down | {"symbol": "diamond", "color": CUT}),
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
    found = list(points)
    kind = go.Scattergl if len(found) > MANY_MARKS else go.Scatter
    return kind(
        name=name,
        mode="markers",
        x=[round(x, 3) for x, _, _ in found],
        y=[lane for _, lane, _ in found],
        marker=marker,
        customdata=[words for _, _, words in found],
        hovertemplate="%{customdata}<extra></extra>",
        showlegend=bool(found) and marker["symbol"] != TICK,
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
