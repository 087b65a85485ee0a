"""The limits a hold must keep, each measured against its summary, and the exit code they add up to."""

from dataclasses import asdict, dataclass

HELD, FAILED, BAD_ARGUMENTS, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """None: not checked."""

    max_cut: int = 0
    max_connect_p95_ms: float | None = None
    max_rtt_p95_ms: float | None = None
    max_first_audio_p95_ms: float | None = None
    max_failed_turns: int | None = None
    max_faults: int | None = None

    def given(self) -> dict[str, float]:
        return {name: limit for name, limit in asdict(self).items() if limit is not None}


@dataclass(frozen=True, slots=True)
class Check:
    """`measured` is None when there was nothing to measure, which fails: a limit nobody tested is not kept."""

    name: str
    limit: float
    measured: float | None

    @property
    def held(self) -> bool:
        return self.measured is not None and self.measured <= self.limit

    def __str__(self) -> str:
        """The option, what was measured, and by how much it is over."""
        option = "--" + self.name.replace("_", "-")
        if self.measured is None:
            return f"{option} {self.limit:g}: nothing was measured"
        over = "" if self.held else f", {self.measured - self.limit:.1f} over".replace(".0 over", " over")
        return f"{option} {self.limit:g}: measured {self.measured:g}{over}"


def check(limits: Limits, measured: dict[str, float | None]) -> list[Check]:
    return [Check(name, limit, measured[name]) for name, limit in limits.given().items()]
