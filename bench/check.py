"""Ratios of a good run, kept, and whether a later run is as good.

Ratios of a run hold on other machines better than its microseconds do. They still move with the processor: keep and
compare on the same kind of machine.
"""

from pathlib import Path
from typing import Any, NamedTuple

import orjson

from bench.result import FIGURES, OURS, Result

ALLOWED = 0.15
"""How much worse a ratio may be: what medians of three rounds are apart on a machine that others use too."""
KEPT = ("cpu_us_per_frame", "rss_idle_kb", "rss_load_kb", "rss_mb", "handshakes_per_s")

KINDS: dict[Any, tuple[type | tuple[type, ...], str]] = {
    str: (str, "text"),
    int: (int, "a whole number"),
    float: ((int, float), "a number"),
    dict[str, str]: (dict, "an object"),
}
KINDS |= {kind | None: KINDS[kind] for kind in (str, float)}
"""What fields may hold in JSON; of others their own reader checks it."""

Ratios = dict[str, dict[str, dict[str, float]]]
"""Ours to a peer's, by shape, figure and peer."""


class Comparison(NamedTuple):
    """Sentences: `worse` fails a check, `unknown` is what could not be compared; `compared` counts the ratios."""

    worse: list[str]
    unknown: list[str]
    compared: int


def ratios(result: Result) -> Ratios:
    """Those that were measured, rounded to what they are good for."""
    measured: Ratios = {}
    for shape in result.shapes:
        for figure in KEPT:
            for peer in shape.peers:
                if peer != OURS and (ratio := shape.ratio(figure, peer)):
                    measured.setdefault(shape.name, {}).setdefault(figure, {})[peer] = float(f"{ratio.value:.3g}")
    return measured


def keep(result: Result, file: Path) -> None:
    """Writes the baseline that later runs are compared with."""
    kept = {"date": result.date, "machine": str(result.machine), "ratios": ratios(result)}
    file.write_bytes(orjson.dumps(kept, option=orjson.OPT_INDENT_2) + b"\n")


def compare(result: Result, file: Path) -> Comparison:
    """``result`` with the baseline in ``file``. Raises ValueError that names the file and what is wrong in it."""
    try:
        then = _flat(_ratios(parse(file)))
    except Wrong as error:
        raise ValueError(f"{file}: {error}") from None
    now = _flat(ratios(result))
    unknown = [f"{what}: in the baseline, not in this run" for what in _lacks(then, now)]
    unknown += [f"{what}: in this run, not in the baseline" for what in _lacks(now, then)]
    both = [each for each in then if each in now]
    worse = [sentence for each in both if (sentence := _worse(each, then[each], now[each]))]
    return Comparison(worse, unknown, len(both))


Place = tuple[str, str, str]


def _lacks(these: dict[Place, float], those: dict[Place, float]) -> list[str]:
    """What only ``these`` have; a shape or a peer of a shape of which those have nothing is named once."""
    shapes = {shape for shape, _, _ in those}
    peers = {(shape, peer) for shape, _, peer in those}
    sentences = (
        place[0] if place[0] not in shapes else f"{place[0]}: {place[2]}" if place[::2] not in peers else _what(place)
        for place in these
        if place not in those
    )
    return list(dict.fromkeys(sentences))


def _worse(place: Place, then: float, now: float) -> str:
    by = 1 - now / then if FIGURES[place[1]].more_is_better else now / then - 1
    if by <= ALLOWED:
        return ""
    return f"{_what(place)} {then:.2f} -> {now:.2f}, {by:.0%} worse ({ALLOWED:.0%} is allowed)".replace("%", " %")


def _what(place: Place) -> str:
    shape, figure, peer = place
    return f"{shape}: {FIGURES[figure].title} against {peer}"


def _flat(ratios: Ratios) -> dict[Place, float]:
    return {
        (shape, figure, peer): ratio
        for shape, figures in ratios.items()
        for figure, peers in figures.items()
        for peer, ratio in peers.items()
    }


def _ratios(raw: Any) -> Ratios:
    ratios: Ratios = want(want(raw, dict, "").get("ratios"), dict, "ratios")
    for shape, figures in ratios.items():
        for figure, peers in want(figures, dict, f"ratios.{shape}").items():
            at = f"ratios.{shape}.{figure}"
            if figure not in KEPT:
                raise Wrong(f"{at}: no such figure, there are {', '.join(KEPT)}")
            for peer, ratio in want(peers, dict, at).items():
                if want(ratio, float, f"{at}.{peer}") <= 0:
                    raise Wrong(f"{at}.{peer} wants a number above 0, not {ratio}")
    return ratios


def parse(file: Path) -> Any:
    """The JSON of ``file``. Raises ValueError that names it."""
    try:
        return orjson.loads(file.read_bytes())
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{file}: not JSON: {error}") from error


class Wrong(ValueError):
    """A field that is not as it should be."""


def want(value: Any, kind: Any, at: str) -> Any:
    """``value`` if it is of ``kind``, of JSON's or of `KINDS`; raises `Wrong`."""
    wanted, words = KINDS.get(kind) or (kind, {dict: "an object", list: "a list"}[kind])
    if not isinstance(value, wanted) or isinstance(value, bool):
        quoted = repr(value)
        raise Wrong(f"{at or 'all of it'} wants {words}, not {quoted if len(quoted) < 40 else quoted[:36] + ' ...'}")
    return value
