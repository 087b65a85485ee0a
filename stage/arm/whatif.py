"""What a deployment would change, in the form that `az deployment group what-if` draws."""

from typing import Any


def change(resource_id: str, before: dict[str, Any] | None, after: dict[str, Any]) -> dict[str, Any]:
    """One entry of `changes`; ``before`` is None for a resource that does not exist."""
    if before is None:
        return {"resourceId": resource_id, "changeType": "Create", "before": None, "after": after, "delta": None}
    delta = _delta(before, after)
    kind = "Modify" if delta else "NoChange"
    return {"resourceId": resource_id, "changeType": kind, "before": before, "after": after, "delta": delta}


def _delta(before: dict[str, Any], after: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found += [{**each, "path": f"{name}.{each['path']}"} for each in _delta(old, new)]
        elif old != new:
            kind = "Create" if name not in before else "Delete" if name not in after else "Modify"
            found.append({"path": name, "propertyChangeType": kind, "before": old, "after": new, "children": None})
    return found
