"""What a caller waits for, by revision and never pooled: each revision during the shift against the time before it.

A revision that carried calls only during the shift needs enough of its own evidence; one that is known from before is
left out where it has too little since. The shift has no end here: the new revision is judged for as long as it is held.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from clients.evidence import Evidence
from clients.facts import Pong, Session, Turn
from clients.judging.binomial import at_least
from clients.judging.check import Check, Named, Status, listed, several
from clients.judging.comparison import fisher, higher, would_show
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
FEWEST = 5
PATIENCE_S = 5.0
"""A caller who hangs up sooner after speaking than this, or than answers ever took, has not waited for an answer."""
FEWEST_OF_A_KIND = 3
"""There may be one call of a kind only, and a bad turn may be chance."""
DEAF_PINGS = 3
"""So many pings of one session without a single answer are no chance."""
NOTHING_TO_COMPARE = "No weights changed in this record, and there is no --baseline to compare with."
UNKNOWN = "an unknown revision"
"""Where the 101 does not say which: it is judged like any other."""
Patience = Mapping[str | None, float]
Heard = TypeVar("Heard", Turn, Pong)
ALWAYS = (float("-inf"), float("inf"))


@dataclass(frozen=True, slots=True)
class Found:
    """Of one revision, or of one of its replicas."""

    status: Status
    measured: str
    said: str


def rtt(evidence: Evidence, baseline: Evidence | None = None) -> Check:
    """Against ``baseline`` where there is one, else against the time before the first change of weights.

    A ping without an answer has no time, and counts as one that was not answered.
    """
    check = Named("quality.rtt", THEME, f"p99 <= before + {RTT_OVER_MS:g} ms, each ping answered")
    answered = _compared(check, "p99", "from ping to pong", RTT_OVER_MS, _rtts, evidence, baseline)
    shift = shift_of(evidence, baseline)
    if shift is None:
        return answered
    before, during = _before_and_during(shift, _pongs, evidence, baseline)
    lost = [found for revision in during if (found := _unanswered(revision, before, during[revision], evidence))]
    if not lost:
        return answered
    return check(False, "; ".join(each.measured for each in lost), f"{'; '.join(each.said for each in lost)}.")


def first_audio(evidence: Evidence, baseline: Evidence | None = None) -> Check:
    check = Named("quality.first_audio", THEME, f"p95 <= before + {FIRST_AUDIO_OVER_MS:g} ms")
    what = "from the end of speech to the first audio"
    return _compared(check, "p95", what, FIRST_AUDIO_OVER_MS, _audios, evidence, baseline)


def connect(evidence: Evidence, baseline: Evidence | None = None) -> Check:
    check = Named("quality.connect", THEME, f"p95 <= before + {CONNECT_OVER_MS:g} ms")
    return _compared(check, "p95", "from the dial to the session", CONNECT_OVER_MS, _connects, evidence, baseline)


def duration(evidence: Evidence, baseline: Evidence | None = None) -> Check:
    """By the median: how long an answer is, is the model's choice. Turns with a tool last as long as the tool."""
    check = Named("quality.duration", THEME, f"p50 <= before + {DURATION_OVER_MS:g} ms")
    what = "from the end of speech to the end of the answer"
    return _compared(check, "p50", what, DURATION_OVER_MS, _durations, evidence, baseline)


def gaps(evidence: Evidence, baseline: Evidence | None = None) -> Check:
    check = Named("hearing.gaps", "hearing", f"p95 <= before + {GAP_OVER_MS:g} ms")
    what = "of the longest gap in the audio of a turn"
    return _compared(check, "p95", what, GAP_OVER_MS, _gaps, evidence, baseline)


def turns(evidence: Evidence, baseline: Evidence | None = None) -> Check:
    """Without anything to compare with, against a model that completes every turn."""
    check = Named("quality.turns", THEME, f"not completed <= before + {100 * OVER:g} %")
    shift = shift_of(evidence, baseline) or ALWAYS
    old, new = _before_and_during(shift, _ended, evidence, baseline)
    patience = _patience([turn for each in (*old.values(), *new.values()) for turn in each])
    before = [_answered(each, patience) for each in old.values()]
    n_before, failed_before = sum(map(len, before)), sum(each.count(False) for each in before)
    throttled = sum(turn.throttled for each in new.values() for turn in each)
    compared = shift is not ALWAYS or baseline is not None
    if compared and n_before < FEWEST:
        counts = f"{n_before} before, {sum(len(_answered(each, patience)) for each in new.values())} during"
        return check.unknown(f"Too few turns to compare: {counts}.{_of_throttled(throttled)}")
    allowed = min(1.0, failed_before / max(n_before, 1) + OVER)
    found = []
    for revision in carriers(shift, evidence):
        answers = _answered(new.get(revision, ()), patience)
        if len(answers) < FEWEST:
            found += [] if revision in old and compared else [_too_few(revision, len(answers), "ended turn")]
            continue
        found.append(_not_completed(revision, answers, allowed, failed_before, n_before))
        for replica, mine in _by_replica(new[revision]).items():
            each = _not_completed(replica, _answered(mine, patience), allowed, failed_before, n_before)
            found += [each] if each.status == "fail" and found[-1].status != "fail" else []
        found += _replicas_without_a_turn(revision, new[revision], evidence)
    rest = f", {failed_before} of {n_before} before" if n_before else ""
    return _together(check, found, rest, _of_throttled(throttled))


def kinds(evidence: Evidence, baseline: Evidence | None = None) -> Check:
    """Each kind that talks, of the holds that a revision served, on each that carried calls during the shift."""
    check = Named("quality.kinds", THEME, "each completed a turn on each revision")
    heard = [turn for turns in evidence.turns.values() for turn in turns]
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
        return check.unknown("The record does not say which kinds of call were held.")
    measured = f"{len(completed)} of {len(completed) + len(failed) + len(unseen)}"
    if failed:
        return check(False, measured, f"No turn was completed by {listed(failed)}.")
    if unseen:
        return check("inconclusive", measured, f"Too little was seen of {listed(unseen)}.")
    names = listed(sorted(set(completed)), 8)
    return check(True, measured, f"Every kind of call that talks ({names}) completed a turn.")


def _as_its_kind(turn: Turn) -> Turn:
    """An answer without a function call shows nothing of calls with tools, whatever it says."""
    without = turn.kind == "tools" and turn.status == "completed" and turn.function_calls == 0
    return replace(turn, status="without a function call") if without else turn


def _talking(revision: str, evidence: Evidence) -> list[str]:
    holds = {session.hold for session in evidence.sessions if (session.revision or UNKNOWN) == revision}
    plans = (evidence.holds[hold].arguments.get("kinds") or () for hold in holds if hold in evidence.holds)
    return sorted({kind for plan in plans for kind in plan} - {"silent"})


def shift_of(evidence: Evidence, baseline: Evidence | None) -> tuple[float, float] | None:
    """From the first change of weights on. With a baseline the whole record may be compared with that."""
    if len(evidence.windows) > 1:
        return evidence.windows[1].start, float("inf")
    return ALWAYS if baseline is not None else None


def _judged(evidence: Evidence) -> set[str | None]:
    """Sessions through the app's address; a record that has none was made at a revision's own."""
    return {session.id for session in evidence.to_app or evidence.sessions}


def carriers(shift: tuple[float, float], evidence: Evidence) -> list[str]:
    """Revisions that had a call during the shift."""
    mine = evidence.to_app or evidence.sessions
    seen = [each for each in mine if (each.end.at if each.end else evidence.ended) >= shift[0]]
    return list(dict.fromkeys(each.revision or UNKNOWN for each in seen))


Values = Callable[[Evidence, float, float], Iterator[tuple[str | None, float]]]
"""Each with its revision."""


def _by_revision(pairs: Iterator[tuple[str | None, float]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for revision, value in pairs:
        found[revision or UNKNOWN].append(value)
    return dict(found)


def _compared(
    check: Named,
    percentile: str,
    what: str,
    over_ms: float,
    values: Values,
    evidence: Evidence,
    baseline: Evidence | None,
) -> Check:
    shift = shift_of(evidence, baseline)
    if shift is None:
        return check.unknown(NOTHING_TO_COMPARE)
    old = _by_revision(values(baseline, *ALWAYS) if baseline else values(evidence, ALWAYS[0], shift[0]))
    new = _by_revision(values(evidence, *shift))
    values_before = [value for each in old.values() for value in each]
    before = spread(values_before)
    then = before[percentile]
    if then is None or (before["count"] or 0) < FEWEST:
        during = sum(map(len, new.values()))
        return check.unknown(f"Too few to compare {what}: {before['count']:g} values before, {during} during.")
    found, shown = [], []
    for revision in carriers(shift, evidence):
        mine = spread(new.get(revision, ()))
        now, count = mine[percentile], int(mine["count"] or 0)
        if now is None or count < FEWEST:
            found += [] if revision in old else [_too_few(revision, count, "value")]
            continue
        chance = higher(new[revision], values_before, then, over_ms)
        said = f"{now:.0f} ms on {revision} ({count} values)"
        if chance is not None:
            found.append(Found("fail", f"{revision} {now:.0f} ms", f"{said}, by chance once in {1 / chance:.2g} times"))
            continue
        if now > then + over_ms:
            said += ", which so few may be by chance"
        found.append(Found("pass", f"{revision} {now:.0f} ms", said))
        shown.append(f"{would_show(new[revision], values_before, then, over_ms):.0f} ms more on {revision}")
    rest = f"; before {then:.0f} ms ({before['count']:g} values)"
    after = f" It would have failed at {listed(shown)}." if shown else ""
    begin, measured_rest = f"{percentile} {what} was ", f", before {then:.0f} ms"
    return _together(check, found, rest, after, begin=begin, measured_rest=measured_rest)


def _together(
    check: Named, found: Sequence[Found], rest: str = "", after: str = "", *, begin: str = "", measured_rest: str = ""
) -> Check:
    """A failure of one is one of all; one that has too little evidence leaves it open."""
    failed = [each for each in found if each.status == "fail"]
    open_still = [each for each in found if each.status == "inconclusive"]
    if failed:
        said = f"{begin}{', '.join(each.said for each in failed)}{rest}.{after}"
        return check(False, f"{listed([each.measured for each in failed])}{measured_rest}", said)
    if open_still or not found:
        said = listed([each.said for each in open_still]) or "Too little was seen of every revision"
        return check("inconclusive", listed([each.measured for each in found]) or "-", f"{said}.{after}")
    said = f"{begin}{', '.join(each.said for each in found)}{rest}.{after}"
    return check(True, f"{listed([each.measured for each in found])}{measured_rest}", said)


def _too_few(revision: str, count: int, thing: str) -> Found:
    said = f"{several(count, thing)} on {revision}, of {FEWEST} that it takes to judge it"
    return Found("inconclusive", f"{revision} {count}", said)


def _not_completed(where: str, answers: Sequence[bool], allowed: float, failed_before: int, n_before: int) -> Found:
    """Too many for what is allowed, and more than before by more than chance: a few turns before say little."""
    failed, count = answers.count(False), len(answers)

    def too_many(failed: int) -> bool:
        more = not n_before or fisher(failed, count, failed_before, n_before) <= ALPHA
        return more and at_least(failed, count, allowed) <= ALPHA

    said = f"{failed} of {count} turns on {where} were not completed"
    if too_many(failed):
        return Found("fail", f"{where} {failed} of {count}", said)
    least = next((each for each in range(failed, count + 1) if too_many(each)), None)
    said += f" ({least} would be too many)" if least is not None else " (so few may be by chance)"
    return Found("pass", f"{where} {failed} of {count}", said)


def _replicas_without_a_turn(revision: str, heard: Sequence[Turn], evidence: Evidence) -> list[Found]:
    """Replicas that were there all the time that the revision had calls, and took none of its many turns."""
    mine = [session for session in evidence.to_app if session.revision == revision]
    first = min((session.opened for session in mine), default=float("-inf"))
    ready = {act["replica"] for act in evidence.acts_of("replica.ready") if act.at <= first}
    gone = {stop.replica for stop in evidence.stops}
    there = {act["replica"] for act in evidence.acts_of("replica.started") if act["revision"] == revision}
    there = (there & ready) - gone
    unseen = sorted(there - {turn.replica for turn in heard})
    if not unseen or len(mine) < SHARED_SESSIONS * len(there):
        return []
    said = f"no turn was seen on {listed(unseen)}, although {several(len(mine), 'session')} came to {revision}"
    return [Found("inconclusive", f"{len(unseen)} unseen", f"{said[0].upper()}{said[1:]}")]


def _unanswered(
    revision: str, before: Mapping[str, Sequence[Pong]], during: Sequence[Pong], evidence: Evidence
) -> Found | None:
    """None where it answered as many pings as before, on each replica and in each session."""
    old = [pong for each in before.values() for pong in each]
    allowed = min(1.0, sum(pong.rtt_ms is None for pong in old) / max(len(old), 1) + OVER)
    for where, mine in ((revision, during), *_by_replica(during).items()):
        lost = sum(pong.rtt_ms is None for pong in mine)
        if len(mine) >= FEWEST and at_least(lost, len(mine), allowed) <= ALPHA:
            return Found(
                "fail", f"{where} {lost} of {len(mine)}", f"{lost} of {len(mine)} pings on {where} had no answer"
            )
    sessions: dict[str | None, list[Pong]] = defaultdict(list)
    for pong in during:
        sessions[pong.session].append(pong)
    deaf = [each for each in sessions.values() if len(each) >= DEAF_PINGS and all(pong.rtt_ms is None for pong in each)]
    if deaf:
        said = f"{several(len(deaf), 'call')} on {revision} had no answer to any ping"
        return Found("fail", f"{revision} {len(deaf)} deaf", said)
    return None


def _of_throttled(count: int) -> str:
    if not count:
        return ""
    return (
        f" {several(count, 'turn')} failed because the deployment was throttled (inference_rate_limit_exceeded), which "
        f"is not the release's fault and is not counted."
    )


def _by_replica(heard: Sequence[Heard]) -> dict[str, list[Heard]]:
    found: dict[str, list[Heard]] = defaultdict(list)
    for one in heard:
        if one.replica is not None:
            found[one.replica].append(one)
    return dict(found)


def _patience(turns: Sequence[Turn]) -> Patience:
    """In seconds, by kind of call: a tool takes longer than a word."""
    found: dict[str | None, float] = defaultdict(lambda: PATIENCE_S)
    for turn in turns:
        if turn.status == "completed":
            found[turn.kind] = max(found[turn.kind], (turn.duration_ms or 0.0) / 1000)
    return found


def _answered(turns: Sequence[Turn], patience: Patience) -> list[bool]:
    """Of each turn whether it was completed.

    One that was cut with its socket is a matter of survival, one that was throttled of the deployment's capacity, and
    one whose caller hung up before an answer was due proves nothing.
    """
    found = []
    for turn in turns:
        due_s = patience.get(turn.kind, PATIENCE_S)
        unfinished = turn.status == "unanswered" and (turn.duration_ms or 0.0) <= 1000 * due_s
        if turn.status != "cut" and not turn.throttled and not unfinished:
            found.append(turn.status == "completed")
    return found


def _before_and_during(
    shift: tuple[float, float],
    pick: Callable[[Evidence, float, float], Iterator[Heard]],
    evidence: Evidence,
    baseline: Evidence | None,
) -> tuple[dict[str, list[Heard]], dict[str, list[Heard]]]:
    """By revision. Before is the baseline's all, where there is one."""
    old: dict[str, list[Heard]] = defaultdict(list)
    new: dict[str, list[Heard]] = defaultdict(list)
    for one in pick(baseline, *ALWAYS) if baseline else pick(evidence, ALWAYS[0], shift[0]):
        old[one.revision or UNKNOWN].append(one)
    for one in pick(evidence, *shift):
        new[one.revision or UNKNOWN].append(one)
    return dict(old), dict(new)


def _ended(evidence: Evidence, start: float, end: float) -> Iterator[Turn]:
    judged = _judged(evidence)
    for turns in evidence.turns.values():
        yield from (turn for turn in turns if start <= turn.at < end and turn.session in judged)


def _pongs(evidence: Evidence, start: float, end: float) -> Iterator[Pong]:
    judged = _judged(evidence)
    for pongs in evidence.pongs.values():
        yield from (pong for pong in pongs if start <= pong.at < end and pong.session in judged)


def _rtts(evidence: Evidence, start: float, end: float) -> Iterator[tuple[str | None, float]]:
    for pong in _pongs(evidence, start, end):
        if pong.rtt_ms is not None:
            yield pong.revision, pong.rtt_ms


def _audios(evidence: Evidence, start: float, end: float) -> Iterator[tuple[str | None, float]]:
    for turn in _ended(evidence, start, end):
        if turn.first_audio_ms is not None:
            yield turn.revision, turn.first_audio_ms


def _durations(evidence: Evidence, start: float, end: float) -> Iterator[tuple[str | None, float]]:
    for turn in _ended(evidence, start, end):
        if turn.duration_ms is not None and turn.status == "completed" and turn.kind in (None, "vad", "push-to-talk"):
            yield turn.revision, turn.duration_ms


def _gaps(evidence: Evidence, start: float, end: float) -> Iterator[tuple[str | None, float]]:
    for turn in _ended(evidence, start, end):
        if turn.worst_gap_ms is not None:
            yield turn.revision, turn.worst_gap_ms


def _connects(evidence: Evidence, start: float, end: float) -> Iterator[tuple[str | None, float]]:
    mine: Sequence[Session] = evidence.to_app or evidence.sessions
    for session in mine:
        if start <= session.opened < end:
            yield session.revision, session.connect_ms
