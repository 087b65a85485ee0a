"""Which time has to be shorter than which, all the way from a caller to the model, and which pair is not."""

from dataclasses import dataclass
from pathlib import Path

from tests.bicep.ladder import Ladder, Time, ladders

PINGS = 2
"""A ping may be late or lost, and the way still has to be open at the next."""
EXIT_S = 3
"""From the drain's end to SIGKILL: the last line, the exit, and a platform whose clock started earlier than ours."""


@dataclass(frozen=True)
class Rung:
    """``low``, so many times and with so many seconds on top, is less than ``high``; or as long, where that will do."""

    low: str
    high: str
    times: int = 1
    plus_s: float = 0
    or_equal: bool = False

    def broken(self, ladder: Ladder) -> str | None:
        low, high = ladder[self.low], ladder[self.high]
        needed = low.seconds * self.times + self.plus_s
        if needed < high.seconds or (self.or_equal and needed == high.seconds):
            return None
        demand = f"{f'{self.times} times ' if self.times > 1 else ''}{_said(self.low, low)}"
        demand += f" and {self.plus_s:g} s more" if self.plus_s else ""
        return f"{demand} must be {'at most' if self.or_equal else 'less than'} {_said(self.high, high)}"


RUNGS = (
    # Silence. Every heartbeat is a frame, and any of these would cut a quiet call without one.
    Rung("heartbeat", "gateway's request timeout", times=PINGS),
    Rung("heartbeat", "ingress's idle timeout", times=PINGS),
    Rung("heartbeat", "public address's idle timeout", times=PINGS),
    Rung("relay's own heartbeat", "ingress's idle timeout", times=PINGS),
    # The end of a replica.
    Rung("drain", "grace period", plus_s=EXIT_S, or_equal=True),
    Rung("relay's own drain", "default grace period", plus_s=EXIT_S, or_equal=True),
    Rung("default grace period", "plays' stop_timeout"),
    # A balancer has to see that a replica is not ready while that one still lets callers in.
    Rung("readiness's failure", "relay's lame time"),
    # The longest call is the model's: nothing on the way may be shorter, not even if it counts from the call's start.
    Rung("model's longest session", "gateway's drain", or_equal=True),
    Rung("model's longest session", "gateway's request timeout"),
    # The start of a replica, and of a step of a play that waits for it.
    Rung("startup's failure", "plays' ready_timeout"),
    Rung("plays' ready_timeout", "plays' task_timeout"),
)


def broken_rungs(bicep: Path, playbooks: Path) -> list[str]:
    """One sentence for each pair that does not hold, be the grace period the default, the least or the most."""
    found = list(ladders(bicep, playbooks))
    return [told[0] for rung in RUNGS if (told := [each for ladder in found if (each := rung.broken(ladder))])]


def _said(name: str, time: Time) -> str:
    return f"the {name} ({time.seconds:g} s, {time.where})"
