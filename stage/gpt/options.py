"""What can be set on the simulated model: by flags in `realtime`, by keyword in a test."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stage.gpt.unverified import Unverified


@dataclass(frozen=True, kw_only=True)
class Options:
    key: str
    # Accepted as `Authorization: Bearer` beside the key, as Entra ID tokens are.
    tokens: tuple[str, ...] = ()
    model: str = "gpt-realtime"
    # A file that names the deployments of an account, a line each, and may change: where there are some, only these.
    deployments: Path | None = None
    # 2 is gpt-realtime-2.x, which reasons; 1 is gpt-realtime and gpt-realtime-1.5. A deployment's name tells neither.
    generation: Literal[1, 2] = 2
    session_seconds: float = 3600
    silence_ms: int = 500
    answer_seconds: float = 3
    # How many times faster than speech the answer's audio leaves.
    pace: float = 4
    # From response.created to the first output: 2.x reasons, and is silent for a second or two.
    thinking_seconds: float = 0.1
    # So much longer it is on average, by chance: mostly less, now and then much more.
    noise_seconds: float = 0
    # From the end of what the user said to its transcript, which may come after the answer.
    transcription_seconds: float = 0.2
    # From the arguments of an MCP call to its end. 10 to 15 s were reported for a search.
    mcp_seconds: float = 12
    # Share of the responses of all calls that the deployment has no tokens left for.
    throttle: float = 0
    # Each call is let in, told an `error` and closed with this code.
    refuse_after_101: int | None = None
    # A call's socket ends so long after its 101, in the middle of whatever is said, with no Close.
    drop_after_seconds: float | None = None
    max_sessions: int | None = None
    # rate_limits.updated after response.created or after response.done: what Azure does is not documented.
    rate_limits: Literal["start", "end"] = "end"
    # Where to write what was sent and heard, as hashes and lengths.
    record: Path | None = None
    unverified: Unverified = field(default_factory=Unverified)

    def serves(self, name: str | None) -> bool:
        """Whether there is a deployment of that name now."""
        named = self.deployments.read_text().split() if self.deployments and self.deployments.exists() else []
        return name in (named or [self.model])
