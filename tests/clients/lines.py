"""Records as holds, relays and the platform write them, made line by line for tests; `rollout` is a whole one."""

import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from clients.judging import judge
from clients.judging.check import Check
from clients.reading import read

BEGAN = datetime(2026, 9, 1, 12, tzinfo=UTC).timestamp()
_TIMEOUTS = {"gateway_request_timeout_s": 120, "gateway_idle_timeout_s": 240, "ingress_idle_timeout_s": 240}
BLUE, GREEN = "rtproxy--blue", "rtproxy--green"
GATEWAY = "ws://127.0.0.1:8080/v1/realtime?model=gpt-realtime"
Line = dict[str, Any]


def judged(lines: "Lines", folder: Path, **how: Any) -> dict[str, Check]:
    """Every check by name, decided from what was written into ``folder``."""
    return {check.name: check for check in judge(read([lines.write(folder)]), **how)}


def ts(at: float) -> str:
    return datetime.fromtimestamp(BEGAN + at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def replica(revision: str, number: int = 1) -> str:
    return f"{revision}-0123456789-aaaa{number}"


class Lines:
    """Times are seconds since the beginning. One hold unless told otherwise."""

    def __init__(self) -> None:
        self.harness: list[Line] = []
        self.relay: list[Line] = []
        self.platform: list[Line] = []
        self.of_model: list[Line] = []
        self._open: dict[tuple[str, int], Line] = {}
        self._sessions = 0

    def write(self, folder: Path) -> Path:
        """As the rehearsal lays them out; a relay's lines go by replica."""
        (folder / "replicas").mkdir(parents=True, exist_ok=True)
        files: dict[Path, list[Line]] = {folder / "hold.jsonl": self.harness, folder / "timeline.jsonl": self.platform}
        files |= {folder / "model.jsonl": self.of_model} if self.of_model else {}
        for line in self.relay:
            files.setdefault(folder / "replicas" / f"{line['replica']}.jsonl", []).append(line)
        for file, lines in files.items():
            ordered = sorted(lines, key=lambda line: str(line["ts"]))
            file.write_bytes(b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in ordered))
        return folder

    def observe(self, at: float, observation: str, hold: str = "0a1b2c3d", **fields: Any) -> None:
        self.harness.append({"ts": ts(at), "hold": hold, "observation": observation, **fields})

    def act(self, at: float, act: str, **fields: Any) -> None:
        self.platform.append({"ts": ts(at), "act": act, **fields})

    def log(self, at: float, event: str, revision: str, replica: str, **fields: Any) -> None:
        line = {"ts": ts(at), "level": "info", "event": event, "revision": revision, "replica": replica}
        self.relay.append(line | fields)

    def hold(self, at: float = 0, url: str = GATEWAY, hold: str = "0a1b2c3d", **arguments: Any) -> None:
        told = {"url": url, "connections": 5, "reconnect": True, "call_seconds": 30, "connect_to": None} | arguments
        self.observe(at, "hold.started", hold, arguments=told)

    def opened(
        self, at: float, call: int, revision: str = BLUE, number: int = 1, *, logged: bool = True, **more: Any
    ) -> None:
        self._sessions += 1
        ids = {"revision": revision, "replica": replica(revision, number), "session": f"{self._sessions:016x}"}
        ids["upstream_session"] = f"sess_{self._sessions}"
        if logged:
            about = {"session": ids["session"], "client": "alice", "path": "/ws"}
            self.log(at, "client.connected", revision, ids["replica"], **about)
        hold = more.pop("hold", "0a1b2c3d")
        self.observe(at, "opened", hold, **{"call": call, "connect_ms": 5.0, "gap_ms": None} | ids | more)
        self._open[hold, call] = {"at": at, "logged": logged} | ids

    def closed(self, at: float, call: int, code: int = 1000, *, relay: Line | None = None, **more: Any) -> None:
        """Hung up by the caller, unless told otherwise. `relay`: fields of the relay's connection.closed."""
        hold = more.pop("hold", "0a1b2c3d")
        opened = self._open.pop((hold, call))
        ids = {name: opened[name] for name in ("revision", "replica", "session", "upstream_session")}
        mine = code == 1000
        ending = {"closed_by": "local" if mine else "dropped" if code == 1006 else "remote", "early": not mine}
        fields = {"call": call, "code": code, "reason": "", "age_s": at - opened["at"], "turn": "idle", "turn_s": 2.0}
        self.observe(at, "closed", hold, **fields | ending | ids | more)
        if opened["logged"]:
            ended = {"ended_by": "drain" if code == 1012 else "client", "client_code": code, "upstream_code": 1001}
            about = {"turn": "quiet", "upstream_error": None, "duration_s": at - opened["at"]} | ended | (relay or {})
            session = {"session": ids["session"], "client": "alice", "upstream_session": ids["upstream_session"]}
            self.log(at, "connection.closed", ids["revision"], ids["replica"], **session | about)

    def turn(
        self, at: float, call: int, status: str = "completed", first_audio_ms: float | None = 310.0, **more: Any
    ) -> None:
        times = {"first_audio_ms": first_audio_ms, "duration_ms": 1200.0}
        self.observe(at, "turn", **{"call": call, "status": status, "detail": None} | times | more)

    def model(self, at: float, what: str, session: str, **fields: Any) -> None:
        """A line of the model's own record."""
        self.of_model.append({"ts": ts(at), "model": what, "session": session, **fields})

    def fault(self, at: float, call: int, fault: str, detail: str = "event event_1 of call 2") -> None:
        opened = self._open["0a1b2c3d", call]
        ids = {name: opened[name] for name in ("session", "revision", "replica")}
        self.observe(at, "fault", **{"call": call, "kind": "vad", "fault": fault, "detail": detail} | ids)

    def placed_turn(
        self, at: float, call: int, status: str = "completed", first_audio_ms: float | None = 310.0, **more: Any
    ) -> None:
        """As a hold writes it that says where; ``call`` has an open session."""
        opened = self._open["0a1b2c3d", call]
        ids = {name: opened[name] for name in ("session", "revision", "replica")}
        heard = {"kind": "vad", "code": None, "responses": [], "worst_gap_ms": 40.0, "loudness": 0.1}
        self.turn(at, call, status, first_audio_ms, **heard | ids | more)

    def pong(self, at: float, call: int, rtt_ms: float | None = 2.0) -> None:
        self.observe(at, "pong", call=call, rtt_ms=rtt_ms)

    def stage(self, at: float = 0, **more: Any) -> None:
        about = {"gateway_url": "http://127.0.0.1:8080", "ingress": "127.0.0.1:8081", "domain": "stage.localhost"}
        self.act(at, "stage.started", **about | _TIMEOUTS | more)

    def app(self, at: float = 0, **more: Any) -> None:
        scale = {"min_replicas": 2, "max_replicas": 4, "cooldown_s": 20, "grace_s": 30}
        self.act(at, "app.updated", **{"app": "rtproxy", "mode": "Multiple", "affinity": "none"} | scale | more)

    def weights(self, at: float, **weights: int) -> None:
        """`blue=50, green=50`."""
        self.act(at, "traffic.set", app="rtproxy", labels={}, weights={f"rtproxy--{k}": n for k, n in weights.items()})

    def revision(self, at: float, revision: str, *acts: str, **more: Any) -> None:
        for act in acts or ("created", "ready"):
            self.act(at, f"revision.{act}", app="rtproxy", revision=revision, **more)

    def stop(
        self,
        at: float,
        revision: str,
        number: int = 1,
        *,
        after_s: float | None = 5.0,
        logged: bool = False,
        **more: Any,
    ) -> None:
        """SIGTERM and exit; `killed=True` has a SIGKILL between; without `after_s` nobody sees the exit.

        `logged`: the relay tells of it, too.
        """
        name = {"revision": revision, "replica": replica(revision, number)}
        killed = more.pop("killed", False)
        self.act(at, "replica.sigterm", **name | {"reason": "deactivated", "grace_s": 30} | more)
        if logged:
            self.log(at + 0.003, "signal.received", signal="SIGTERM", **name)
        if after_s is None:
            return
        if logged and not killed:
            self.log(at + after_s - 0.05, "proxy.stopped", code=0, **name)
        if killed:
            self.act(at + after_s, "replica.sigkill", **name, after_s=after_s)
        self.act(at + after_s, "replica.exited", **name, code=137 if killed else 0, after_s=after_s)

    def ahead(self, lines: list[Line], by_s: float) -> None:
        """As a clock wrote them that is ``by_s`` ahead of the right one."""
        for line in lines:
            line["ts"] = ts(datetime.fromisoformat(line["ts"]).timestamp() - BEGAN + by_s)


def rollout(calls: int = 20, seed: int = 7, cut: int = 0) -> Lines:
    """Blue makes way for green in some 75 s while `calls` places are held; `cut` of them lose their model on green."""
    chance = random.Random(seed)
    lines = Lines()
    lines.stage(-4)
    lines.app(-3.5)
    lines.revision(-3.5, BLUE, "created")
    for revision, started_at, ready_at in ((BLUE, -3, -1.5), (GREEN, 14.3, 17)):
        for number in (1, 2):
            name = {"revision": revision, "replica": replica(revision, number)}
            lines.act(started_at, "replica.started", **name, pid=100 + number, port=9000 + number)
            lines.act(ready_at, "replica.ready", **name)
    lines.revision(-1.4, BLUE, "ready")
    lines.weights(-1.4, blue=100)
    lines.hold(0, connections=calls, kinds=["vad"])
    lines.revision(14, GREEN, "created")
    lines.weights(14, blue=100, green=0)
    lines.revision(17.2, GREEN, "ready")
    lines.weights(30, blue=50, green=50)
    lines.weights(48, blue=0, green=100)
    lines.revision(86, BLUE, "deactivated")
    for call in range(1, calls + 1):
        _place(lines, call, chance, cut=call <= cut)
    lines.stop(86.1, BLUE, 1, after_s=8.1, logged=True)
    lines.stop(86.1, BLUE, 2, after_s=6.4, logged=True)
    lines.observe(110.2, "hold.completed", summary={})
    return lines


def _place(lines: Lines, call: int, chance: random.Random, cut: bool) -> None:
    at, gap_ms = chance.uniform(0, 3), None
    while at < 108:
        share = 0 if at < 30 else 0.5 if at < 48 else 1
        revision = GREEN if chance.random() < share else BLUE
        # Some calls are still on blue when it goes.
        long_one = revision == BLUE and at > 30
        until = at + (chance.uniform(52, 60) if long_one and chance.random() < 0.6 else chance.uniform(24, 36))
        number, connect_ms = chance.choice((1, 2)), round(chance.uniform(3, 9), 1)
        lines.opened(at, call, revision, number, gap_ms=gap_ms, connect_ms=connect_ms, kind="vad")
        lost = cut and revision == GREEN
        until = min(until, at + 14 if lost else until, 110.0)
        moved = revision == BLUE and until > 87
        until = chance.uniform(88, 93) if moved else until
        talking = at + chance.uniform(1, 3)
        while talking < until - 0.5:
            failed = chance.random() < 0.01
            name = f"resp_{chance.getrandbits(48):x}"
            heard = [] if failed else [{"id": name, "deltas": 9, "audio_bytes": 43_200, "audio_sha256": name}]
            waited_ms = None if failed else chance.gauss(320, 30)
            lines.placed_turn(talking, call, "timeout" if failed else "completed", waited_ms, responses=heard)
            talking += chance.uniform(4, 7)
        for beat in range(int((until - at) / 5)):
            lines.pong(at + 5 * (beat + 1) - 0.1, call, round(abs(chance.gauss(2, 0.6)), 1))
        if lost:
            vanished = {"ended_by": "upstream", "client_code": 1011, "upstream_code": 1006}
            lines.closed(until, call, 1011, reason="upstream went away", turn="answering", relay=vanished)
            at, gap_ms, cut = until + 0.4, 400.0, False
        elif moved:
            lines.closed(until, call, 1012, reason="revision draining, reconnect")
            at, gap_ms = until + 0.2, 200.0
        else:
            lines.closed(until, call)
            at, gap_ms = until + chance.uniform(0.2, 1), None
