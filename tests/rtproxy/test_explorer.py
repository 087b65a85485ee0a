"""Whatever happens to a call, in whatever order: one Close a side, nothing behind it, an end, and a true summary."""

import pytest

from tests.rtproxy.explorer import Sent, explore, frame, sent


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("states", "allowed"),
    [
        pytest.param(13_000, frozenset(), id="as-it-comes"),
        pytest.param(7_000, frozenset(["response.create"]), id="gated"),
        pytest.param(200_000, frozenset(), id="as-it-comes-deep", marks=pytest.mark.nightly),
        pytest.param(100_000, frozenset(["response.create"]), id="gated-deep", marks=pytest.mark.nightly),
    ],
)
def test_in_no_state_does_a_call_end_otherwise_than_it_should(states: int, allowed: frozenset[str]) -> None:
    found = explore(states, allowed)
    assert found.wrong == {}
    assert found.states >= states


@pytest.mark.parametrize(
    ("data", "is_read_as"),
    [
        (b"", Sent((), True, False)),
        (frame("client", 1, b"{}"), Sent((), True, False)),
        (frame("client", 8, b"\x03\xe8")[:-1], Sent((), True, False)),
        (frame("client", 8, b"\x03\xe8"), Sent((1000,), True, False)),
        (frame("upstream", 8, b"\x0f\xa0") + b"\x8a", Sent((4000,), True, True)),
        (frame("upstream", 8, b""), Sent((1005,), True, False)),
        (b"\xf3\x00", Sent((), False, False)),
    ],
)
def test_what_a_side_was_sent_is_read_as_it_reads_it(data: bytes, is_read_as: Sent) -> None:
    assert sent(data) == is_read_as
