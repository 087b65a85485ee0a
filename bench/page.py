"""The page: how we stand first, then the figure, the targets, every shape, and how to run it again. One file."""

import html
from collections.abc import Iterable

from bench.plot import shown, svg
from bench.result import OURS, Result, Shape
from bench.rows import NOTHING, Row, columns, remarks, rows
from bench.style import CSS
from bench.targets import Judged, judge, tally

ALT = "Bars: CPU per relayed frame, memory per session and added latency of each peer; the tables below have the same."
HOW = (
    "Every peer relays the same load in turn, as one process on a core of its own, with the load on another; a round "
    "is one turn of all of them. Figures are medians of the rounds that count, the best of a column is bold. Only "
    "peers of one run are compared, so what matters are ratios: another machine has other microseconds."
)


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
    said = f'<div class="word">{word}</div><h1>{text(_headline(result))}</h1><p>{text(tally(judged))}</p>'
    return f'<header class="{tone}">{said}<p class="soft">{text(result.machine)}; {text(result.date)}</p></header>'


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
    said = "".join(f"<li{' class=void' if each.void else ''}>{text(each.text)}</li>" for each in remarks(shape))
    below = f'<ul class="soft">{said}</ul>' if said else ""
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
