"""What people see of a run: the page, the figure, the tables of the terminal and of the README."""

import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.page import CSS, page
from bench.plot import THEME, png, svg
from bench.result import Result
from bench.table import markdown, show
from tests.bench.sample import PEERS, measured, sample, without
from tests.browser import browse, needs_chromium, picture

NASTY = "</svg><script>alert(1)</script>$x^$ & \"q\" 'q'"


class Words(HTMLParser):
    """The text of a page by the row of a table it is in, what it would load, and its tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.text = ""
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag == "tr":
            self.rows.append([])

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] == ["td"]:
            self.rows[-1].append(data)
        self.text += f"{data.strip()} "


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(result: Result) -> str:
    stream = io.StringIO()
    show(result, stream)
    return stream.getvalue()


def test_the_page_has_every_peer_target_and_shape_and_loads_nothing() -> None:
    found = Words(page(sample()))

    assert "8.3 µs of CPU per relayed frame, 0.83 of nginx's" in found.text
    assert "12 of 15 targets met, 2 missed, 1 not measured" in found.text
    assert ["steady", "CPU per frame against nginx", "<= 0.85", "0.830", "2", "met"] in found.rows
    assert ["nginx", "9.92", "47", "140", "17.9", "22.4", "213", "2/3"] in found.rows
    assert ["rtproxy", "2,950", "3/3"] in found.rows
    assert "nginx, round 2 void: the load lagged 12.4 ms" in found.text
    assert "envoy, every round void: it has no more file descriptors" in found.text
    assert "nginx, haproxy, fastapi, aiohttp, rtproxy: 9,900 sessions" in found.text
    assert [each for each in found.loads if not each.startswith(("data:", "#"))] == []
    assert "script" not in found.tags


def test_only_the_best_of_a_column_is_marked() -> None:
    best = re.findall(r"<tr[^>]*><td class=left>(\w+)</td>(?:<td>[^<]*</td>)*<td class=best>", page(sample()))

    # CPU is ours in `steady`; latency and memory, and in `steady-tls` all, are haproxy's; nobody drains beside us.
    assert best == ["haproxy", "rtproxy", "haproxy", "haproxy", "haproxy"]


def test_nothing_of_a_result_becomes_markup() -> None:
    result = without(sample(), "picows", NASTY)
    machine = replace(result.machine, cpu=NASTY)
    result = replace(result, command=NASTY, date=NASTY, versions={NASTY: NASTY}, machine=machine)
    result = measured(result, "handshakes", "nginx", note=NASTY, void=NASTY)
    renamed = [each | {NASTY: each["aiohttp"]} for each in result.shapes[0].rounds]
    steady = replace(result.shapes[0], title=NASTY, rounds=tuple(renamed))

    drawn = page(replace(result, shapes=(steady, *result.shapes[1:])))

    assert "<script" not in drawn
    assert drawn.count("</svg>") == 1
    assert Words(drawn).tags.count("svg") == 1


def test_a_run_without_a_steady_shape_has_a_page_without_a_figure() -> None:
    result = replace(sample(), shapes=sample().shapes[2:])

    found = Words(page(result))

    assert "svg" not in found.tags
    assert "rtproxy beside its peers" in found.text


def test_the_figure_of_the_page_is_text_in_the_colours_of_its_style() -> None:
    drawn = svg(sample())

    words = [each.text for each in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]
    assert set(PEERS) <= set(words)
    assert "8.3\N{EN SPACE}plaintext" in words
    assert "11.5\N{EN SPACE}TLS" in words
    assert set(re.findall(r"#[0-9a-f]{6}", drawn)) == set(), "a colour that does not follow the reader into the dark"
    for name in THEME.values():
        assert CSS.count(f"{name[4:-1]}: #") == 2, "once for light, once for dark"


def test_the_png_is_1400_pixels_wide(tmp_path: Path) -> None:
    png(sample(), tmp_path / "bench.png")

    written = (tmp_path / "bench.png").read_bytes()
    assert written.startswith(b"\x89PNG")
    assert int.from_bytes(written[16:20]) == 1400


def test_one_round_and_latency_lost_in_the_noise_can_be_drawn(tmp_path: Path) -> None:
    first = [replace(shape, rounds=shape.rounds[:1]) for shape in sample().shapes[:1]]
    result = replace(sample(), shapes=tuple(first))
    for peer in PEERS:
        result = measured(result, "steady", peer, p50_us=40.0, p99_us=170.0)

    png(result, tmp_path / "bench.png")

    assert "-8 / -11" in svg(result)
    assert "One round." in svg(result)


@needs_chromium
def test_a_browser_shows_the_page_in_light_and_in_dark(tmp_path: Path) -> None:
    ask = '<script>addEventListener("load", () => document.body.dataset.asked = getComputedStyle(document.body).'
    ask += 'backgroundColor + getComputedStyle(document.querySelector("svg text")).fill)</script>'
    file = tmp_path / "bench.html"
    file.write_text(page(sample()).replace("</head>", f"{ask}</head>"))

    light, dark = (
        re.findall(
            r'data-asked="([^"]*)"', browse(file, "--dump-dom", f"--blink-settings=preferredColorScheme={scheme}")
        )
        for scheme in (1, 0)
    )

    assert light == ["rgb(255, 255, 255)rgb(0, 114, 178)"]
    assert dark == ["rgb(22, 25, 29)rgb(62, 166, 224)"]
    assert picture(file, "bench", tmp_path).stat().st_size > 50_000


def test_a_pipe_gets_tables_a_hundred_wide_without_colour() -> None:
    said = printed(without(sample(), "haproxy", "apt-get install haproxy"))

    assert max(map(len, said.splitlines())) <= 100
    assert "\x1b" not in said
    assert re.search(r"^ > rtproxy +8\.32 +50 +149 +17\.0 +21\.3 +215 +3/3 *$", said, re.MULTILINE)
    assert re.search(r"^ steady +CPU per frame against nginx +<= 0\.85 +0\.830 +2 +met *$", said, re.MULTILINE)
    assert "nginx, round 2 void: the load lagged 12.4 ms" in said
    assert "without a peer: p50 48 µs, p99 181 µs" in said
    assert "haproxy is not here; to get it: apt-get install haproxy" in said


def test_a_terminal_shows_the_best_of_a_column_bold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()

    show(replace(sample(), shapes=sample().shapes[3:4]), stream)

    assert re.findall(r"\x1b\[1m *([\d,]+)\x1b", stream.getvalue()) == ["5,904"]


def test_a_latency_without_a_baseline_is_shown_as_it_was_measured() -> None:
    said = printed(replace(sample(), shapes=sample().shapes[4:]))

    assert re.search(r"^ > rtproxy +330 +24\.2 +412 +1/1 *$", said, re.MULTILINE)


def test_the_table_of_the_readme_has_a_row_a_peer_with_ours_bold() -> None:
    lines = markdown(sample()).splitlines()

    assert [line.split(" | ")[0] for line in lines[2:]] == [f"| {peer}" for peer in PEERS[:-1]] + ["| **rtproxy**"]
    assert lines[2] == "| nginx | 9.92 / 13.01 | 22.4 / 74.3 | 140 / 169 | 5,210 / - |"
    assert len({line.count("|") for line in lines}) == 1
