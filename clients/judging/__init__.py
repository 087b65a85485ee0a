"""The named checks of a verdict, a theme or two a module; each gives what was measured, expected, and one sentence.

check        the form of all of them, and the shift that most compare with the time before it
survival     who was cut and why, moved or refused; who was let in without a key; how often a relay pings its callers
placement    where calls landed: by the weights, as the relay logged it, and again after a reconnect
cooldown     what scaled to zero, and what came in at weight 0
termination  SIGTERM to exit, and the calls in between
hearing      what a caller hears: whether it is whole, in order, and of this call
quality      what a caller waits for, on each revision: before and during the shift
proof        what the record can prove at all: evidence.*
answer       what became of the rollout; all of it as one sentence, numbers and an exit code
"""

from collections.abc import Callable, Mapping, Sequence

from clients.evidence import Evidence
from clients.judging import answer, cooldown, hearing, placement, proof, quality, survival, termination
from clients.judging.check import Check

Decide = Callable[[Evidence, Evidence | None], Check]


def _alone(decide: Callable[[Evidence], Check]) -> Decide:
    """A check that compares with nothing."""
    return lambda evidence, baseline: decide(evidence)


ROUTING = "routing.step-"
CHECKS: tuple[tuple[str, str, Decide | None], ...] = (
    ("survival.cut", "no call was cut: not dropped, not closed in a turn, not sent away unasked", _alone(survival.cut)),
    (
        "survival.moved",
        "each 1012 came from a replica that was asked to stop, and the call came back",
        _alone(survival.moved),
    ),
    ("survival.refused", "each dial got a session", _alone(survival.refused)),
    ("placement.one_place", "the 101 and the relay's log name the same replica", _alone(placement.one_place)),
    ("affinity.reconnects", "a call comes back to its replica (Single revision mode)", _alone(placement.reconnects)),
    (f"{ROUTING}1, -2, ...", "new calls landed as each setting of the weights says", None),
    ("cooldown.no_new_calls", "no new call came to a revision at weight 0", _alone(cooldown.no_new_calls)),
    ("cooldown.zero", "the last replica went after cooldownPeriod, not before", _alone(cooldown.zero)),
    ("cooldown.no_effect", "with minReplicas nothing scaled to zero", _alone(cooldown.no_effect)),
    ("termination.grace", "each replica left within its grace period", _alone(termination.grace)),
    ("termination.no_sigkill", "no replica had to be killed", _alone(termination.no_sigkill)),
    ("termination.codes", "no call on a stopping replica lost its socket", _alone(termination.codes)),
    ("termination.turns", "no call on a stopping replica was closed in a turn", _alone(termination.turns)),
    ("hearing.cross_talk", "no call heard what belongs to another call", hearing.cross_talk),
    ("hearing.events", "each event was whole, in order, and of a response of its call", hearing.events),
    ("hearing.session", "each session.update was answered with what it asked for", hearing.session),
    ("hearing.audio", "audio has its length and loudness; on a stage, every byte of both ways", hearing.audio),
    ("hearing.gaps", "the audio of an answer has no longer gaps than before", quality.gaps),
    ("quality.rtt", "pings come back as fast as before", quality.rtt),
    ("quality.heartbeat", "a relay pings its callers as often as before", survival.heartbeat),
    ("quality.first_audio", "answers begin as soon as before", quality.first_audio),
    ("quality.turns", "turns are completed as often as before, on each revision and replica", quality.turns),
    ("quality.kinds", "each kind of call that talks completed a turn on each revision", quality.kinds),
    ("quality.duration", "answers take as long as before", quality.duration),
    ("quality.connect", "a dial gets its session as soon as before", quality.connect),
    ("evidence.hold", "calls were held over the whole shift, and after it", _alone(proof.hold)),
    ("evidence.log", "the relays' log has every session", _alone(proof.log)),
    ("evidence.exits", "each replica that was asked to stop was seen to exit", _alone(proof.exits)),
    ("evidence.clock", "the clocks agree, or are corrected by how much they are off", _alone(proof.clock)),
    ("admission.keys", "each dial without a key or with a wrong one got 401", _alone(survival.keys)),
    ("rollback.outcome", "the rollout was completed", _alone(answer.outcome)),
    ("rollback.blue_untouched", "no call on blue was cut", _alone(answer.blue_untouched)),
)
"""Name, what it asks, and who decides it; the routing checks are as many as there were settings of the weights."""
NAMES = tuple(name for name, _, decide in CHECKS if decide)
GROUPS = tuple(dict.fromkeys(name.partition(".")[0] for name, _, _ in CHECKS))


def judge(evidence: Evidence, shares: Mapping[str, int] | None = None, baseline: Evidence | None = None) -> list[Check]:
    """Every check, in the order in which a reader asks. `shares` stands in for the weights of the timeline."""
    checks: list[Check] = []
    for _, _, decide in CHECKS:
        checks += [decide(evidence, baseline)] if decide else placement.steps(evidence, shares)
    return checks


def known(name: str) -> bool:
    """Whether a check or a group of them has that name."""
    return name in (*GROUPS, *NAMES) or name.startswith(ROUTING)


def selected(checks: Sequence[Check], names: Sequence[str]) -> list[Check]:
    """Those named, a group's name standing for all of it."""
    return [check for check in checks if not names or check.name in names or check.name.partition(".")[0] in names]
