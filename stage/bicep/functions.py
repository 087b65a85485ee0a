"""The functions that a template may call: ARM has them under the same names. The rest is refused."""

from collections.abc import Iterable
from pathlib import Path

from stage.bicep.syntax import Call, Literal, Refused

_NAMES = (
    "array bool cidrSubnet concat contains deployment empty endsWith environment extensionResourceId first format guid "
    "int join json last length listKeys loadTextContent max min replace resourceGroup resourceId skip split startsWith "
    "string subscription subscriptionResourceId take tenant toLower toUpper trim union uniqueString"
)
_KNOWN = frozenset(_NAMES.split())


def known(call: Call) -> Call:
    """Raises Refused for a function that is outside of the subset."""
    if call.name not in _KNOWN:
        raise Refused(call.at, f"the function '{call.name}' is outside of the stage's subset of Bicep")
    return call


def check_scope(call: Call) -> None:
    """Raises Refused for another group or subscription where no scope is asked for."""
    if call.name in ("resourceGroup", "subscription") and call.arguments:
        raise Refused(call.at, f"{call.name}() with arguments can only be a scope")


def loaded(calls: Iterable[Call], folder: Path) -> dict[Call, str]:
    """What each loadTextContent() of a file reads, from beside the file."""
    return {call: _text_content(call, folder) for call in calls if call.name == "loadTextContent"}


def _text_content(call: Call, folder: Path) -> str:
    match call.arguments:
        case (Literal(str(name)),):
            try:
                return (folder / name).read_text(encoding="utf-8")
            except OSError as unreadable:
                raise Refused(call.at, f"{name} cannot be read: {unreadable.strerror}") from unreadable
    raise Refused(call.at, "loadTextContent takes one plain path here")
