"""The page: the answer and its themes first, then the figure, then why, then what to look up. One file, no network.

It has one column; tables become cards on a phone, and a print has no toolbar.
"""

import html
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clients.drawing.figure import figure
from clients.drawing.marks import labels
from clients.evidence import Evidence
from clients.judging.answer import Rollout
from clients.judging.check import several
from clients.judging.hearing import FAULTS
from clients.judging.survival import TURNS, cause_of
from clients.recorded import Session, utc

CAPTION = (
    "Each bar is a session of a call, in the colour of the revision that served it; a white tick in it ends a turn. "
    "Point at anything for its session, replica, code and time in UTC; drag to look closer, double-click to go back."
)
BUTTONS = ["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]
"""All that need no network."""
PRINT_PX = 700
FIT_PAPER = f"""
const drawing = document.querySelector(".plotly-graph-div");
window.addEventListener("beforeprint", () => Plotly.relayout(drawing, {{width: {PRINT_PX}}}));
window.addEventListener("afterprint", () => Plotly.relayout(drawing, {{width: null, autosize: true}}));
"""
MARKS = {"pass": "✓", "fail": "✗", "inconclusive": "?"}
MOST_ROWS = 300
CSS = """
:root { color-scheme: light; --ink: #22272e; --soft: #5b6470; --line: #dde1e6;
  --good: #00694d; --bad: #a50e1b; --open: #8a5a00 }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1180px; padding: 20px; color: var(--ink); background: white;
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
header { border-left: 10px solid var(--tone); background: var(--wash); padding: 16px 20px; border-radius: 4px }
header.good { --tone: var(--good); --wash: #e9f6f1 } header.bad { --tone: var(--bad); --wash: #fdecee }
header.other { --tone: var(--open); --wash: #fdf4e1 }
.word { font-weight: 700; letter-spacing: .06em; text-transform: uppercase; color: var(--tone); font-size: 14px }
h1 { font-size: clamp(21px, 3.4vw, 32px); line-height: 1.2; margin: 2px 0 6px; overflow-wrap: break-word }
h2 { font-size: 18px; margin: 30px 0 8px }
p { margin: 4px 0 } .soft { color: var(--soft) }
ul.themes { display: flex; flex-wrap: wrap; gap: 4px 22px; list-style: none; margin: 12px 0 0; padding: 0 }
ul.themes { font-weight: 600 }
dl.facts { display: flex; flex-wrap: wrap; gap: 8px 28px; margin: 16px 0 0 }
dl.facts div { min-width: 70px }
dt { color: var(--soft); font-size: 12.5px } dd { margin: 0; font-size: 20px; font-weight: 600 }
dd.bad { color: var(--bad) }
table { border-collapse: collapse; width: 100%; font-size: 13.5px }
th, td { text-align: left; padding: 4px 14px 4px 0; vertical-align: top; border-bottom: 1px solid var(--line) }
th { color: var(--soft); font-weight: 600 }
tr.theme td { font-weight: 700; padding-top: 14px; border-bottom-color: #aab2bc }
td { overflow-wrap: anywhere } code, .mono { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 12.5px }
.name { white-space: nowrap } .status { font-weight: 700; white-space: nowrap }
.pass { color: var(--good) } .fail { color: var(--bad) } .inconclusive { color: var(--open) }
.scroll { overflow-x: auto } .scroll > div { min-width: 800px }
details { margin-top: 14px } summary { cursor: pointer; font-weight: 600 }
@media (max-width: 700px) {
  body { padding: 12px } table, tbody, tr, td { display: block } thead { display: none }
  tr { padding: 8px 0; border-bottom: 1px solid var(--line) } td { border: 0; padding: 1px 0 }
  td[data-name]::before { content: attr(data-name) ": "; color: var(--soft) }
}
@media print {
  body { max-width: none; padding: 0; font-size: 11px } table { font-size: 10px }
  code, .mono { font-size: 9px }
  .modebar-container, .modebar { display: none !important }
  .scroll { overflow: visible } .scroll > div { min-width: 0 }
  header { print-color-adjust: exact; -webkit-print-color-adjust: exact }
  h2 { break-after: avoid } tr { break-inside: avoid } @page { size: A4; margin: 12mm }
}
"""


def page(evidence: Evidence, verdict: Mapping[str, Any], rollout: Rollout) -> str:
    drawing = figure(evidence, rollout).to_html(
        full_html=False,
        include_plotlyjs=True,
        config={"displaylogo": False, "responsive": True, "modeBarButtons": [BUTTONS]},
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(verdict["headline"])}</title><link rel="icon" href="data:,"><style>{CSS}</style></head><body>
{_header(verdict)}
{themes(verdict["checks"])}
{_numbers(evidence, verdict)}
<h2>What happened</h2><p class="soft">{CAPTION}</p><div class="scroll">{drawing}</div>
<h2>Checks</h2>{checks(verdict["checks"])}
<h2>Cuts and refusals</h2>{cuts(evidence)}
{faults(evidence)}
{acts(evidence)}
{files(evidence)}
<script>{FIT_PAPER}</script></body></html>
"""


def _header(verdict: Mapping[str, Any]) -> str:
    number = Counter(check["status"] for check in verdict["checks"])
    surprises = [check["name"] for check in verdict["checks"] if not check["as_expected"]]
    surprises += verdict["expected_but_missing"]
    undecided = verdict.get("undecided") or verdict["expected_but_missing"]
    tone = "bad" if number["fail"] else "good" if number["pass"] and not undecided else "other"
    word = {"bad": "✗ failed", "good": "✓ passed", "other": "? inconclusive"}[tone]
    tally = f"{number['pass']} checks passed, {number['fail']} failed, {number['inconclusive']} inconclusive"
    if number["fail"] and not surprises:
        tally += "; this is what was expected of this run"
    elif surprises:
        tally += f"; not as expected: {', '.join(surprises)}"
    body = f'<div class="word">{word}</div><h1>{text(verdict["headline"])}</h1><p>{text(tally)}</p>'
    return f'<header class="{tone}">{body}</header>'


def _numbers(evidence: Evidence, verdict: Mapping[str, Any]) -> str:
    counts = verdict["counts"]
    shown = {
        "calls": counts["calls"],
        "sessions": counts["sessions"],
        "cut": counts["cut"],
        "refused": counts["refused"],
        "moved": counts["moved"],
        "turns": counts["turns"],
        "turns not completed": counts["turns_not_completed"],
        "faults heard": counts.get("faults", 0),
        "rollout": verdict["outcome"],
        "observed for": f"{evidence.ended - evidence.began:.0f} s",
    }
    hurt = {name for name in ("cut", "refused", "faults heard") if shown[name]}
    tiles = "".join(
        f"<div><dt>{name}</dt><dd{' class=bad' if name in hurt else ''}>{text(value)}</dd></div>"
        for name, value in shown.items()
    )
    return f'<dl class="facts">{tiles}</dl><p class="soft">{utc(evidence.began)} to {utc(evidence.ended)}</p>'


def themes(decided: Sequence[Mapping[str, Any]]) -> str:
    """Each theme by its worst check; one that decided nothing, or not all it had to, is inconclusive."""
    statuses: dict[str, set[str]] = {}
    for check in decided:
        undecided = check.get("required") and check["status"] == "inconclusive"
        statuses.setdefault(check["theme"], set()).add("undecided" if undecided else check["status"])
    order = {"fail": "fail", "undecided": "inconclusive", "pass": "pass", "inconclusive": "inconclusive"}
    worst = {name: next(order[each] for each in order if each in has) for name, has in statuses.items()}
    items = (f'<li class="{each}">{MARKS[each]} {text(name)}</li>' for name, each in worst.items())
    return f'<ul class="themes">{"".join(items)}</ul>'


def checks(decided: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    theme = None
    for check in decided:
        if check["theme"] != theme:
            theme = check["theme"]
            rows.append(f'<tr class="theme"><td colspan="5">{text(theme)}</td></tr>')
        status = check["status"]
        unmet = " (required)" if check.get("required") and status == "inconclusive" else " (not expected)"
        surprise = "" if check["as_expected"] else unmet
        cells = (
            f'<span class="mono name">{text(check["name"])}</span>',
            f'<span class="status {status}">{MARKS[status]} {status}{surprise}</span>',
            text(check["measured"]),
            text(check["expected"]),
            text(check["sentence"]),
        )
        rows.append(_row(("", "", "measured", "expected", ""), cells))
    return _table(("check", "status", "measured", "expected", "in words"), rows)


def cuts(evidence: Evidence) -> str:
    cuts = [session for session in evidence.sessions if session.cut]
    names = ("at", "call", "session", "replica", "age", "code", "cause")
    rows = [_row(names, _cut(session, evidence)) for session in cuts]
    rows += [
        _row(names, (_at(each.at, evidence), str(each.call), "-", "-", "-", text(each.answer), text(each.message)))
        for each in evidence.refusals
    ]
    if not rows:
        sessions = several(len(evidence.sessions), "session")
        return f"<p>None: {sessions}, each ended by its caller, moved between turns, or still open.</p>"
    return _long_table(names, rows)


def faults(evidence: Evidence) -> str:
    """What callers heard that no healthy call has."""
    if not evidence.faults:
        return ""
    names = ("at", "call", "session", "replica", "wrong", "detail")
    rows = []
    for each in sorted(evidence.faults, key=lambda fault: fault.at):
        session, where = each.session or "without an id", each.replica or each.revision or "unknown"
        ids = (f'<span class="mono">{text(name)}</span>' for name in (session, where))
        wrong = text(FAULTS.get(each.fault, each.fault)), text(each.detail)
        rows.append(_row(names, (_at(each.at, evidence), str(each.call), *ids, *wrong)))
    return f"<h2>Faults heard</h2>{_long_table(names, rows)}"


def _cut(session: Session, evidence: Evidence) -> tuple[str, ...]:
    end = session.end
    assert end is not None
    turn = TURNS.get(end.turn, "between turns")
    where = f'<span class="mono">{text(session.replica or session.revision or "unknown")}</span>'
    code = f"{end.code} ({end.closed_by}), {turn}"
    name = f'<span class="mono">{text(session.name)}</span>'
    age = f'<span class="name">{end.at - session.opened:.1f} s</span>'
    return _at(end.at, evidence), str(session.call), name, where, age, code, text(cause_of(session, evidence))


def acts(evidence: Evidence) -> str:
    shown = labels(evidence, float("-inf"))
    if not shown:
        return ""
    rows = [_row(("at", ""), (_at(each.at, evidence), text(each.words))) for each in shown]
    table = _table(("at", "act"), rows[:MOST_ROWS])
    return f"<details><summary>What the platform did: {several(len(shown), 'act')}</summary>{table}</details>"


def files(evidence: Evidence) -> str:
    files = "".join(f"<li><code>{text(_near(file))}</code></li>" for file in evidence.files)
    ignored = f"; {evidence.ignored} lines of no known kind left out" if evidence.ignored else ""
    made = f"Made from {several(len(evidence.files), 'file')}{ignored}"
    return f"<details><summary>{made}</summary><ul>{files}</ul></details>"


def _near(file: Path) -> str:
    """From where the report was made, if the file is below."""
    absolute = file.resolve()
    return str(absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute)


def _at(at: float, evidence: Evidence) -> str:
    return f'<span class="name">{at - evidence.began:.1f} s</span> <span class="soft">{utc(at)}</span>'


def _row(names: Iterable[str], cells: Iterable[str]) -> str:
    columns = (
        f"<td{f' data-name={chr(34)}{name}{chr(34)}' if name else ''}>{cell}</td>"
        for name, cell in zip(names, cells, strict=True)
    )
    return f"<tr>{''.join(columns)}</tr>"


def _table(names: Iterable[str], rows: Iterable[str]) -> str:
    head = "".join(f"<th>{name}</th>" for name in names)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _long_table(names: Iterable[str], rows: Sequence[str]) -> str:
    more = f"<p>and {len(rows) - MOST_ROWS} more</p>" if len(rows) > MOST_ROWS else ""
    return _table(names, rows[:MOST_ROWS]) + more


def text(value: object) -> str:
    return html.escape(str(value))
