"""A run held against the ratios of an earlier one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from bench.check import compare, keep, ratios
from bench.result import Result
from tests.bench.sample import measured, sample, without


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    keep(sample(), tmp_path / "baseline.json")
    return tmp_path / "baseline.json"


def test_the_baseline_has_our_ratios_to_every_peer_by_shape_and_figure(baseline: Path) -> None:
    kept = orjson.loads(baseline.read_bytes())

    assert kept["date"] == "2026-11-24T20:11:00Z"
    assert kept["machine"] == "AMD EPYC 9B14, 2 cores, 24 GB, Linux 6.18.5, Python 3.11.7"
    assert set(kept["ratios"]) == {"steady", "steady-tls", "held", "handshakes"}
    assert kept["ratios"]["steady"]["cpu_us_per_frame"]["nginx"] == 0.83
    assert set(kept["ratios"]["handshakes"]["handshakes_per_s"]) == set(sample().peers) - {"rtproxy"}


def test_the_same_run_is_as_good_as_itself(baseline: Path) -> None:
    found = compare(sample(), baseline)

    assert (found.worse, found.unknown) == ([], [])
    assert found.compared == sum(len(peers) for shape in ratios(sample()).values() for peers in shape.values())


def test_a_ratio_that_is_too_much_worse_is_a_sentence(baseline: Path) -> None:
    found = compare(measured(sample(), "steady", "nginx", cpu_us_per_frame=8.16), baseline)

    assert found.worse == [
        "steady: CPU per frame against nginx 0.83 -> 1.01, 22 % worse (15 % is allowed)",
    ]


def scaled(result: Result, name: str, peer: str, figure: str, by: float) -> Result:
    """``figure`` of a peer of a shape, ``by`` times what it was in every round."""
    shapes = []
    for shape in result.shapes:
        if shape.name == name:
            rounds = []
            for each in shape.rounds:
                changed: dict[str, Any] = {figure: (each[peer].value(figure) or 0.0) * by}
                rounds.append(each | {peer: replace(each[peer], **changed)})
            shape = replace(shape, rounds=tuple(rounds))
        shapes.append(shape)
    return replace(result, shapes=tuple(shapes))


@pytest.mark.parametrize(
    ("name", "figure", "by", "worse"),
    [
        ("steady-tls", "cpu_us_per_frame", 1.14, 0),
        ("steady-tls", "cpu_us_per_frame", 1.16, 6),
        ("steady-tls", "cpu_us_per_frame", 0.5, 0),
        ("held", "rss_mb", 1.16, 4),
        ("handshakes", "handshakes_per_s", 2.0, 0),
        ("handshakes", "handshakes_per_s", 0.86, 0),
        ("handshakes", "handshakes_per_s", 0.84, 6),
    ],
)
def test_worse_is_more_of_a_cost_and_less_of_a_rate(
    baseline: Path, name: str, figure: str, by: float, worse: int
) -> None:
    assert len(compare(scaled(sample(), name, "rtproxy", figure, by), baseline).worse) == worse


def test_what_either_side_lacks_is_said_once_and_does_not_fail(baseline: Path) -> None:
    now = without(sample(), "haproxy", "apt-get install haproxy")
    now = replace(now, shapes=(now.shapes[0], replace(now.shapes[1], name="quiet")))
    now = measured(now, "steady", "envoy", rss_load_kb=0.0)

    found = compare(now, baseline)

    assert found.worse == []
    assert found.unknown == [
        "steady: haproxy: in the baseline, not in this run",
        "steady: RSS per session against envoy: in the baseline, not in this run",
        "steady-tls: in the baseline, not in this run",
        "held: in the baseline, not in this run",
        "handshakes: in the baseline, not in this run",
        "quiet: in this run, not in the baseline",
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "not JSON: "),
        ("{}", "ratios wants an object, not None"),
        ('{"ratios": {"steady": 1}}', "ratios.steady wants an object, not 1"),
        ('{"ratios": {"steady": {"cpu": {}}}}', "ratios.steady.cpu: no such figure, there are cpu_us_per_frame, "),
        ('{"ratios": {"held": {"rss_mb": {"nginx": "1"}}}}', "ratios.held.rss_mb.nginx wants a number, not '1'"),
        ('{"ratios": {"held": {"rss_mb": {"nginx": 0}}}}', "ratios.held.rss_mb.nginx wants a number above 0, not 0"),
    ],
)
def test_a_bad_baseline_is_named_with_the_field(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "baseline.json"
    file.write_text(text)

    with pytest.raises(ValueError) as raised:
        compare(sample(), file)

    assert str(raised.value).startswith(f"{file}: {complaint}")
