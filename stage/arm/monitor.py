"""What Azure Monitor refuses: categories that a region does not offer, one sink twice, and queries of alert rules."""

import re
from collections.abc import Iterator
from typing import Any

from stage.arm.resources import Asked
from stage.arm.subscription import Subscription
from stage.platform import Rejected

ALERT_RULES = "Microsoft.Insights/scheduledQueryRules"
DIAGNOSTICS = "Microsoft.Insights/diagnosticSettings"
_TABLES = ("ContainerAppConsoleLogs", "ContainerAppSystemLogs", "ContainerAppHTTPLogs", "AGWAccessLogs")
"""What a rule may read: a saved function is no table, and one of several tables is what `union` would be for."""
_TEXTS = re.compile(r"'[^']*'|\"[^\"]*\"|//[^\n]*")
_OPERATOR = re.compile(r"\b(union|search)\b")


def check_rule(asked: Asked) -> None:
    """Raises Rejected for an alert rule whose query is of more than one table."""
    properties = asked.body.get("properties") or {}
    for each in (properties.get("criteria") or {}).get("allOf") or ():
        query = _TEXTS.sub("", str(each.get("query") or ""))
        if found := _OPERATOR.search(query):
            raise Rejected("BadRequest", f"The query of an alert rule cannot use the operator '{found[1]}'.")
        source = query.strip().partition("|")[0].strip()
        if source not in _TABLES:
            raise Rejected("BadRequest", f"The query of an alert rule cannot read '{source}', which is no table.")


def check_setting(subscription: Subscription, asked: Asked) -> None:
    """Raises Rejected for a setting with a category that is not offered, or that goes to the same workspace already."""
    for category in _categories(asked):
        if category in subscription.faults.not_offered:
            raise Rejected("BadRequest", f"Category '{category}' is not supported.")
        for other in subscription.store.of(DIAGNOSTICS):
            same = other.id.lower() != asked.id.lower() and _flow(other) == _flow(asked)
            if same and category in _categories(other):
                what = (
                    f"Data sink '{_flow(asked)[1]}' is already used in diagnostic setting '{_name(other)}' for category"
                )
                why = "Data sinks can't be reused in different settings on the same category for the same resource."
                raise Rejected("Conflict", f"{what} '{category}'. {why}", 409)


def _flow(setting: Asked) -> tuple[str, str]:
    """From where, and where to."""
    scope = setting.id.lower().rpartition("/providers/microsoft.insights/")[0]
    return scope, str((setting.body.get("properties") or {}).get("workspaceId")).lower()


def _categories(setting: Asked) -> Iterator[str]:
    logs: list[dict[str, Any]] = (setting.body.get("properties") or {}).get("logs") or []
    return (str(each.get("category")) for each in logs if each.get("enabled"))


def _name(setting: Asked) -> str:
    return setting.name.rpartition("/")[2]
