"""What a deployment would change, in the form that `az deployment group what-if` draws."""

from typing import Any


def change(resource_id: str, before: dict[str, Any] | None, after: dict[str, Any]) -> dict[str, Any]:
    """One entry of `changes`; ``before`` is None for a resource that does not exist."""
    if before is None:
        return {"resourceId": resource_id, "changeType": "Create", "before": None, "after": after, "delta": None}
    delta = _delta(before, after)
    kind = "Modify" if delta else "NoChange"
    return {"resourceId": resource_id, "changeType": kind, "before": before, "after": after, "delta": delta}


def ignored(resource_id: str, document: dict[str, Any]) -> dict[str, Any]:
    """The entry of a resource that is there and that the template says nothing about."""
    return {"resourceId": resource_id, "changeType": "Ignore", "before": document, "after": document, "delta": None}


def short_circuited(deployment: str) -> dict[str, Any]:
    """The diagnostic of a module that is left out."""
    why = "A nested deployment got short-circuited and all its resources got skipped from validation. This is due to a "
    why += "nested template having a parameter that was not fully evaluated (e.g. contains a reference() function). "
    why += "Please see https://aka.ms/WhatIfEvalStopped for more guidance."
    return {"level": "Warning", "code": "NestedDeploymentShortCircuited", "message": why, "target": deployment}


def _delta(before: dict[str, Any], after: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found += [{**each, "path": f"{name}.{each['path']}"} for each in _delta(old, new)]
        elif isinstance(old, list) and isinstance(new, list) and old != new:
            found.append(_entry(name, "Array", old, new, _items(old, new)))
        elif old != new:
            kind = "Create" if name not in before else "Delete" if name not in after else "Modify"
            found.append(_entry(name, kind, old, new))
    return found


def _items(before: list[Any], after: list[Any]) -> list[dict[str, Any]]:
    """The entries of an array's items, compared place by place; their paths are places."""
    found = []
    for at in range(max(len(before), len(after))):
        if at >= len(before) or at >= len(after):
            kind = "Create" if at >= len(before) else "Delete"
            found.append(_entry(str(at), kind, *(each[at] if at < len(each) else None for each in (before, after))))
        elif before[at] != after[at]:
            both = isinstance(before[at], dict) and isinstance(after[at], dict)
            inner = _delta(before[at], after[at]) if both else None
            found.append(_entry(str(at), "Modify", before[at], after[at], inner))
    return found


def _entry(
    path: str, kind: str, before: Any, after: Any, children: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    return {"path": path, "propertyChangeType": kind, "before": before, "after": after, "children": children}
