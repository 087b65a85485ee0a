"""What the relay is meant to reach, as data, and how a run stands to it."""

from typing import NamedTuple

from bench.result import FIGURES, OURS, Result, Shape


class Target(NamedTuple):
    """`limit` is for the ratio to `against`, or without it for our own figure; at most, or where more is better at
    least that."""

    shape: str
    figure: str
    against: str | None
    limit: float

    def __str__(self) -> str:
        figure = FIGURES[self.figure]
        return f"{figure.title} against {self.against}" if self.against else f"{figure.title} in {figure.unit}"

    @property
    def wanted(self) -> str:
        return f"{'>=' if FIGURES[self.figure].more_is_better else '<='} {self.text(self.limit, digits=2)}"

    def text(self, value: float, digits: int = 3) -> str:
        return f"{value:.{digits}f}" if self.against else FIGURES[self.figure].text(value)


BESIDE_PEERS = (
    ("cpu_us_per_frame", "nginx", 0.85, 0.90),
    ("cpu_us_per_frame", "haproxy", 1.0, 1.05),
    ("cpu_us_per_frame", "envoy", 0.65, 0.75),
    ("cpu_us_per_frame", "fastapi", 0.30, 0.35),
    ("rss_load_kb", "nginx", 1.0, 1.0),
    ("added_p99_us", "nginx", 1.1, 1.2),
)
"""With the model on plaintext, and on TLS."""

TARGETS = (
    *(Target("steady", figure, against, plain) for figure, against, plain, _ in BESIDE_PEERS),
    *(Target("steady-tls", figure, against, tls) for figure, against, _, tls in BESIDE_PEERS),
    Target("held", "rss_mb", None, 450),
    Target("handshakes", "handshakes_per_s", "nginx", 0.5),
    Target("handshakes-tls", "handshakes_per_s", "nginx", 0.5),
)


class Judged(NamedTuple):
    """`value` is None when it was not measured, and `why` is the reason; it is the median of so many `rounds`."""

    target: Target
    value: float | None
    rounds: int = 0
    why: str = ""

    @property
    def met(self) -> bool | None:
        if self.value is None:
            return None
        limit = self.target.limit
        return self.value >= limit if FIGURES[self.target.figure].more_is_better else self.value <= limit

    @property
    def word(self) -> str:
        return {True: "met", False: "missed", None: "not measured"}[self.met]


def judge(result: Result) -> list[Judged]:
    """Every target, in their order."""
    return [_judged(target, result) for target in TARGETS]


def tally(judged: list[Judged]) -> str:
    """``12 of 15 targets met, 2 missed, 1 not measured``"""
    count = {word: sum(each.word == word for each in judged) for word in ("met", "missed", "not measured")}
    rest = "".join(f", {number} {word}" for word, number in count.items() if number and word != "met")
    return f"{count['met']} of {len(judged)} targets met{rest}"


def _judged(target: Target, result: Result) -> Judged:
    shape = result.shape(target.shape)
    if shape is None:
        return Judged(target, None, why="not run")
    if target.against is None:
        rounds = len(shape.values(OURS, target.figure))
        value = shape.median(OURS, target.figure)
        return Judged(target, value, rounds, "" if rounds else f"no round of {OURS} counts")
    ratio = shape.ratio(target.figure, target.against)
    return Judged(target, ratio.value, ratio.rounds) if ratio else Judged(target, None, why=_lack(target, shape))


def _lack(target: Target, shape: Shape) -> str:
    for peer in (OURS, target.against or OURS):
        if peer not in shape.peers:
            return f"{peer} was not run"
        if not (values := shape.values(peer, target.figure)):
            return f"no round of {peer} counts"
        if min(values.values()) <= 0:
            return f"{peer}'s is too small to tell from none"
    return "no round in which both count"
