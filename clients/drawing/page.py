"""The page: the answer and its themes first, then the figure, then why, then what to look up. One file, no network."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from clients.drawing.figure import figure
from clients.drawing.style import CSS
from clients.drawing.tables import acts, checks, cuts, faults, files, text, themes
from clients.evidence import Evidence
from clients.facts import utc
from clients.judging.rollback import Rollout

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
{_facts(evidence, verdict)}
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
    said = f'<div class="word">{word}</div><h1>{text(verdict["headline"])}</h1><p>{text(tally)}</p>'
    return f'<header class="{tone}">{said}</header>'


def _facts(evidence: Evidence, verdict: Mapping[str, Any]) -> str:
    counts = verdict["counts"]
    shown = {
        "calls": counts["calls"],
        "sessions": counts["sessions"],
        "cut": counts["cut"],
        "refused": counts["refused"],
        "moved": counts["moved"],
        "turns": counts["turns"],
        "turns not completed": counts["turns_not_completed"],
        "wrong to hear": counts.get("faults", 0),
        "rollout": verdict["outcome"],
        "observed for": f"{evidence.ended - evidence.began:.0f} s",
    }
    hurt = {name for name in ("cut", "refused", "wrong to hear") if shown[name]}
    tiles = "".join(
        f"<div><dt>{name}</dt><dd{' class=bad' if name in hurt else ''}>{text(value)}</dd></div>"
        for name, value in shown.items()
    )
    return f'<dl class="facts">{tiles}</dl><p class="soft">{utc(evidence.began)} to {utc(evidence.ended)}</p>'
