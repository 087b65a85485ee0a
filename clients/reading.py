"""Records read into evidence: any mix of files and directories of JSON lines, told apart by one key.

`observation` is a harness's line, `event` a relay's, `act` the platform's, `model` that of the model on a stage. What
is none of these, or lacks a field that its kind has, is counted and left out; so is a torn last line, which is what a
kill leaves behind.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import orjson

from clients.clocks import corrected, measured
from clients.evidence import Evidence, with_moves
from clients.recorded import (
    Act,
    Audio,
    End,
    Fault,
    Hold,
    Knocked,
    Listened,
    Logged,
    Pong,
    Probed,
    Refused,
    Session,
    Settled,
    Spoken,
    Turn,
)

Line = dict[str, Any]
Heard = TypeVar("Heard", Turn, Pong)
SAME_TIME_S = 0.01
"""Times are written in ms."""


def read(paths: Iterable[Path]) -> Evidence:
    """Raises OSError for what cannot be read."""
    reader = _Reader()
    for file in _files(paths):
        reader.begin(file)
        with file.open("rb") as lines:
            for line in lines:
                reader.add(line)
    return reader.finished()


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    seen = set()
    for path in paths:
        for file in sorted(path.rglob("*.jsonl")) if path.is_dir() else [path]:
            if (resolved := file.resolve()) not in seen:
                seen.add(resolved)
                yield file


class _Reader:
    """Takes lines in the order of their files."""

    def __init__(self) -> None:
        self.evidence = Evidence()
        self._open: dict[tuple[str, int, str | None], Session] = {}
        self._kinds = (("observation", self._observe), ("event", self._log), ("act", self._act), ("model", self._model))

    def begin(self, file: Path) -> None:
        self.evidence.files.append(file)

    def add(self, raw: bytes) -> None:
        try:
            line = orjson.loads(raw)
            at = datetime.fromisoformat(line["ts"]).timestamp()
            next(take for key, take in self._kinds if key in line)(line, at)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError, StopIteration):
            self.evidence.ignored += bool(raw.strip())

    def finished(self) -> Evidence:
        found = self.evidence
        found.sessions += self._open.values()
        # What a hold to a revision's own address proves is known only once its first line was read.
        revision_holds = {hold.id for hold in found.holds.values() if hold.to_revision}
        found.sessions = [replace(each, to_revision=each.hold in revision_holds) for each in found.sessions]
        found.sessions.sort(key=lambda session: session.opened)
        by_place: dict[tuple[str, int], list[Session]] = defaultdict(list)
        for session in found.sessions:
            by_place[session.place].append(session)
        for place, turns in found.turns.items():
            found.turns[place] = _placed(sorted(turns, key=lambda turn: turn.at), by_place[place])
        for place, pongs in found.pongs.items():
            found.pongs[place] = _placed(sorted(pongs, key=lambda pong: pong.at), by_place[place])
        found.refusals.sort(key=lambda refused: refused.at)
        for acts in (found.acts, found.logged_acts):
            acts.sort(key=lambda act: act.at)
        found.probed.sort(key=lambda probed: probed.at)
        corrected(found, measured(found))
        found.sessions = with_moves(found)
        return found

    def _observe(self, line: Line, at: float) -> None:
        found, hold = self.evidence, line["hold"]
        match line["observation"]:
            case "hold.started":
                found.holds[hold] = self._hold(hold, at, line["arguments"])
            case "hold.completed":
                found.holds[hold] = replace(found.holds.get(hold) or self._hold(hold, at, {}), ended=at)
            case "opened":
                session = _session(line, at, None)
                self._open[hold, line["call"], line["session"]] = session
            case "closed":
                self._close(line, at)
            case "turn":
                found.turns[hold, line["call"]].append(_turn(line, at))
            case "pong":
                found.pongs[hold, line["call"]].append(Pong(at=at, **_only(line, "hold", "call", "rtt_ms")))
            case "refused":
                found.refusals.append(Refused(at=at, **_only(line, "hold", "call", "status", "code", "message")))
            case "fault":
                about = _only(line, "hold", "call", "fault", "detail", "session", "revision", "replica")
                found.faults.append(Fault(at=at, **about))
            case "probed":  # a question asked of relays, no call
                self._probe(line, at)
                return
            case "settled":
                if line["in_force"]:
                    weights = {name: weight for name, weight in line["shares"].items() if weight}
                    found.settled.append(Settled(at=at, weights=weights))
                return
            case "deployed":
                found.deployed[line["revision"]] = float(line["grace_s"])
                return
            case "knocked":
                about = _only(line, "url", "revision", "credential", "status", "code")
                found.knocks.append(Knocked(at=at, **about))
                return
        found.observations += 1
        found.began = min(found.began, at)
        found.ended = max(found.ended, at)

    def _hold(self, hold: str, started: float, arguments: Line) -> Hold:
        return Hold(id=hold, name=self.evidence.files[-1].stem, arguments=arguments, started=started)

    def _close(self, line: Line, at: float) -> None:
        how = _only(line, "code", "reason", "closed_by", "early", "turn")
        end = End(
            at=at,
            **how,
            **_perhaps(line, "turn_s", "audio_bytes_sent", "audio_sha256_sent"),
            **_perhaps(line, "pings_heard", "longest_unpinged_s"),
        )
        opened = self._open.pop((line["hold"], line["call"], line["session"]), None)
        session = replace(opened, end=end) if opened else _session(line, at - line["age_s"], end)
        self.evidence.sessions.append(session)

    def _probe(self, line: Line, at: float) -> None:
        """Records of older probes do not say who drains."""
        probed = Probed(
            at=at,
            url=line["url"],
            revision=line.get("revision"),
            replicas=frozenset(line.get("replicas", ())),
            missing=frozenset(line.get("missing", ())),
            complete=bool(line.get("complete")),
            draining=line.get("draining") or {},
        )
        self.evidence.probed.append(probed)

    def _log(self, line: Line, at: float) -> None:
        logged = self.evidence.logged
        if (replica := line.get("replica")) is not None:
            self.evidence.log_ends[replica] = max(self.evidence.log_ends.get(replica, at), at)
        match line["event"]:
            case "client.connected":
                known = logged.get(line["session"]) or Logged(id=line["session"], **_only(line, "revision", "replica"))
                logged[known.id] = replace(known, connected=at)
            case "connection.closed":
                known = logged.get(line["session"]) or Logged(id=line["session"], **_only(line, "revision", "replica"))
                ending = _only(line, "ended_by", "client_code", "upstream_code", "turn", "upstream_error")
                logged[known.id] = replace(known, closed=at, **ending)
            case "proxy.started":
                about = _only(line, "revision", "replica")
                self.evidence.logged_acts.append(Act(at, "replica.started", about))
            case "signal.received":
                about = _only(line, "revision", "replica") | {"reason": line["signal"]}
                self.evidence.logged_acts.append(Act(at, "replica.sigterm", about))
            case "proxy.stopped":
                about = _only(line, "revision", "replica", "code")
                self.evidence.logged_acts.append(Act(at, "replica.exited", about))

    def _model(self, line: Line, at: float) -> None:
        match line["model"]:
            case "response":
                spoken = Spoken(session=line["session"], status=line["status"], audio=_audio(line, line["response"]))
                self.evidence.spoken[spoken.audio.response] = spoken
            case "session.ended":
                heard = {"audio_bytes": line["audio_bytes_heard"], "audio_sha256": line["audio_sha256_heard"]}
                self.evidence.listened[line["session"]] = Listened(session=line["session"], **heard)

    def _act(self, line: Line, at: float) -> None:
        act = Act(at, line.pop("act"), line)
        if act.name == "traffic.set" and not isinstance(act["weights"], dict):
            raise TypeError
        self.evidence.acts.append(act)


def _session(line: Line, opened: float, end: End | None) -> Session:
    measured = {"connect_ms": line.get("connect_ms", 0.0), "gap_ms": line.get("gap_ms")}
    ids = _only(line, "hold", "call", "revision", "replica", "upstream_session")
    about = measured | ids | _perhaps(line, "kind")
    return Session(opened=opened, id=line["session"], to_revision=False, end=end, **about)


def _turn(line: Line, at: float) -> Turn:
    about = _only(line, "hold", "call", "status", "first_audio_ms", "duration_ms", "detail")
    about |= _perhaps(line, "kind", "session", "revision", "replica", "code", "worst_gap_ms", "loudness")
    about |= _perhaps(line, "function_calls")
    responses = line.get("responses")
    heard = None if responses is None else tuple(_audio(each, each["id"]) for each in responses)
    return Turn(at=at, responses=heard, **about)


def _audio(line: Line, response: str) -> Audio:
    measured = _only(line, "deltas", "audio_bytes", "audio_sha256") | _perhaps(line, "audio_tokens")
    return Audio(response=response, **measured)


def _only(line: Line, *names: str) -> dict[str, Any]:
    return {name: line[name] for name in names}


def _perhaps(line: Line, *names: str) -> dict[str, Any]:
    """What records of older holds lack is None."""
    return {name: line.get(name) for name in names}


def _placed(heard: Sequence[Heard], sessions: Sequence[Session]) -> list[Heard]:
    """With the session that each belongs to, where the line does not say: the last that its place had opened."""
    placed = []
    for one in heard:
        if one.revision is None:
            mine = [each for each in sessions if each.opened <= one.at + SAME_TIME_S]
            where = mine[-1] if mine else None
            about = (where.id, where.revision, where.replica) if where else (None, None, None)
            one = replace(one, session=about[0], revision=about[1], replica=about[2])
        placed.append(one)
    return placed
