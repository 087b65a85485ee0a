"""What can be set on the simulated model: by flags in `realtime`, by keyword in a test."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Options:
    key: str
    # Accepted as `Authorization: Bearer` beside the key, as Entra ID tokens are.
    tokens: tuple[str, ...] = ()
    model: str = "gpt-realtime"
    session_seconds: float = 3600
    silence_ms: int = 500
    answer_seconds: float = 3
    # How many times faster than speech the answer's audio leaves.
    pace: float = 4
    # A call's socket ends so long after its 101, in the middle of whatever is said, with no Close.
    drop_after_seconds: float | None = None
    max_sessions: int | None = None
    # rate_limits.updated after response.created or after response.done: what Azure does is not documented.
    rate_limits: Literal["start", "end"] = "end"
