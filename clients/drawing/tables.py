"""The tables of the page: checks, cuts and refusals, acts of the platform, files."""

import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clients.drawing.acts import labels
from clients.evidence import Evidence
from clients.facts import Session, utc
from clients.judging.causes import TURNS, cause_of
from clients.judging.check import several
from clients.judging.hearing import FAULTS

MARKS = {"pass": "✓", "fail": "✗", "inconclusive": "?"}
MOST_ROWS = 300


def themes(decided: Sequence[Mapping[str, Any]]) -> str:
    """Each theme by its worst check; one that decided nothing, or not all it had to, is inconclusive."""
    found: dict[str, set[str]] = {}
    for check in decided:
        undecided = check.get("required") and check["status"] == "inconclusive"
        found.setdefault(check["theme"], set()).add("undecided" if undecided else check["status"])
    order = {"fail": "fail", "undecided": "inconclusive", "pass": "pass", "inconclusive": "inconclusive"}
    worst = {name: next(order[each] for each in order if each in has) for name, has in found.items()}
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
    more = f"<p>and {len(rows) - MOST_ROWS} more</p>" if len(rows) > MOST_ROWS else ""
    return _table(names, rows[:MOST_ROWS]) + more


def faults(evidence: Evidence) -> str:
    """What callers heard that no caller should."""
    if not evidence.faults:
        return ""
    names = ("at", "call", "session", "replica", "wrong", "detail")
    rows = [
        _row(
            names,
            (
                _at(each.at, evidence),
                str(each.call),
                f'<span class="mono">{text(each.session or "without an id")}</span>',
                f'<span class="mono">{text(each.replica or each.revision or "unknown")}</span>',
                text(FAULTS.get(each.fault, each.fault)),
                text(each.detail),
            ),
        )
        for each in sorted(evidence.faults, key=lambda fault: fault.at)
    ]
    more = f"<p>and {len(rows) - MOST_ROWS} more</p>" if len(rows) > MOST_ROWS else ""
    return f"<h2>Wrong to hear</h2>{_table(names, rows[:MOST_ROWS])}{more}"


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
    found = labels(evidence, float("-inf"))
    if not found:
        return ""
    rows = [_row(("at", ""), (_at(each.at, evidence), text(each.words))) for each in found]
    table = _table(("at", "act"), rows[:MOST_ROWS])
    return f"<details><summary>What the platform did: {several(len(found), 'act')}</summary>{table}</details>"


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


def text(value: object) -> str:
    return html.escape(str(value))
