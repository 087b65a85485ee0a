"""The page: our result first, then the figure, the targets, every shape, and how to run it again. One file.

It is light or dark as the reader has it.
"""

import html
from collections.abc import Iterable

from bench.plot import shown, svg
from bench.result import OURS, Result, Shape
from bench.table import NOTHING, Row, columns, remarks, rows
from bench.targets import Judged, judge, tally

ALT = "Bars: CPU per relayed frame, memory per session and added latency of each peer; the tables below have the same."
HOW = (
    "Every peer relays the same load in turn, as one process on a core of its own, with the load on another; a round "
    "is one turn of all of them. Figures are medians of the rounds that count, the best of a column is bold. Only "
    "peers of one run are compared, so what matters are ratios: another machine has other microseconds."
)
CSS = """
:root { color-scheme: light dark; --page: #ffffff; --ink: #22272e; --soft: #5b6470; --line: #dde1e6;
  --good: #00694d; --bad: #a50e1b; --open: #8a5a00; --wash-good: #e9f6f1; --wash-bad: #fdecee; --wash-open: #fdf4e1;
  --ours: #0072b2; --ours-light: #7fb8d9; --ours-wash: #eaf4fa; --other: #8d96a0; --other-light: #c9ced4 }
@media (prefers-color-scheme: dark) {
  :root { --page: #16191d; --ink: #e4e7eb; --soft: #9aa4b0; --line: #31373f;
    --good: #4cc49c; --bad: #ff7b86; --open: #e0b050; --wash-good: #14302a; --wash-bad: #3a1a1e; --wash-open: #33290f;
    --ours: #3ea6e0; --ours-light: #23628a; --ours-wash: #16303f; --other: #8d96a0; --other-light: #4d555f }
}
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1180px; padding: 20px; color: var(--ink); background: var(--page);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
header { border-left: 10px solid var(--tone); background: var(--wash); padding: 16px 20px; border-radius: 4px }
header.met { --tone: var(--good); --wash: var(--wash-good) }
header.missed { --tone: var(--bad); --wash: var(--wash-bad) }
header.open { --tone: var(--open); --wash: var(--wash-open) }
.word { font-weight: 700; letter-spacing: .06em; text-transform: uppercase; color: var(--tone); font-size: 14px }
h1 { font-size: clamp(21px, 3.4vw, 32px); line-height: 1.2; margin: 2px 0 6px }
h2 { font-size: 18px; margin: 30px 0 8px } h3 { font-size: 15px; margin: 22px 0 4px }
p, ul { margin: 4px 0 } ul { padding-left: 20px } .soft { color: var(--soft) } li.void { color: var(--bad) }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: 4px 9px; border-bottom: 1px solid var(--line); white-space: nowrap }
th { color: var(--soft); font-weight: 600; vertical-align: bottom } th small { display: block; font-weight: 400 }
th.left, td.left { text-align: left }
tr.ours td { background: var(--ours-wash) } tr.ours td:first-child { font-weight: 700; color: var(--ours) }
td.best { font-weight: 700 } td.met { color: var(--good) } td.missed { color: var(--bad) }
td.open { color: var(--open) }
td.met, td.missed, td.open { font-weight: 700; text-align: left }
code { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 12.5px }
.scroll { overflow-x: auto; margin: 8px 0 }
.scroll > svg { width: 100%; min-width: 800px; height: auto; display: block }
dl { display: grid; grid-template-columns: max-content auto; gap: 4px 18px; margin: 8px 0; font-size: 13.5px }
dt { color: var(--soft) } dd { margin: 0; overflow-wrap: anywhere }
@media print { body { max-width: none; padding: 0; font-size: 11px } .scroll > svg { min-width: 0 }
  header, tr.ours td { print-color-adjust: exact; -webkit-print-color-adjust: exact }
  h2, h3 { break-after: avoid } tr { break-inside: avoid } @page { size: A4 landscape; margin: 12mm } }
"""


def page(result: Result) -> str:
    judged = judge(result)
    shapes = "".join(_shape(shape) for shape in result.shapes)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(_headline(result))}</title><link rel="icon" href="data:,"><style>{CSS}</style></head><body>
{_header(result, judged)}
{_figure(result)}
<h2>Targets</h2>{_targets(judged)}
<h2>Every shape</h2><p class="soft">{text(HOW)}</p>{shapes}
<h2>Run it again</h2>{_again(result)}
</body></html>
"""


def _headline(result: Result) -> str:
    shape = result.shape("steady")
    cost = shape.median(OURS, "cpu_us_per_frame") if shape else None
    if shape is None or cost is None:
        return f"{OURS} beside its peers"
    ratio = shape.ratio("cpu_us_per_frame", "nginx")
    return f"{cost:.1f} µs of CPU per relayed frame" + (f", {ratio.value:.2f} of nginx's" if ratio else "")


def _header(result: Result, judged: list[Judged]) -> str:
    words = [each.word for each in judged]
    tone = "missed" if "missed" in words else "met" if set(words) == {"met"} else "open"
    word = {"met": "✓ every target met", "missed": "✗ targets missed", "open": "? targets not measured"}[tone]
    body = f'<div class="word">{word}</div><h1>{text(_headline(result))}</h1><p>{text(tally(judged))}</p>'
    return f'<header class="{tone}">{body}<p class="soft">{text(result.machine)}; {text(result.date)}</p></header>'


def _figure(result: Result) -> str:
    return f'<div class="scroll" role="img" aria-label="{text(ALT)}">{svg(result)}</div>' if shown(result) else ""


def _targets(judged: list[Judged]) -> str:
    lines = []
    for each in judged:
        measured = NOTHING if each.value is None else each.target.text(each.value)
        word = each.word + (f": {each.why}" if each.why else "")
        cells = [("left", each.target.shape), ("left", str(each.target)), ("", each.target.wanted), ("", measured)]
        tone = each.word if each.value is not None else "open"
        lines.append(_line([*cells, ("", str(each.rounds or NOTHING)), (tone, word)]))
    names = '<th class="left">shape<th class="left">target<th>limit<th>measured<th>rounds<th>'
    return _table(names, lines)


def _shape(shape: Shape) -> str:
    heads = "".join(f"<th>{text(each.head)}<small>{text(each.unit)}</small>" for each in columns(shape))
    table = _table(f'<th class="left">peer{heads}<th>rounds', (_row(row) for row in rows(shape)))
    items = "".join(f"<li{' class=void' if each.void else ''}>{text(each.text)}</li>" for each in remarks(shape))
    below = f'<ul class="soft">{items}</ul>' if items else ""
    return f"<h3>{text(shape.name)}: {text(shape.title)}</h3>{table}{below}"


def _row(row: Row) -> str:
    cells = [("best" if cell.best else "", cell.text) for cell in row.cells]
    return _line([("left", row.peer), *cells, ("", row.rounds)], ours=row.peer == OURS)


def _line(cells: Iterable[tuple[str, str]], ours: bool = False) -> str:
    columns = "".join(f"<td{f' class={kind}' if kind else ''}>{text(cell)}</td>" for kind, cell in cells)
    return f"<tr{' class=ours' if ours else ''}>{columns}</tr>"


def _table(head: str, lines: Iterable[str]) -> str:
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _again(result: Result) -> str:
    facts = [("command", f"<code>{text(result.command)}</code>"), ("machine", text(result.machine))]
    facts += [(text(peer), text(version)) for peer, version in result.versions.items()]
    facts += [(text(peer), f"not here; to get it: <code>{text(get)}</code>") for peer, get in result.missing.items()]
    return f"<dl>{''.join(f'<dt>{name}</dt><dd>{fact}</dd>' for name, fact in facts)}</dl>"


def text(value: object) -> str:
    return html.escape(str(value))
