"""What a caller hears, during the shift against before it: round trips, the wait for the first audio, any answer."""

from collections.abc import Callable, Iterator, Sequence

from clients.evidence import Evidence
from clients.facts import STAGE_STOPPING, Turn
from clients.judging.binomial import at_least
from clients.judging.check import Check, Named
from clients.summary import spread

THEME = "quality"
RTT_OVER_MS = 250.0
"""Above this a talker begins to hear the added delay and to talk into the answer."""
FIRST_AUDIO_OVER_MS = 500.0
"""A pause longer by half a second is one that a listener takes for a missing answer."""
TURNS_OVER = 0.05
"""A model fails now and then; one turn in twenty more than before is what chance and the machine may add."""
ALPHA = 0.001
"""A revision no worse than that is called worse once in a thousand checks."""
FEWEST = 5
NOTHING_TO_COMPARE = "No weights changed in this record, and there is no --baseline to compare with."

Values = Callable[[Evidence, float, float], Sequence[float]]


def rtt(evidence: Evidence, baseline: Evidence | None = None) -> Check:
    """Against ``baseline`` where there is one, else against the time before the first change of weights."""
    check = Named("quality.rtt", THEME, f"p99 <= before + {RTT_OVER_MS:g} ms")
    return _compare(check, "p99", "from ping to pong", RTT_OVER_MS, _rtts, evidence, baseline)


def first_audio(evidence: Evidence, baseline: Evidence | None = None) -> Check:
    check = Named("quality.first_audio", THEME, f"p95 <= before + {FIRST_AUDIO_OVER_MS:g} ms")
    what = "from the end of speech to the first audio"
    return _compare(check, "p95", what, FIRST_AUDIO_OVER_MS, _audios, evidence, baseline)


def shift(evidence: Evidence) -> tuple[float, float] | None:
    """From the first change of weights to the exit of the last replica that had to go."""
    if len(evidence.windows) < 2:
        return None
    start = evidence.windows[1].start
    exits = (stop.exited for stop in evidence.stops if stop.exited and stop.reason != STAGE_STOPPING)
    return start, max((at for at in exits if at > start), default=evidence.ended)


def _compare(
    check: Named,
    percentile: str,
    what: str,
    over_ms: float,
    values: Values,
    evidence: Evidence,
    baseline: Evidence | None,
) -> Check:
    shifting = shift(evidence)
    if shifting is None and baseline is None:
        return check.unknown(NOTHING_TO_COMPARE)
    when = " during the shift" if shifting else ""
    start, end = shifting or (float("-inf"), float("inf"))
    during = spread(values(evidence, start, end))
    before = spread(
        values(baseline, float("-inf"), float("inf")) if baseline else values(evidence, float("-inf"), start)
    )
    now, then = during[percentile], before[percentile]
    counts = f"{before['count']:g} values before, {during['count']:g} during"
    if now is None or then is None or min(before["count"] or 0, during["count"] or 0) < FEWEST:
        return check.unknown(f"Too few to compare {what}: {counts}.")
    sentence = f"{percentile} {what} was {now:.0f} ms{when} and {then:.0f} ms before ({counts})."
    return check(now <= then + over_ms, f"{now:.0f} ms, before {then:.0f} ms", sentence)


def turns(evidence: Evidence, baseline: Evidence | None = None) -> Check:
    check = Named("quality.turns", THEME, f"not completed <= before + {100 * TURNS_OVER:g} %")
    shifting = shift(evidence)
    if shifting is None and baseline is None:
        return check.unknown(NOTHING_TO_COMPARE)
    when = " during the shift" if shifting else ""
    start, end = shifting or (float("-inf"), float("inf"))
    during = _answers(evidence, start, end)
    before = _answers(baseline, float("-inf"), float("inf")) if baseline else _answers(evidence, float("-inf"), start)
    if min(len(during), len(before)) < FEWEST:
        return check.unknown(f"Too few turns to compare: {len(before)} before, {len(during)} during.")
    failed, failed_before = during.count(False), before.count(False)
    allowed = min(1.0, failed_before / len(before) + TURNS_OVER)
    sentence = f"{failed} of {len(during)} turns{when} were not completed, {failed_before} of {len(before)} before."
    return check(at_least(failed, len(during), allowed) > ALPHA, f"{failed} of {len(during)}", sentence)


def _places(evidence: Evidence) -> set[tuple[str, int]]:
    return {session.place for session in evidence.to_app}


def _rtts(evidence: Evidence, start: float, end: float) -> list[float]:
    pongs = (pong for place in _places(evidence) for pong in evidence.pongs.get(place, ()) if start <= pong.at < end)
    return [pong.rtt_ms for pong in pongs if pong.rtt_ms is not None]


def _audios(evidence: Evidence, start: float, end: float) -> list[float]:
    turns = _ended(evidence, start, end)
    return [turn.first_audio_ms for turn in turns if turn.first_audio_ms is not None]


def _answers(evidence: Evidence, start: float, end: float) -> list[bool]:
    """Of each turn whether it was completed. One that was cut with its socket is a matter of survival."""
    return [turn.status == "completed" for turn in _ended(evidence, start, end) if turn.status != "cut"]


def _ended(evidence: Evidence, start: float, end: float) -> Iterator[Turn]:
    for place in _places(evidence):
        yield from (turn for turn in evidence.turns.get(place, ()) if start <= turn.at < end)
