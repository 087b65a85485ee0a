"""What no source settles about the realtime service, and what the simulated model does until somebody measures it.

Where two answers are possible the model takes the harder one for a client or a relay: the stage is never kinder than
Azure. A measurement changes one line here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True)
class Unverified:
    """Each choice is a guess with a reason, not knowledge."""

    phase_on_items: bool = True
    """Whether message items of 2.x carry `phase` (`commentary` for a preamble, else `final_answer`). Azure documents
    it; no SDK type has it, and where it stands is not said. A relay must pass it on."""
    preamble_before_a_forced_call: bool = False
    """Whether 2.x speaks a preamble where `tool_choice` forces a call. Documented only for calls of its own choice."""
    semantic_silence_ms: Mapping[str, int] = field(
        default_factory=lambda: MappingProxyType({"low": 8000, "medium": 4000, "auto": 4000, "high": 2000})
    )
    """How long semantic VAD waits. These are the documented maxima; the service often waits less."""
    throttled_error_type: str = "rate_limit_exceeded"
    """`status_details.error.type` of a throttled response; `invalid_request_error` was seen as well."""
    usage_of_a_failed_response: bool = False
    """Whether a failed response has a `usage`. Without it is what a reader must survive."""
    approved_call_runs_at_once: bool = True
    """Whether an MCP call begins with its approval, in no response; else the next response makes it. No source says."""
    unfinished_mcp_call_ends: bool = False
    """Whether an MCP call whose response was cut before its arguments were whole gets `.failed`."""
    idle_timeout_repeats: bool = True
    """Whether the answer to an idle timeout starts the next one."""
    beta_header_closes: bool = True
    """Whether `OpenAI-Beta` on a GA URL is 101, then Close 4000. Measured at OpenAI; Azure may ignore it."""
    greets_before_a_late_refusal: bool = False
    """Whether `session.created` comes before the `error` of a Close 3000 or 4000."""
    transcription_may_name_a_model: bool = True
    """Whether `intent=transcription` is let in with `model=` too. SDKs send one of the two; older samples sent both."""
    duration_billed: tuple[str, ...] = ("whisper",)
    """Transcription models with these words in their name report `usage` as a duration, the others as tokens."""
    refused_before_generation_2: tuple[str, ...] = ("reasoning", "parallel_tool_calls")
    """Session fields that 1.5 and older may refuse."""
