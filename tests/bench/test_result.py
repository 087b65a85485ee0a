"""What a run found: through its file and back, medians over the rounds that count, ratios inside one run."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from bench.result import Figures, Shape, dump
from bench.targets import TARGETS, judge, tally
from tests.bench.reading import load
from tests.bench.sample import measured, sample, without


def rounds(*figures: dict[str, Figures]) -> Shape:
    return Shape("steady", "100 calls", figures, "direct")


def test_a_result_is_the_same_after_it_went_through_its_file(tmp_path: Path) -> None:
    dump(sample(), tmp_path / "bench.json")

    assert load(tmp_path / "bench.json") == sample()


def test_the_file_has_only_what_was_measured(tmp_path: Path) -> None:
    dump(sample(), tmp_path / "bench.json")

    held = orjson.loads((tmp_path / "bench.json").read_bytes())["shapes"][2]
    assert "baseline" not in held
    assert held["rounds"][0]["nginx"] == {"rss_mb": 224, "note": "9,900 sessions"}


def drop(*path: str | int) -> Callable[[Any], None]:
    def spoil(result: Any) -> None:
        for step in path[:-1]:
            result = result[step]
        del result[path[-1]]

    return spoil


def put(value: object, *path: str | int) -> Callable[[Any], None]:
    def spoil(result: Any) -> None:
        for step in path[:-1]:
            result = result[step]
        result[path[-1]] = value

    return spoil


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (drop("machine"), "machine is missing"),
        (drop("machine", "cpu"), "machine.cpu is missing"),
        (put("2", "machine", "cores"), "machine.cores wants a whole number, not '2'"),
        (put(True, "machine", "memory_gb"), "machine.memory_gb wants a number, not True"),
        (put(1, "versions", "nginx"), "versions.nginx wants text, not 1"),
        (put({}, "shapes"), "shapes wants a list, not {}"),
        (put([], "shapes", 1, "rounds", 2), "shapes[1].rounds[2] wants an object, not []"),
        (put("9", "shapes", 0, "rounds", 2, "nginx", "p99_us"), "shapes[0].rounds[2].nginx.p99_us wants a number"),
        (put(9, "shapes", 0, "rounds", 2, "nginx", "p98_us"), "shapes[0].rounds[2].nginx.p98_us: no such field"),
        (put(9, "shapes", 0, "rounds", 2, "nginx", "void"), "shapes[0].rounds[2].nginx.void wants text, not 9"),
    ],
)
def test_a_bad_file_is_named_with_the_field(tmp_path: Path, spoil: Callable[[Any], None], complaint: str) -> None:
    file = tmp_path / "bench.json"
    dump(sample(), file)
    raw = orjson.loads(file.read_bytes())
    spoil(raw)
    file.write_bytes(orjson.dumps(raw))

    with pytest.raises(ValueError) as raised:
        load(file)

    assert str(raised.value).startswith(f"{file}: {complaint}")


@pytest.mark.parametrize(("text", "complaint"), [("[]", "all of it wants an object, not []"), ("{", "not JSON: ")])
def test_a_file_of_something_else_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "bench.json"
    file.write_text(text)

    with pytest.raises(ValueError) as raised:
        load(file)

    assert str(raised.value).startswith(f"{file}: {complaint}")


def test_a_median_leaves_void_rounds_out() -> None:
    good = [{"nginx": Figures(cpu_us_per_frame=value)} for value in (9.0, 11.0)]
    shape = rounds(*good, {"nginx": Figures(cpu_us_per_frame=99.0, void="the load lagged")})

    assert shape.median("nginx", "cpu_us_per_frame") == 10.0


def test_added_latency_is_taken_in_each_round_before_the_median() -> None:
    pairs = ((100, 150), (200, 230), (300, 310))
    shape = rounds(*({"direct": Figures(p99_us=direct), "nginx": Figures(p99_us=peer)} for direct, peer in pairs))

    assert shape.values("nginx", "added_p99_us") == {1: 50, 2: 30, 3: 10}
    assert shape.median("nginx", "added_p99_us") == 30


def test_a_round_without_a_baseline_that_counts_says_nothing_of_added_latency() -> None:
    lagged = Figures(p99_us=100, void="the load lagged")
    shape = rounds({"direct": lagged, "nginx": Figures(p99_us=150, cpu_us_per_frame=9)}, {"nginx": Figures(p99_us=150)})

    assert shape.median("nginx", "added_p99_us") is None
    assert shape.median("nginx", "cpu_us_per_frame") == 9


def test_a_ratio_is_of_the_rounds_in_which_both_count() -> None:
    def cpu(ours: float, theirs: float, void: str | None = None) -> dict[str, Figures]:
        return {"rtproxy": Figures(cpu_us_per_frame=ours), "nginx": Figures(cpu_us_per_frame=theirs, void=void)}

    # The machine was half as fast in the last round, and only ours counts there.
    found = rounds(cpu(8, 10), cpu(9, 10), cpu(17, 20, void="the load lagged")).ratio("cpu_us_per_frame", "nginx")

    assert found is not None
    assert (found.value, found.rounds) == (0.85, 2)


@pytest.mark.parametrize("nginx", [Figures(p99_us=99), Figures(), Figures(p99_us=150, void="it died")])
def test_there_is_no_ratio_to_nothing(nginx: Figures) -> None:
    shape = rounds({"direct": Figures(p99_us=100), "nginx": nginx, "rtproxy": Figures(p99_us=150)})

    assert shape.ratio("added_p99_us", "nginx") is None


def test_every_target_of_the_project_is_judged() -> None:
    judged = judge(sample())

    assert [each.target for each in judged] == list(TARGETS)
    assert tally(judged) == "12 of 15 targets met, 2 missed, 1 not measured"
    missed = [f"{each.target.shape}: {each.target}" for each in judged if each.word == "missed"]
    assert missed == ["steady-tls: CPU per frame against haproxy", "steady-tls: CPU per frame against envoy"]
    assert {each.target.against: each.rounds for each in judged[:3]} == {"nginx": 2, "haproxy": 3, "envoy": 3}


@pytest.mark.parametrize(
    ("name", "figure", "just", "over"),
    [("held", "rss_mb", 450.0, 450.1), ("handshakes", "handshakes_per_s", 2605.0, 2604.9)],
)
def test_a_target_is_met_at_its_limit_and_missed_beyond(name: str, figure: str, just: float, over: float) -> None:
    for value, word in ((just, "met"), (over, "missed")):
        judged = judge(measured(sample(), name, "rtproxy", **{figure: value}))
        assert [each.word for each in judged if each.target.shape == name] == [word]


def test_a_target_that_was_not_measured_says_what_lacks() -> None:
    result = without(sample(), "haproxy", "apt-get install haproxy")
    result = measured(result, "steady", "envoy", void="the load lagged")
    result = measured(result, "steady", "nginx", p99_us=40.0)
    result = replace(result, shapes=result.shapes[:1])

    why = {f"{each.target.shape}: {each.target}": each.why for each in judge(result) if each.met is None}

    assert why["steady: CPU per frame against haproxy"] == "haproxy was not run"
    assert why["steady: CPU per frame against envoy"] == "no round of envoy counts"
    assert why["steady: added p99 latency against nginx"] == "nginx's is too small to tell from none"
    assert why["held: RSS of the process in MB"] == "not run"
