"""How far the clocks of relays and platform are from the hold's, by events that both sides wrote down.

The hold's clock is the one that counts: `opened` and client.connected are of one moment, and so are `closed` and
connection.closed. SIGTERM comes before its signal.received, proxy.stopped before its exit: these two bound how far the
platform's clock is off, and the value nearest to zero is taken.
"""

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from clients.evidence import Evidence
from clients.recorded import Act, Clock

WRITING_S = 0.25
"""On a busy machine the lines of one moment may be so far apart; a clock that is off by less is right."""
CAUSED = {"replica.sigterm": "replica.sigterm", "replica.started": "replica.started"}
CAUSES = {"replica.exited": "replica.exited", "replica.ready": "replica.started"}
"""Acts of the platform, by name: what a relay logs because of them, and what it logs before it causes them."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """`relays` by replica; `others` is for replicas that had no call of ours."""

    relays: Mapping[str, Clock]
    others: Clock | None
    platform: Clock | None

    def of(self, replica: str | None) -> Clock | None:
        return self.relays.get(replica or "", self.others)


def measured(evidence: Evidence) -> Clocks:
    relays = {replica: _clock(pairs) for replica, pairs in _pairs(evidence).items()}
    others = _clock([clock.off_s for clock in relays.values()]) if relays else None
    clocks = Clocks(relays, others, None)
    return replace(clocks, platform=_platform(evidence, clocks)) if evidence.acts else clocks


def corrected(evidence: Evidence, clocks: Clocks) -> None:
    """Corrects all times of relays and platform to the hold's clock."""
    for id_, logged in evidence.logged.items():
        by_s = _shift_s(clocks.of(logged.replica))
        connected = None if logged.connected is None else logged.connected - by_s
        closed = None if logged.closed is None else logged.closed - by_s
        evidence.logged[id_] = replace(logged, connected=connected, closed=closed)
    evidence.logged_acts[:] = [_corrected(act, clocks.of(act["replica"])) for act in evidence.logged_acts]
    for replica in evidence.log_ends:
        evidence.log_ends[replica] -= _shift_s(clocks.of(replica))
    evidence.acts[:] = [_corrected(act, clocks.platform) for act in evidence.acts]
    evidence.clocks = dict(clocks.relays)
    evidence.platform_clock = clocks.platform


def _corrected(act: Act, clock: Clock | None) -> Act:
    return replace(act, at=act.at - _shift_s(clock))


def _shift_s(clock: Clock | None) -> float:
    return clock.off_s if clock and abs(clock.off_s) >= WRITING_S else 0.0


def _clock(differences: list[float]) -> Clock:
    off_s = statistics.median(differences)
    return Clock(off_s=off_s, least_s=min(differences), most_s=max(differences), pairs=len(differences))


def _pairs(evidence: Evidence) -> dict[str, list[float]]:
    """Of each replica how much later its log has what the largest hold that it served has, too."""
    sizes = Counter(session.hold for session in evidence.sessions)
    opened: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    closed: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for session in evidence.sessions:
        logged = evidence.logged.get(session.id or "")
        if logged and logged.connected is not None:
            opened[logged.replica][session.hold].append(logged.connected - session.opened)
        if logged and logged.closed is not None and session.end:
            closed[logged.replica][session.hold].append(logged.closed - session.end.at)
    return {
        replica: max((opened.get(replica) or closed[replica]).items(), key=lambda each: sizes[each[0]])[1]
        for replica in {**opened, **closed}
    }


def _platform(evidence: Evidence, clocks: Clocks) -> Clock | None:
    """Its clock minus the hold's is at least what a cause is later than its effect, at most what an effect is."""
    least, most = [], []
    logs = _once(evidence.logged_acts)
    for (name, replica), at in _once(evidence.acts).items():
        clock = clocks.of(replica)
        off_s = clock.off_s if clock else 0.0
        effect, cause = logs.get((CAUSED.get(name, ""), replica)), logs.get((CAUSES.get(name, ""), replica))
        least += [] if effect is None else [at - (effect - off_s)]
        most += [] if cause is None else [at - (cause - off_s)]
    if not least or not most:
        return None
    low, high = sorted((max(least), min(most)))
    return Clock(off_s=min(max(0.0, low), high), least_s=low, most_s=high, pairs=len(least) + len(most))


def _once(acts: list[Act]) -> dict[tuple[str, str], float]:
    """What happened to a replica once: of what happened again it is unknown which lines belong together."""
    times = Counter((act.name, act["replica"]) for act in acts)
    return {(act.name, act["replica"]): act.at for act in acts if times[act.name, act["replica"]] == 1}
