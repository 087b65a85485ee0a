"""Which shapes a run has, in their order, and what each is called."""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, NamedTuple

from bench.process import Running
from bench.result import OURS
from bench.shapes import DIRECT, Bench, Round, big_frame, drain, handshakes, held, speech, stalled

Run = Callable[[Bench, list[Running]], Coroutine[Any, Any, list[Round]]]
SLACK = 200
"""Sessions that a peer may have beyond those that stand: calls that are just ending."""


class Shape(NamedTuple):
    """`sessions` is how many calls a peer carries at most, `only` the peer that it is for; `quick`: in a quick run."""

    name: str
    title: str
    run: Run
    sessions: int
    tls: bool = False
    baseline: str | None = DIRECT
    only: str | None = None
    quick: bool = False


_STEADY = "100 calls, 50 frames/s each way"
SHAPES = (
    Shape("steady", f"{_STEADY}, plaintext", partial(speech, held=100, talking=100), 100, quick=True),
    Shape("steady-tls", f"{_STEADY}, TLS upstream", partial(speech, held=100, talking=100), 100, tls=True, quick=True),
    Shape("quiet", "2,000 calls, 50 of them talking", partial(speech, held=2000, talking=50), 2000),
    Shape(
        "big-frame",
        f"{_STEADY}, beside one that sends frames of 15 MiB",
        partial(speech, held=100, talking=100, beside=big_frame),
        100,
    ),
    Shape(
        "stalled",
        f"{_STEADY}, beside one whose client reads nothing",
        partial(speech, held=100, talking=100, beside=stalled),
        100,
    ),
    Shape("handshakes", "calls opened and closed, plaintext", handshakes, 100, baseline=None, quick=True),
    Shape("handshakes-tls", "calls opened and closed, TLS upstream", handshakes, 100, True, None, quick=True),
    Shape("held", "10,000 silent calls", partial(held, wanted=10_000), 10_000, baseline=None),
    Shape(
        "drain",
        "SIGTERM with 1,000 calls between two turns and 100 in one",
        partial(drain, quiet=1000, talking=100),
        1100,
        baseline=None,
        only=OURS,
    ),
)
