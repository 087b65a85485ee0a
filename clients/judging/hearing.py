"""What a caller hears: its own call and no other, whole and in order, with the sound that the model gave it.

The hold ties every event to its call and notes a fault where one does not fit. On a stage the model keeps a record,
too, and both directions are compared byte for byte, by length and hash.
"""

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from clients.evidence import Evidence
from clients.judging.check import (
    ALWAYS,
    FEWEST,
    UNKNOWN,
    Check,
    Named,
    capital,
    carriers,
    listed,
    several,
    shift_of,
)
from clients.recorded import Session, Turn

THEME = "hearing"
CROSS_TALK = Named("hearing.cross_talk", THEME, "0")
EVENTS = Named("hearing.events", THEME, "0 faults")
SESSION = Named("hearing.session", THEME, "0 faults")
AUDIO = Named("hearing.audio", THEME, "what the model sent")
AS_LOUD = 0.5
"""Half as loud, or twice: 6 dB, which anybody hears."""
IN_FLIGHT_BYTES = 96_000
"""Two seconds of speech: more is not under way when a call ends."""
LENGTH_OVER = 0.04
"""Of all the audio of a revision: rounding up to whole tokens is the same before and now, a lost tenth is not."""
FAULTS = {
    "cross_talk": "heard what belongs to another call: cross-talk",
    "unknown_response": "heard of a response that was not theirs",
    "broken_json": "got a message that is no JSON event",
    "out_of_order": "heard events in the wrong order",
    "repeated_id": "heard an event twice",
    "error_event": "got an error from the model",
    "other_words": "read other words than the answer has",
    "lost_item": "got an answer without what they had created for it",
    "no_session_updated": "had no answer to session.update",
    "session_differs": "got another session than the one asked for",
    "audio_length": "heard audio of another length than its usage says",
    "silent_audio": "heard an answer without a sound",
}


def cross_talk(evidence: Evidence, baseline: Evidence | None = None) -> Check:
    """An id of another call of the hold; or a response that the model's record has in another session."""
    faults = [fault for fault in evidence.faults if fault.fault == "cross_talk"]
    places = {(fault.hold, fault.call, fault.revision) for fault in faults}
    details = [fault.detail for fault in faults]
    for session, response in _heard_in_another_session(evidence):
        places.add((session.hold, session.call, session.revision))
        details.append(f"response {response}, or its sound, is another session's in the model's record")
    if details:
        revisions = listed(sorted({str(revision) for _, _, revision in places}))
        sentence = (
            f"Cross-talk: {several(len(places), 'call')} on {revisions} heard what belongs to another call "
            f"({several(len(details), 'time')}; the first: {details[0]}). That is cross-talk between callers."
        )
        return CROSS_TALK(False, str(len(details)), sentence)
    if len({session.place for session in evidence.sessions}) < 2:
        return CROSS_TALK.unknown("Cross-talk needs two calls at the same time.")
    counts = _answers_heard(evidence, baseline)
    return _too_little(CROSS_TALK, counts) or CROSS_TALK(
        True,
        "0",
        f"Each of {several(sum(counts.values()), 'answer')} that was heard belongs to the call that heard it.",
    )


def events(evidence: Evidence, baseline: Evidence | None = None) -> Check:
    names = (
        "unknown_response",
        "broken_json",
        "out_of_order",
        "repeated_id",
        "error_event",
        "other_words",
        "lost_item",
    )
    counts = _answers_heard(evidence, baseline)
    return (
        _faulty(EVENTS, evidence, names)
        or _too_little(EVENTS, counts)
        or EVENTS(
            True, "0 faults", f"Every event of {several(sum(counts.values()), 'answer')} was whole and in its place."
        )
    )


def session(evidence: Evidence, baseline: Evidence | None = None) -> Check:
    """By the sessions: each asks for its settings once, and waits for the answer."""
    start, _ = shift_of(evidence, baseline) or ALWAYS
    asked = Counter({revision: 0 for revision in carriers((start, ALWAYS[1]), evidence)})
    new = [each.revision or UNKNOWN for each in evidence.sessions if each.kind is not None]
    asked.update(revision for revision in new if revision in asked)
    faulty = _faulty(SESSION, evidence, ("no_session_updated", "session_differs"))
    if faulty:
        return faulty
    if not sum(asked.values()):
        return SESSION.unknown("The record does not say what became of session.update.")
    few = [f"{several(count, 'session')} on {revision}" for revision, count in asked.items() if not count]
    if few:
        return SESSION("inconclusive", "-", f"Too few to judge: {listed(few)}.")
    sentence = f"Each of {several(sum(asked.values()), 'session')} got the settings that it asked for."
    return SESSION(True, "0 faults", sentence)


def audio(evidence: Evidence, baseline: Evidence | None = None) -> Check:
    """Length and loudness; with a record of the model every byte of both directions."""
    faulty = _faulty(AUDIO, evidence, ("audio_length", "silent_audio"))
    if faulty:
        return faulty
    if quieter := _other_loudness(evidence, baseline):
        return AUDIO(False, quieter[0], f"The loudness of answers changed: {listed(quieter)}.")
    down, up = _down(evidence), _up(evidence)
    if down.wrong or up.wrong:
        parts = [each.failure() for each in (down, up) if each.wrong]
        return AUDIO(False, f"{len(down.wrong) + len(up.wrong)} otherwise", f"{'; '.join(parts)}.")
    if shorter := _other_length(evidence, baseline):
        sentence = f"The audio of answers has another length for its usage than before: {listed(shorter)}."
        return AUDIO(False, shorter[0], sentence)
    counts = _answers_heard(evidence, baseline)
    if little := _too_little(AUDIO, counts):
        return little
    if not evidence.spoken and not evidence.listened:
        sentence = (
            f"{several(sum(counts.values()), 'answer')} had the length that usage says, and sound. There is no record "
            f"of the model to compare the bytes with."
        )
        return AUDIO(True, f"{sum(counts.values())} answers", sentence)
    thin = [name for name in counts if down.by_revision[name] < FEWEST or not up.by_revision[name]]
    measured = f"{sum(down.by_revision.values())} answers and {sum(up.by_revision.values())} calls the same"
    if thin:
        sentence = (
            f"The model's record has too little of {listed(thin)} to compare: "
            f"{several(sum(down.by_revision[name] for name in thin), 'answer')} and "
            f"{several(sum(up.by_revision[name] for name in thin), 'whole call')}."
        )
        return AUDIO("inconclusive", measured, sentence)
    sentence = (
        f"{several(sum(down.by_revision.values()), 'answer')} reached the callers, and the speech of "
        f"{several(sum(up.by_revision.values()), 'call')} the model, byte for byte.{_left_out(up.left_out)}"
    )
    return AUDIO(True, measured, sentence)


def _left_out(count: int) -> str:
    if not count:
        return ""
    return f" {several(count, 'call')} that ended in a turn, by a move or not at all could not be compared in full."


def _faulty(check: Named, evidence: Evidence, names: Sequence[str]) -> Check | None:
    faults = [fault for fault in evidence.faults if fault.fault in names]
    if not faults:
        return None
    parts = []
    for name, count in Counter(fault.fault for fault in faults).most_common():
        mine = [fault for fault in faults if fault.fault == name]
        calls = len({(fault.hold, fault.call) for fault in mine})
        where = listed(sorted({str(fault.revision) for fault in mine}))
        times = f", {count} times" if count > calls else ""
        parts.append(f"{several(calls, 'call')} on {where} {FAULTS[name]}{times} ({mine[0].detail})")
    return check(False, several(len(faults), "fault"), f"{capital('; '.join(parts))}.")


def _answers_heard(evidence: Evidence, baseline: Evidence | None) -> dict[str, int]:
    """Of each revision that carried calls during the shift, the turns whose answer was looked at."""
    shift = shift_of(evidence, baseline) or ALWAYS
    counts = dict.fromkeys(carriers(shift, evidence), 0)
    for turn in evidence.all_turns:
        revision = turn.revision or UNKNOWN
        if turn.responses and revision in counts and any(each.deltas for each in turn.responses):
            counts[revision] += 1
    return counts


def _too_little(check: Named, counts: dict[str, int]) -> Check | None:
    few = [f"{count} on {revision}" for revision, count in counts.items() if count < FEWEST]
    if not sum(counts.values()):
        return check.unknown("No answer in this record was looked at: it is of an older hold, or there was none.")
    if few:
        return check("inconclusive", "-", f"Too few answers were heard, of {FEWEST} that it takes: {listed(few)}.")
    return None


def _sessions(evidence: Evidence) -> dict[str, Session]:
    return {session.id: session for session in evidence.sessions if session.id}


def _heard_in_another_session(evidence: Evidence) -> Iterator[tuple[Session, str]]:
    """By its name; or by its sound, which the model gave to other sessions only."""
    sessions = _sessions(evidence)
    sounds: dict[str, set[str]] = {}
    for spoken in evidence.spoken.values():
        if spoken.audio.audio_bytes:
            sounds.setdefault(spoken.audio.audio_sha256, set()).add(spoken.session)
    for turn in evidence.all_turns:
        mine = sessions.get(turn.session or "")
        if mine is None or mine.upstream_session is None:
            continue
        for heard in turn.responses or ():
            named, sounded = evidence.spoken.get(heard.response), sounds.get(heard.audio_sha256)
            other_name = named is not None and named.session != mine.upstream_session
            if other_name or (sounded is not None and mine.upstream_session not in sounded):
                yield mine, heard.response


def _other_length(evidence: Evidence, baseline: Evidence | None) -> list[str]:
    """By the bytes for each token, all answers of a revision together, however many bytes a token of the model has."""
    shift = shift_of(evidence, baseline)
    if shift is None:
        return []
    before = _bytes_for_a_token(turn for turn in (baseline or evidence).all_turns if baseline or turn.at < shift[0])
    if before is None:
        return []
    changes = []
    for revision in carriers(shift, evidence):
        mine = (turn for turn in evidence.all_turns if turn.revision == revision and turn.at >= shift[0])
        now = _bytes_for_a_token(mine)
        if now and abs(now / before - 1) > LENGTH_OVER:
            changes.append(f"{now:.0f} bytes a token on {revision}, {before:.0f} before")
    return changes


def _bytes_for_a_token(turns: Iterable[Turn]) -> float | None:
    """Bytes of audio for each token of it; None for too few answers. Usage counts what an interruption kept back."""
    whole = [turn for turn in turns if turn.status == "completed" and turn.kind != "barge-in"]
    heard = [each for turn in whole for each in turn.responses or () if each.audio_tokens]
    tokens = sum(each.audio_tokens or 0 for each in heard)
    return sum(each.audio_bytes for each in heard) / tokens if len(heard) >= FEWEST else None


def _other_loudness(evidence: Evidence, baseline: Evidence | None) -> list[str]:
    shift = shift_of(evidence, baseline)
    if shift is None:
        return []
    known = [turn for turn in evidence.all_turns if turn.loudness is not None]
    old = [turn for turn in baseline.all_turns if turn.loudness is not None] if baseline else known
    before = [turn.loudness for turn in old if turn.loudness is not None and (baseline or turn.at < shift[0])]
    if len(before) < FEWEST or not (then := statistics.median(before)):
        return []
    changes = []
    for revision in carriers(shift, evidence):
        mine = [
            t.loudness
            for t in known
            if t.loudness is not None and (t.revision or UNKNOWN) == revision and t.at >= shift[0]
        ]
        if len(mine) >= FEWEST and not AS_LOUD <= (now := statistics.median(mine)) / then <= 1 / AS_LOUD:
            changes.append(f"{now:.3f} on {revision}, {then:.3f} before")
    return changes


@dataclass(slots=True)
class _Compared:
    """One direction. `wrong` says of each difference what it is; `left_out` could not be compared."""

    what: str
    by_revision: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    left_out: int = 0

    def failure(self) -> str:
        in_all = len(self.wrong) + sum(self.by_revision.values())
        return f"{self.what} in {len(self.wrong)} of {in_all} cases, the first: {self.wrong[0]}"


def _down(evidence: Evidence) -> _Compared:
    """Answers that both sides hold for complete."""
    compared = _Compared("Callers heard other audio than the model sent")
    for turn in evidence.all_turns:
        for heard in turn.responses or ():
            spoken = evidence.spoken.get(heard.response)
            if turn.status != "completed" or spoken is None or spoken.status != "completed":
                continue
            sent = spoken.audio
            if (heard.audio_bytes, heard.audio_sha256) == (sent.audio_bytes, sent.audio_sha256):
                compared.by_revision[turn.revision or UNKNOWN] += 1
                continue
            other = _difference(heard.audio_bytes, sent.audio_bytes)
            where = f"call {turn.call} on {turn.revision}"
            compared.wrong.append(f"{where} heard {other} of response {heard.response}, which has {sent.audio_bytes}")
    return compared


def _up(evidence: Evidence) -> _Compared:
    """Speech of calls that their caller ended between turns; of the others what arrived whole."""
    compared = _Compared("The model heard other audio than callers sent")
    for session in evidence.sessions:
        heard, end = evidence.listened.get(session.upstream_session or ""), session.end
        if not evidence.listened or (end and end.audio_bytes_sent is None):
            continue
        if end is None or heard is None:
            compared.left_out += 1
        elif (heard.audio_bytes, heard.audio_sha256) == (end.audio_bytes_sent, end.audio_sha256_sent):
            compared.by_revision[session.revision or UNKNOWN] += 1
        elif _under_way(heard.audio_bytes, session):
            compared.left_out += 1
        else:
            other = _difference(heard.audio_bytes, end.audio_bytes_sent or 0)
            where = f"call {session.call} on {session.revision}"
            compared.wrong.append(f"of {where} the model heard {other}, and the caller sent {end.audio_bytes_sent}")
    return compared


def _under_way(heard_bytes: int, session: Session) -> bool:
    """Whether what is missing may be lost by right: a Close overtakes nothing, but what is sent behind it is."""
    end = session.end
    if end is None or (end.turn == "idle" and not end.early):
        return False
    missing = (end.audio_bytes_sent or 0) - heard_bytes
    return missing > 0 and (session.cut or missing <= IN_FLIGHT_BYTES)


def _difference(heard_bytes: int, sent_bytes: int) -> str:
    if heard_bytes > sent_bytes:
        return f"{heard_bytes} bytes, so some of it twice or some of another call's (cross-talk),"
    return "other bytes" if heard_bytes == sent_bytes else f"{heard_bytes} bytes"
