"""The verdict on stdout, and the run as one HTML file that needs no network."""

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go  # type: ignore[import-untyped]
from plotly.subplots import make_subplots  # type: ignore[import-untyped]
from rich.console import Console

from stage.soak.checks import Check
from stage.soak.samples import Sample, second_half, slope

MOST_PROBLEMS = 20
BLUE, RED, GRID, INK = "#0072B2", "#C1121F", "#E3E6EA", "#22272E"
PANEL_PX, GAP_PX, TOP_PX, FOOT_PX = 130, 34, 20, 46
CAPTION = (
    "One relay process, from its first call to its last. The red line is the one that is judged: through the second "
    "half of the time under load. Drag to look closer, double-click to go back."
)
CSS = """
:root { color-scheme: light; --ink: #22272e; --soft: #5b6470; --line: #dde1e6; --good: #00694d; --bad: #a50e1b }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1180px; padding: 20px; color: var(--ink); background: white;
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
header { border-left: 10px solid var(--tone); padding: 16px 20px; border-radius: 4px }
header.held { --tone: var(--good); background: #e9f6f1 } header.failed { --tone: var(--bad); background: #fdecee }
.word { font-weight: 700; letter-spacing: .06em; text-transform: uppercase; color: var(--tone); font-size: 14px }
h1 { font-size: clamp(21px, 3.4vw, 32px); line-height: 1.2; margin: 2px 0 6px }
h2 { font-size: 18px; margin: 30px 0 8px }
p { margin: 4px 0 } .soft { color: var(--soft) } .held { color: var(--good) } .failed { color: var(--bad) }
td.held, td.failed { font-weight: 700; white-space: nowrap } header.held, header.failed { color: var(--ink) }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums } ul { margin: 4px 0 }
th, td { text-align: left; padding: 4px 14px 4px 0; vertical-align: top; border-bottom: 1px solid var(--line) }
th { color: var(--soft); font-weight: 600 } td.number, th.number { text-align: right }
code { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 12.5px }
.scroll { overflow-x: auto }
@media print { body { max-width: none; padding: 0; font-size: 11px } table { font-size: 10px }
  .modebar-container { display: none !important } tr { break-inside: avoid } @page { size: A4; margin: 12mm } }
"""


def show(checks: list[Check], headline: str) -> None:
    """The verdict on stdout: a line a check, then its problems, as far as one can read them."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for check in checks:
        word = "held  " if check.held else "FAILED"
        console.print(f"{word} {check.name:42} {check.measured}", style="" if check.held else "bold red")
        for problem in check.problems[:MOST_PROBLEMS]:
            console.print(f"         {problem}", style="red")
        if len(check.problems) > MOST_PROBLEMS:
            console.print(f"         and {len(check.problems) - MOST_PROBLEMS} more of these", style="red")
    console.print(headline, style="bold")


def page(verdict: Mapping[str, Any], samples: Sequence[Sample], under_load: Sequence[Sample]) -> str:
    """``under_load`` are those of ``samples`` that were judged for growth."""
    word = "failed" if any(not check["held"] for check in verdict["checks"]) else "held"
    drawing = figure(samples, under_load).to_html(
        full_html=False, include_plotlyjs=True, config={"displaylogo": False, "responsive": True}
    )
    again = f"<code>{text(verdict['command'])}</code>; {text(verdict['machine'])}; {text(verdict['date'])}"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(verdict["headline"])}</title><link rel="icon" href="data:,"><style>{CSS}</style></head><body>
<header class="{word}"><div class="word">{"✗" if word == "failed" else "✓"} {word}</div>
<h1>{text(verdict["headline"])}</h1><p class="soft">{again}</p></header>
<h2>The process</h2><p class="soft">{CAPTION}</p><div class="scroll">{drawing}</div>
<h2>Checks</h2>{_checks(verdict["checks"])}
<h2>What happened to the calls</h2>{_kinds(verdict["kinds"])}
</body></html>
"""


def figure(samples: Sequence[Sample], under_load: Sequence[Sample]) -> go.Figure:
    panels = (
        ("calls", [each.sessions for each in samples], None),
        ("memory, MB", [each.rss_kb / 1024 for each in samples], [each.rss_kb / 1024 for each in under_load]),
        ("descriptors - 2 a call", [each.spare for each in samples], [each.spare for each in under_load]),
        ("tasks", [each.tasks for each in samples], [each.tasks for each in under_load]),
        ("ms to /metrics", [each.answer_ms for each in samples], None),
    )
    inner_px = len(panels) * PANEL_PX + (len(panels) - 1) * GAP_PX
    drawing = make_subplots(rows=len(panels), cols=1, shared_xaxes=True, vertical_spacing=GAP_PX / inner_px)
    minutes = [round(each.at / 60, 4) for each in samples]
    for row, (name, values, judged) in enumerate(panels, start=1):
        line = {"color": BLUE, "width": 1.5}
        drawing.add_trace(go.Scatter(name=name, x=minutes, y=values, mode="lines", line=line), row=row, col=1)
        if judged is not None and (fitted := _fitted(under_load, judged)):
            x, y = fitted
            line = {"color": RED, "width": 2}
            trace = go.Scatter(name=f"{name}, fitted", x=x, y=y, mode="lines", line=line, hoverinfo="skip")
            drawing.add_trace(trace, row=row, col=1)
        drawing.update_yaxes(title_text=name, rangemode="tozero", row=row, col=1)
    drawing.update_xaxes(showgrid=True, gridcolor=GRID, zeroline=False)
    drawing.update_yaxes(showgrid=True, gridcolor=GRID, zeroline=False, title_standoff=4, title_font={"size": 11})
    drawing.update_xaxes(title_text="minutes since the relay stood", row=len(panels), col=1)
    drawing.update_layout(
        height=inner_px + TOP_PX + FOOT_PX,
        margin={"l": 62, "r": 14, "t": TOP_PX, "b": FOOT_PX},
        showlegend=False,
        plot_bgcolor="white",
        paper_bgcolor="white",
        font={"family": "system-ui, sans-serif", "size": 12, "color": INK},
    )
    return drawing


def _fitted(under_load: Sequence[Sample], values: Sequence[float]) -> tuple[list[float], list[float]] | None:
    half = second_half(under_load)
    if len(half) < 2:
        return None
    at, values = [each.at for each in half], list(values)[-len(half) :]
    rise = slope(at, values)
    # Through the medians of both, as a line of Theil and Sen's goes.
    middle = len(at) // 2
    offset = sorted(y - rise * x for x, y in zip(at, values, strict=True))[middle]
    return [at[0] / 60, at[-1] / 60], [offset + rise * at[0], offset + rise * at[-1]]


def _checks(checks: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for check in checks:
        word = "held" if check["held"] else "failed"
        problems = "".join(f"<li>{text(each)}</li>" for each in check["problems"][:50])
        measured = text(check["measured"]) + (f"<ul>{problems}</ul>" if problems else "")
        rows.append(f'<td class="{word}">{word}</td><td>{text(check["name"])}</td><td>{measured}</td>')
    return _table("<th></th><th>check</th><th>measured</th>", rows)


def _kinds(kinds: Mapping[str, Mapping[str, int]]) -> str:
    names = ("calls", "called home", "frames sent", "frames lost")
    head = "<th>what</th>" + "".join(f'<th class="number">{name}</th>' for name in names)
    rows = (
        f"<td>{text(kind)}</td>" + "".join(f'<td class="number">{found[name]:,}</td>' for name in names)
        for kind, found in kinds.items()
    )
    return _table(head, rows)


def _table(head: str, rows: Iterable[str]) -> str:
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def text(value: object) -> str:
    return html.escape(str(value))
