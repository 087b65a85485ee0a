"""All facts of a record, and what follows from them for whoever asks: weights by time, the stops of replicas, calls."""

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from clients.facts import (
    Act,
    Clock,
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
    Stop,
    Turn,
    Window,
)
from clients.stops import stops_of

PROPAGATION_S = 1.0
"""What the platform sets is in force at the ingress a moment later, where the record does not say when."""


@dataclass
class Evidence:
    """Everything in order of time: `sessions` by opening, `turns` and `pongs` by place.

    `spoken` and `listened` are the model's own record, by response and by its name of the session.
    `logged_acts` is what relays log of their own processes, named as the platform's acts are; `log_ends` is the time of
    the last line of each replica's log. `clocks` (of relays, by replica) and `platform_clock` say how far these were
    from the hold's; the times here are corrected by that.
    `deployed` is the grace period of each revision, as a play read it.
    `began` and `ended` are the first and the last thing that a hold observed, `observations` how many there were.
    """

    files: list[Path] = field(default_factory=list)
    ignored: int = 0
    observations: int = 0
    holds: dict[str, Hold] = field(default_factory=dict)
    sessions: list[Session] = field(default_factory=list)
    turns: dict[tuple[str, int], list[Turn]] = field(default_factory=lambda: defaultdict(list))
    pongs: dict[tuple[str, int], list[Pong]] = field(default_factory=lambda: defaultdict(list))
    refusals: list[Refused] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    knocks: list[Knocked] = field(default_factory=list)
    spoken: dict[str, Spoken] = field(default_factory=dict)
    listened: dict[str, Listened] = field(default_factory=dict)
    logged: dict[str, Logged] = field(default_factory=dict)
    logged_acts: list[Act] = field(default_factory=list)
    log_ends: dict[str, float] = field(default_factory=dict)
    clocks: dict[str, Clock] = field(default_factory=dict)
    platform_clock: Clock | None = None
    probed: list[Probed] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)
    deployed: dict[str, float] = field(default_factory=dict)
    acts: list[Act] = field(default_factory=list)
    began: float = float("inf")
    ended: float = float("-inf")

    def acts_of(self, *names: str) -> list[Act]:
        return [act for act in self.acts if act.name in names]

    def app_at(self, at: float) -> Act | None:
        """The app's settings in force then."""
        updates = [act for act in self.acts_of("app.updated") if act.at <= at]
        return updates[-1] if updates else None

    @cached_property
    def windows(self) -> list[Window]:
        """Weights by time, revisions in the order in which they first had one.

        A setting that changes no weight opens no new window.
        """
        settings = self.acts_of("traffic.set")
        known = dict.fromkeys(name for act in settings for name, weight in act["weights"].items() if weight)
        weights = [{name: act["weights"][name] for name in known if act["weights"].get(name)} for act in settings]
        changes = [i for i, each in enumerate(weights) if i == 0 or each != weights[i - 1]]
        ends = [*(settings[i].at for i in changes), float("inf")][1:]
        return [Window(start=settings[i].at, end=end, weights=weights[i]) for i, end in zip(changes, ends, strict=True)]

    def in_force(self, window: Window) -> float:
        """From when on its weights held at each part of the ingress: when answers agreed, else a moment after."""
        agreed = [each.at for each in self.settled if each.weights == window.weights]
        seen = [at for at in agreed if window.start <= at < window.end]
        return min(seen, default=window.start + PROPAGATION_S)

    @cached_property
    def stops(self) -> list[Stop]:
        """The platform's account; where it gives none, that of the relays."""
        return stops_of(self.acts, self.deployed) or stops_of(self.logged_acts, self.deployed)

    @cached_property
    def calls(self) -> dict[tuple[str, int], list[Session]]:
        """The sessions of each place, one after the other."""
        found: dict[tuple[str, int], list[Session]] = defaultdict(list)
        for session in self.sessions:
            found[session.place].append(session)
        return dict(found)

    @property
    def to_app(self) -> list[Session]:
        """Sessions whose revision the platform chose: those dialled at a revision's own address prove no routing."""
        return [session for session in self.sessions if not session.to_revision]
