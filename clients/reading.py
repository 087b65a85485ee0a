"""Records read into evidence: any mix of files and directories of JSON lines, recognised by one key.

`observation` is a harness's line, `event` a relay's, `act` the platform's, `model` that of the model on a stage. What
is none of these, or lacks a field that its kind has, is counted and left out; so is an incomplete last line, which a
kill leaves behind.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import orjson

from clients import recorded
from clients.clocks import corrected, measured
from clients.evidence import Evidence, by_place, with_moves
from clients.recorded import Act, Audio, End, Hold, Logged, Pong, Session, Turn

Line = dict[str, Any]
Heard = TypeVar("Heard", Turn, Pong)
Value = TypeVar("Value")
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
        evidence = self.evidence
        evidence.sessions += self._open.values()
        # Whether a hold was at a revision's own address is known only once its first line was read.
        revision_holds = {hold.id for hold in evidence.holds.values() if hold.to_revision}
        evidence.sessions = [replace(each, to_revision=each.hold in revision_holds) for each in evidence.sessions]
        evidence.sessions.sort(key=lambda session: session.opened)
        places = by_place(evidence.sessions)
        for place, turns in evidence.turns.items():
            evidence.turns[place] = _placed(sorted(turns, key=lambda turn: turn.at), places.get(place, ()))
        for place, pongs in evidence.pongs.items():
            evidence.pongs[place] = _placed(sorted(pongs, key=lambda pong: pong.at), places.get(place, ()))
        evidence.refusals.sort(key=lambda refused: refused.at)
        for acts in (evidence.acts, evidence.logged_acts):
            acts.sort(key=lambda act: act.at)
        evidence.probed.sort(key=lambda probed: probed.at)
        corrected(evidence, measured(evidence))
        evidence.sessions = with_moves(evidence)
        return evidence

    def _observe(self, line: Line, at: float) -> None:
        evidence, hold = self.evidence, line["hold"]
        match line["observation"]:
            case "hold.started":
                evidence.holds[hold] = self._hold(hold, at, line["arguments"])
            case "hold.completed":
                evidence.holds[hold] = replace(evidence.holds.get(hold) or self._hold(hold, at, {}), ended=at)
            case "opened":
                self._open[hold, line["call"], line["session"]] = _session(line, at, None)
            case "closed":
                end = _value(End, line, at=at)
                opened = self._open.pop((hold, line["call"], line["session"]), None)
                session = replace(opened, end=end) if opened else _session(line, at - line["age_s"], end)
                evidence.sessions.append(session)
            case "turn":
                responses = line.get("responses")
                heard = (
                    None if responses is None else tuple(_value(Audio, each, response=each["id"]) for each in responses)
                )
                evidence.turns[hold, line["call"]].append(_value(Turn, line, at=at, responses=heard))
            case "pong":
                evidence.pongs[hold, line["call"]].append(_value(Pong, line, at=at))
            case "refused":
                evidence.refusals.append(_value(recorded.Refused, line, at=at))
            case "fault":
                evidence.faults.append(_value(recorded.Fault, line, at=at))
            case other:
                if self._observe_target(other, line, at):
                    return
        evidence.observations += 1
        evidence.began = min(evidence.began, at)
        evidence.ended = max(evidence.ended, at)

    def _observe_target(self, observation: str, line: Line, at: float) -> bool:
        """What was asked of the target and is no call's. False: it is no observation of that kind."""
        match observation:
            case "probed":
                self._probe(line, at)
            case "settled":
                if line["in_force"]:
                    weights = {name: weight for name, weight in line["shares"].items() if weight}
                    self.evidence.settled.append(recorded.Settled(at=at, weights=weights))
            case "deployed":
                self.evidence.deployed[line["revision"]] = float(line["grace_s"])
            case "knocked":
                self.evidence.knocks.append(_value(recorded.Knocked, line, at=at))
            case _:
                return False
        return True

    def _hold(self, hold: str, started: float, arguments: Line) -> Hold:
        return Hold(id=hold, name=self.evidence.files[-1].stem, arguments=arguments, started=started)

    def _probe(self, line: Line, at: float) -> None:
        """Records of older probes do not say which replicas drain."""
        probed = recorded.Probed(
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
        if (replica := line.get("replica")) is not None:
            self.evidence.log_ends[replica] = max(self.evidence.log_ends.get(replica, at), at)
        match line["event"]:
            case "client.connected":
                self._log_session(line, connected=at)
            case "connection.closed":
                ending = _only(line, "ended_by", "client_code", "upstream_code", "turn", "upstream_error")
                self._log_session(line, closed=at, **ending)
            case "proxy.started":
                self._log_act(at, "replica.started", _only(line, "revision", "replica"))
            case "signal.received":
                fields = _only(line, "revision", "replica") | {"reason": line["signal"]}
                self._log_act(at, "replica.sigterm", fields)
            case "proxy.stopped":
                self._log_act(at, "replica.exited", _only(line, "revision", "replica", "code"))

    def _log_session(self, line: Line, **fields: Any) -> None:
        logged = self.evidence.logged
        known = logged.get(line["session"]) or Logged(id=line["session"], **_only(line, "revision", "replica"))
        logged[known.id] = replace(known, **fields)

    def _log_act(self, at: float, name: str, fields: Line) -> None:
        self.evidence.logged_acts.append(Act(at, name, fields))

    def _model(self, line: Line, at: float) -> None:
        match line["model"]:
            case "response":
                audio = _value(Audio, line)
                spoken = recorded.Spoken(session=line["session"], status=line["status"], audio=audio)
                self.evidence.spoken[audio.response] = spoken
            case "session.ended":
                heard = {"audio_bytes": line["audio_bytes_heard"], "audio_sha256": line["audio_sha256_heard"]}
                self.evidence.listened[line["session"]] = recorded.Listened(session=line["session"], **heard)

    def _act(self, line: Line, at: float) -> None:
        act = Act(at, line.pop("act"), line)
        if act.name == "traffic.set" and not isinstance(act["weights"], dict):
            raise TypeError
        self.evidence.acts.append(act)


def _session(line: Line, opened: float, end: End | None) -> Session:
    """Of an `opened`, or of a `closed` whose `opened` is in no record: that has no times of the dial."""
    measured = {"connect_ms": line.get("connect_ms", 0.0), "gap_ms": line.get("gap_ms")}
    own = measured | {"to_revision": False, "asked": "unknown"}
    return _value(Session, line, opened=opened, id=line["session"], end=end, **own)


def _audio(heard: Line) -> Audio:
    return _value(Audio, heard, response=heard["id"])


def _value(kind: type[Value], line: Line, **own: Any) -> Value:
    """The fields that ``kind`` has, from the line, beside its ``own``; what older records may lack has a default."""
    for each in dataclasses.fields(kind):  # type: ignore[arg-type]
        if each.name not in own:
            own[each.name] = line[each.name] if each.default is MISSING else line.get(each.name, each.default)
    return kind(**own)


def _only(line: Line, *names: str) -> Line:
    return {name: line[name] for name in names}


def _placed(heard: Sequence[Heard], sessions: Sequence[Session]) -> list[Heard]:
    """With the session that each belongs to, where the line does not say: the last that its place had opened."""
    placed = []
    for one in heard:
        if one.revision is None:
            before = [each for each in sessions if each.opened <= one.at + SAME_TIME_S]
            where = before[-1] if before else None
            ids = (where.id, where.revision, where.replica) if where else (None, None, None)
            one = replace(one, session=ids[0], revision=ids[1], replica=ids[2])
        placed.append(one)
    return placed
