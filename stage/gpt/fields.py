"""The fields that `session.update` and `response.create` share, checked before anything acts on them."""

from collections.abc import Mapping, Set

from stage.gpt.shapes import Event, Rejected, require, unsupported

_SHARED = {
    "audio",
    "instructions",
    "max_output_tokens",
    "output_modalities",
    "parallel_tool_calls",
    "prompt",
    "reasoning",
    "temperature",  # preview's; its dialect lets no GA client give it
    "tool_choice",
    "tools",
}
KNOWN_BY_KIND: Mapping[str, Set[str]] = {
    "session": _SHARED | {"type", "model", "include", "tracing", "truncation"},
    "response": _SHARED | {"conversation", "input", "metadata"},
    "transcription": {"type", "audio", "include"},
}
_KNOWN_AUDIO: Mapping[str, Set[str]] = {
    "input": {"format", "noise_reduction", "transcription", "turn_detection"},
    "output": {"format", "speed", "voice"},
}
_MODALITIES = (["audio"], ["text"])
_TOOL_CHOICES = ("none", "auto", "required")
_NAMED_BY: Mapping[str, str] = {"function": "name", "mcp": "server_label"}


def check_fields(fields: Event, within: str, known: Set[str]) -> None:
    """Raises Rejected unless every field that is given is known and can be worked with. `within` ends in a dot.

    One field too many spoils the whole event, as it does on Azure.
    """
    check_names(fields, known, within)
    for field, kind in (("instructions", str), ("tools", list), ("metadata", dict), ("audio", dict)):
        if fields.get(field) is not None:
            require(fields, field, kind, within)
    for side in ("input", "output"):
        given = as_object((fields.get("audio") or {}).get(side) or {}, f"{within}audio.{side}")
        check_names(given, _KNOWN_AUDIO[side], f"{within}audio.{side}.")
    for index, tool in enumerate(fields.get("tools") or []):
        _check_tool(tool, f"{within}tools[{index}]")
    chosen = fields.get("output_modalities", ["audio"])
    if chosen not in _MODALITIES:
        raise Rejected(
            "invalid_value",
            f"Invalid modalities: {chosen}. Supported combinations are: ['text'] and ['audio'].",
            f"{within}output_modalities",
        )
    parallel = fields.get("parallel_tool_calls")
    if parallel is not None and not isinstance(parallel, bool):
        raise Rejected(
            "invalid_type", f"Invalid type for '{within}parallel_tool_calls'.", f"{within}parallel_tool_calls"
        )
    choice, limit = fields.get("tool_choice", "auto"), fields.get("max_output_tokens", "inf")
    if choice not in _TOOL_CHOICES and not isinstance(choice, dict):
        raise unsupported(f"{within}tool_choice", choice, _TOOL_CHOICES)
    if limit != "inf" and (isinstance(limit, bool) or not isinstance(limit, int)):
        raise unsupported(f"{within}max_output_tokens", limit, ["inf"])


def check_names(fields: Event, known: Set[str], within: str) -> None:
    for name in fields:
        if name not in known:
            raise Rejected("unknown_parameter", f"Unknown parameter: '{within}{name}'.", f"{within}{name}")


def as_object(value: object, path: str) -> Event:
    if not isinstance(value, dict):
        raise Rejected("invalid_type", f"Invalid type for '{path}': expected an object.", path)
    return value


def _check_tool(tool: object, path: str) -> None:
    known = as_object(tool, path)
    kind = known.get("type", "function")
    if kind not in _NAMED_BY:
        raise unsupported(f"{path}.type", kind, list(_NAMED_BY))
    require(known, _NAMED_BY[kind], str, f"{path}.")
