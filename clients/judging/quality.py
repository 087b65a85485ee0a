"""What a caller hears: round trips and the wait for the first audio, during the shift against before it."""

from collections.abc import Callable, Sequence

from clients.evidence import Evidence
from clients.facts import STAGE_STOPPING
from clients.judging.check import Check, Named
from clients.summary import spread

THEME = "quality"
RTT_OVER_MS = 250.0
"""Above this a talker begins to hear the added delay and to talk into the answer."""
FIRST_AUDIO_OVER_MS = 500.0
"""A pause longer by half a second is one that a listener takes for a missing answer."""
FEWEST = 5

Values = Callable[[Evidence, float, float], Sequence[float]]


def both(evidence: Evidence, baseline: Evidence | None = None) -> list[Check]:
    """Against ``baseline`` where there is one, else against the time before the first change of weights."""
    rtt = Named("quality.rtt", THEME, f"p99 <= before + {RTT_OVER_MS:g} ms")
    audio = Named("quality.first_audio", THEME, f"p95 <= before + {FIRST_AUDIO_OVER_MS:g} ms")
    return [
        _compare(rtt, "p99", "from ping to pong", RTT_OVER_MS, _rtts, evidence, baseline),
        _compare(
            audio, "p95", "from the end of speech to the first audio", FIRST_AUDIO_OVER_MS, _audios, evidence, baseline
        ),
    ]


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
        return check.unknown("No weights changed in this record, and there is no --baseline to compare with.")
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


def _places(evidence: Evidence) -> set[tuple[str, int]]:
    return {session.place for session in evidence.to_app}


def _rtts(evidence: Evidence, start: float, end: float) -> list[float]:
    pongs = (pong for place in _places(evidence) for pong in evidence.pongs.get(place, ()) if start <= pong.at < end)
    return [pong.rtt_ms for pong in pongs if pong.rtt_ms is not None]


def _audios(evidence: Evidence, start: float, end: float) -> list[float]:
    turns = (turn for place in _places(evidence) for turn in evidence.turns.get(place, ()) if start <= turn.at < end)
    return [turn.first_audio_ms for turn in turns if turn.first_audio_ms is not None]
