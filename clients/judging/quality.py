"""What a caller waits for, by revision and never pooled: each revision during the shift against the time before it.

A revision that carried calls only during the shift needs enough evidence of its own; one that is known from before is
left out where it has too little since. The shift has no end here: the new revision is judged for as long as it is held.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from clients.chance import at_least, fisher, higher, would_show
from clients.evidence import Evidence
from clients.judging.check import (
    ALWAYS,
    FEWEST,
    UNKNOWN,
    Check,
    Named,
    Span,
    Status,
    carriers,
    listed,
    several,
    shift_of,
)
from clients.recorded import Pong, Turn
from clients.summary import spread

THEME = "quality"
RTT_OVER_MS = 250.0
"""Above this a talker begins to hear the added delay and to talk into the answer."""
FIRST_AUDIO_OVER_MS = 500.0
"""A pause longer by half a second is one that a listener takes for a missing answer."""
CONNECT_OVER_MS = 1000.0
"""A ring longer by a second is one that a caller notices; less is what a busy machine may add."""
DURATION_OVER_MS = 1500.0
"""Answers differ in length by chance; half of them longer by this are slower."""
GAP_OVER_MS = 1000.0
"""Players buffer less than a second of speech, so such a gap is a hole in it."""
OVER = 0.05
"""A model fails now and then; one turn in twenty more than before is what chance and the machine may add."""
ALPHA = 0.01
"""A revision that is just so much worse is called worse once in a hundred checks, one that is as before hardly ever."""
SHARED_SESSIONS = 6
"""So many sessions for each replica of a revision come to all of them, but for once in a thousand times."""
PATIENCE_S = 5.0
"""A caller who hangs up sooner after speaking than this, or than answers ever took, has not waited for an answer."""
FEWEST_OF_A_KIND = 3
"""There may be one call of a kind only, and a bad turn may be chance."""
DEAF_PINGS = 3
"""So many pings of one session without a single answer are no chance."""
NOTHING_TO_COMPARE = "No weights changed in this record, and there is no --baseline to compare with."

TURNS = Named("quality.turns", THEME, f"not completed <= before + {100 * OVER:g} %")
KINDS = Named("quality.kinds", THEME, "each completed a turn on each revision")

Patience = Mapping[str | None, float]
Heard = TypeVar("Heard", Turn, Pong)
Item = TypeVar("Item")
Key = TypeVar("Key")
Values = Callable[[Evidence, float, float], Iterator[tuple[str | None, float]]]
"""The values of a span of time, each with its revision."""


class Part(NamedTuple):
    """The result for one revision, or for one of its replicas."""

    status: Status
    measured: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Timing:
    """A check of one kind of `values`: their `percentile` may be higher than before by `over_ms`, and by chance.

    Compared with ``baseline`` where there is one, else with the time before the first change of weights.
    """

    check: Named
    percentile: str
    what: str
    over_ms: float
    values: Values

    def __call__(self, evidence: Evidence, baseline: Evidence | None = None) -> Check:
        shift = shift_of(evidence, baseline)
        if shift is None:
            return self.check.unknown(NOTHING_TO_COMPARE)
        old = _by_revision(self.values(baseline, *ALWAYS) if baseline else self.values(evidence, ALWAYS[0], shift[0]))
        new = _by_revision(self.values(evidence, *shift))
        values_before = [value for each in old.values() for value in each]
        before = spread(values_before)
        then = before[self.percentile]
        if then is None or (before["count"] or 0) < FEWEST:
            counts = f"{before['count']:g} values before, {sum(map(len, new.values()))} during"
            return self.check.unknown(f"Too few to compare {self.what}: {counts}.")
        parts, shown = [], []
        for revision in carriers(shift, evidence):
            mine = spread(new.get(revision, ()))
            now, count = mine[self.percentile], int(mine["count"] or 0)
            if now is None or count < FEWEST:
                parts += [] if revision in old else [_too_few(revision, count, "value")]
                continue
            chance = higher(new[revision], values_before, then, self.over_ms)
            measured, sentence = f"{revision} {now:.0f} ms", f"{now:.0f} ms on {revision} ({count} values)"
            if chance is not None:
                parts.append(Part("fail", measured, f"{sentence}, by chance once in {1 / chance:.2g} times"))
                continue
            if now > then + self.over_ms:
                sentence += ", which so few may be by chance"
            parts.append(Part("pass", measured, sentence))
            shown.append(f"{would_show(new[revision], values_before, then, self.over_ms):.0f} ms more on {revision}")
        rest = f"; before {then:.0f} ms ({before['count']:g} values)"
        after = f" It would have failed at {listed(shown)}." if shown else ""
        begin, measured_rest = f"{self.percentile} {self.what} was ", f", before {then:.0f} ms"
        return _together(self.check, parts, rest, after, begin=begin, measured_rest=measured_rest)


def _by_revision(pairs: Iterable[tuple[str | None, float]]) -> dict[str, list[float]]:
    values: dict[str, list[float]] = defaultdict(list)
    for revision, value in pairs:
        values[revision or UNKNOWN].append(value)
    return dict(values)


def _together(
    check: Named, parts: Sequence[Part], rest: str = "", after: str = "", *, begin: str = "", measured_rest: str = ""
) -> Check:
    """A failure of one is one of all; one that has too little evidence leaves it open."""
    failed = [each for each in parts if each.status == "fail"]
    open_still = [each for each in parts if each.status == "inconclusive"]
    if not failed and (open_still or not parts):
        sentence = listed([each.sentence for each in open_still]) or "Too little was seen of every revision"
        return check("inconclusive", listed([each.measured for each in parts]) or "-", f"{sentence}.{after}")
    chosen = failed or parts
    sentence = f"{begin}{', '.join(each.sentence for each in chosen)}{rest}.{after}"
    return check(not failed, f"{listed([each.measured for each in chosen])}{measured_rest}", sentence)


def _too_few(revision: str, count: int, thing: str) -> Part:
    sentence = f"{several(count, thing)} on {revision}, of {FEWEST} that it takes to judge it"
    return Part("inconclusive", f"{revision} {count}", sentence)


# The times of turns, pings and dials.


def _judged(evidence: Evidence) -> set[str | None]:
    """Sessions through the app's address; a record that has none was made at a revision's own."""
    return {session.id for session in evidence.to_app or evidence.sessions}


def _turns(evidence: Evidence, start: float, end: float) -> Iterator[Turn]:
    judged = _judged(evidence)
    yield from (turn for turn in evidence.all_turns if start <= turn.at < end and turn.session in judged)


def _pongs(evidence: Evidence, start: float, end: float) -> Iterator[Pong]:
    judged = _judged(evidence)
    for pongs in evidence.pongs.values():
        yield from (pong for pong in pongs if start <= pong.at < end and pong.session in judged)


def _of_turns(value: Callable[[Turn], float | None]) -> Values:
    def values(evidence: Evidence, start: float, end: float) -> Iterator[tuple[str | None, float]]:
        for turn in _turns(evidence, start, end):
            if (time_ms := value(turn)) is not None:
                yield turn.revision, time_ms

    return values


def _duration(turn: Turn) -> float | None:
    """Turns with a tool last as long as the tool."""
    counts = turn.status == "completed" and turn.kind in (None, "vad", "push-to-talk")
    return turn.duration_ms if counts else None


def _rtts(evidence: Evidence, start: float, end: float) -> Iterator[tuple[str | None, float]]:
    """A ping without an answer has no time."""
    for pong in _pongs(evidence, start, end):
        if pong.rtt_ms is not None:
            yield pong.revision, pong.rtt_ms


def _connects(evidence: Evidence, start: float, end: float) -> Iterator[tuple[str | None, float]]:
    for session in evidence.to_app or evidence.sessions:
        if start <= session.opened < end:
            yield session.revision, session.connect_ms


first_audio = Timing(
    Named("quality.first_audio", THEME, f"p95 <= before + {FIRST_AUDIO_OVER_MS:g} ms"),
    "p95",
    "from the end of speech to the first audio",
    FIRST_AUDIO_OVER_MS,
    _of_turns(lambda turn: turn.first_audio_ms),
)
connect = Timing(
    Named("quality.connect", THEME, f"p95 <= before + {CONNECT_OVER_MS:g} ms"),
    "p95",
    "from the dial to the session",
    CONNECT_OVER_MS,
    _connects,
)
duration = Timing(
    Named("quality.duration", THEME, f"p50 <= before + {DURATION_OVER_MS:g} ms"),
    "p50",  # how long an answer is, is the model's choice
    "from the end of speech to the end of the answer",
    DURATION_OVER_MS,
    _of_turns(_duration),
)
gaps = Timing(
    Named("hearing.gaps", "hearing", f"p95 <= before + {GAP_OVER_MS:g} ms"),
    "p95",
    "of the longest gap in the audio of a turn",
    GAP_OVER_MS,
    _of_turns(lambda turn: turn.worst_gap_ms),
)
_answered_pings = Timing(
    Named("quality.rtt", THEME, f"p99 <= before + {RTT_OVER_MS:g} ms, each ping answered"),
    "p99",
    "from ping to pong",
    RTT_OVER_MS,
    _rtts,
)


def rtt(evidence: Evidence, baseline: Evidence | None = None) -> Check:
    """The time of answered pings; and that as many are answered as before."""
    answered = _answered_pings(evidence, baseline)
    shift = shift_of(evidence, baseline)
    if shift is None:
        return answered
    before, during = _before_and_during(shift, _pongs, evidence, baseline)
    lost = [part for revision in during if (part := _unanswered(revision, before, during[revision]))]
    if not lost:
        return answered
    sentences = "; ".join(each.sentence for each in lost)
    return _answered_pings.check(False, "; ".join(each.measured for each in lost), f"{sentences}.")


def _unanswered(revision: str, before: Mapping[str, Sequence[Pong]], during: Sequence[Pong]) -> Part | None:
    """None where it answered as many pings as before, on each replica and in each session."""
    old = [pong for each in before.values() for pong in each]
    allowed = min(1.0, sum(pong.rtt_ms is None for pong in old) / max(len(old), 1) + OVER)
    for where, mine in ((revision, during), *_by_replica(during).items()):
        lost = sum(pong.rtt_ms is None for pong in mine)
        if len(mine) >= FEWEST and at_least(lost, len(mine), allowed) <= ALPHA:
            count = f"{lost} of {len(mine)}"
            return Part("fail", f"{where} {count}", f"{count} pings on {where} had no answer")
    sessions = _grouped(during, lambda pong: pong.session).values()
    deaf = [each for each in sessions if len(each) >= DEAF_PINGS and all(pong.rtt_ms is None for pong in each)]
    if deaf:
        sentence = f"{several(len(deaf), 'call')} on {revision} had no answer to any ping"
        return Part("fail", f"{revision} {len(deaf)} deaf", sentence)
    return None


def _grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    groups: dict[Key, list[Item]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return dict(groups)


def _by_replica(heard: Sequence[Heard]) -> dict[str, list[Heard]]:
    return {replica: mine for replica, mine in _grouped(heard, lambda one: one.replica).items() if replica is not None}


def _before_and_during(
    shift: Span,
    pick: Callable[[Evidence, float, float], Iterator[Heard]],
    evidence: Evidence,
    baseline: Evidence | None,
) -> tuple[dict[str, list[Heard]], dict[str, list[Heard]]]:
    """By revision. Before is the baseline's all, where there is one."""
    old = pick(baseline, *ALWAYS) if baseline else pick(evidence, ALWAYS[0], shift[0])
    new = pick(evidence, *shift)
    return _grouped(old, lambda one: one.revision or UNKNOWN), _grouped(new, lambda one: one.revision or UNKNOWN)


# Turns that were completed.


def turns(evidence: Evidence, baseline: Evidence | None = None) -> Check:
    """Without anything to compare with, against a model that completes every turn."""
    shift = shift_of(evidence, baseline) or ALWAYS
    old, new = _before_and_during(shift, _turns, evidence, baseline)
    patience = _patience([turn for each in (*old.values(), *new.values()) for turn in each])
    before = [_answered(each, patience) for each in old.values()]
    n_before, failed_before = sum(map(len, before)), sum(each.count(False) for each in before)
    throttled = sum(turn.throttled for each in new.values() for turn in each)
    compared = shift is not ALWAYS or baseline is not None
    if compared and n_before < FEWEST:
        counts = f"{n_before} before, {sum(len(_answered(each, patience)) for each in new.values())} during"
        return TURNS.unknown(f"Too few turns to compare: {counts}.{_of_throttled(throttled)}")
    allowed = min(1.0, failed_before / max(n_before, 1) + OVER)
    parts = []
    for revision in carriers(shift, evidence):
        answers = _answered(new.get(revision, ()), patience)
        if len(answers) < FEWEST:
            parts += [] if revision in old and compared else [_too_few(revision, len(answers), "ended turn")]
            continue
        parts.append(_not_completed(revision, answers, allowed, failed_before, n_before))
        for replica, mine in _by_replica(new[revision]).items():
            each = _not_completed(replica, _answered(mine, patience), allowed, failed_before, n_before)
            parts += [each] if each.status == "fail" and parts[-1].status != "fail" else []
        parts += _replicas_without_a_turn(revision, new[revision], evidence)
    rest = f", {failed_before} of {n_before} before" if n_before else ""
    return _together(TURNS, parts, rest, _of_throttled(throttled))


def _patience(turns: Sequence[Turn]) -> Patience:
    """In seconds, by kind of call: a tool takes longer than a word."""
    longest: dict[str | None, float] = defaultdict(lambda: PATIENCE_S)
    for turn in turns:
        if turn.status == "completed":
            longest[turn.kind] = max(longest[turn.kind], (turn.duration_ms or 0.0) / 1000)
    return longest


def _answered(turns: Sequence[Turn], patience: Patience) -> list[bool]:
    """Of each turn whether it was completed.

    One that was cut with its socket belongs to survival, one that was throttled to the deployment's capacity, and one
    whose caller hung up before an answer was due proves nothing.
    """
    answers = []
    for turn in turns:
        due_s = patience.get(turn.kind, PATIENCE_S)
        unfinished = turn.status == "unanswered" and (turn.duration_ms or 0.0) <= 1000 * due_s
        if turn.status != "cut" and not turn.throttled and not unfinished:
            answers.append(turn.status == "completed")
    return answers


def _not_completed(where: str, answers: Sequence[bool], allowed: float, failed_before: int, n_before: int) -> Part:
    """Too many for what is allowed, and more than before by more than chance: a few turns before say little."""
    failed, count = answers.count(False), len(answers)

    def too_many(failed: int) -> bool:
        more = not n_before or fisher(failed, count, failed_before, n_before) <= ALPHA
        return more and at_least(failed, count, allowed) <= ALPHA

    measured, sentence = f"{where} {failed} of {count}", f"{failed} of {count} turns on {where} were not completed"
    if too_many(failed):
        return Part("fail", measured, sentence)
    least = next((each for each in range(failed, count + 1) if too_many(each)), None)
    sentence += f" ({least} would be too many)" if least is not None else " (so few may be by chance)"
    return Part("pass", measured, sentence)


def _replicas_without_a_turn(revision: str, heard: Sequence[Turn], evidence: Evidence) -> list[Part]:
    """Replicas that were there all the time that the revision had calls, and took none of its many turns."""
    mine = [session for session in evidence.to_app if session.revision == revision]
    first = min((session.opened for session in mine), default=float("-inf"))
    ready = {act["replica"] for act in evidence.acts_of("replica.ready") if act.at <= first}
    stopped = {stop.replica for stop in evidence.stops}
    there = {act["replica"] for act in evidence.acts_of("replica.started") if act["revision"] == revision}
    there = (there & ready) - stopped
    unseen = sorted(there - {turn.replica for turn in heard})
    if not unseen or len(mine) < SHARED_SESSIONS * len(there):
        return []
    sentence = f"No turn was seen on {listed(unseen)}, although {several(len(mine), 'session')} came to {revision}"
    return [Part("inconclusive", f"{len(unseen)} unseen", sentence)]


def _of_throttled(count: int) -> str:
    if not count:
        return ""
    return (
        f" {several(count, 'turn')} failed because the deployment was throttled (inference_rate_limit_exceeded), which "
        f"is not the release's fault and is not counted."
    )


def kinds(evidence: Evidence, baseline: Evidence | None = None) -> Check:
    """Each kind that talks, of the holds that a revision served, on each that carried calls during the shift."""
    heard = list(evidence.all_turns)
    patience = _patience(heard)
    failed, unseen, completed = [], [], []
    for revision in carriers(shift_of(evidence, baseline) or ALWAYS, evidence):
        for kind in _talking(revision, evidence):
            mine = [turn for turn in heard if (turn.revision or UNKNOWN, turn.kind) == (revision, kind)]
            answers = _answered([_as_its_kind(turn) for turn in mine], patience)
            if any(answers):
                completed.append(kind)
            elif len(answers) >= FEWEST_OF_A_KIND:
                failed.append(f"{kind} on {revision} (0 of {several(len(answers), 'turn')})")
            else:
                unseen.append(f"{kind} on {revision}")
    if not completed and not failed and not unseen:
        return KINDS.unknown("The record does not say which kinds of call were held.")
    measured = f"{len(completed)} of {len(completed) + len(failed) + len(unseen)}"
    if failed:
        return KINDS(False, measured, f"No turn was completed by {listed(failed)}.")
    if unseen:
        return KINDS("inconclusive", measured, f"Too little was seen of {listed(unseen)}.")
    names = listed(sorted(set(completed)), 8)
    return KINDS(True, measured, f"Every kind of call that talks ({names}) completed a turn.")


def _as_its_kind(turn: Turn) -> Turn:
    """An answer without a function call shows nothing of calls with tools, whatever it says."""
    without = turn.kind == "tools" and turn.status == "completed" and turn.function_calls == 0
    return replace(turn, status="without a function call") if without else turn


def _talking(revision: str, evidence: Evidence) -> list[str]:
    holds = {session.hold for session in evidence.sessions if (session.revision or UNKNOWN) == revision}
    plans = (evidence.holds[hold].arguments.get("kinds") or () for hold in holds if hold in evidence.holds)
    return sorted({kind for plan in plans for kind in plan} - {"silent"})
