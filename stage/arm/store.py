"""The resources of the subscription, but for apps, which the platform keeps: what was asked for, by id."""

from collections.abc import Iterator

from stage.arm.ids import group_of
from stage.arm.resources import Asked


class Store:
    """In the order of their making. Ids are compared without regard to case."""

    def __init__(self) -> None:
        self._known: dict[str, Asked] = {}

    def find(self, resource: str) -> Asked | None:
        return self._known.get(resource.lower())

    def put(self, asked: Asked) -> None:
        self._known[asked.id.lower()] = asked

    def of(self, kind: str, group: str | None = None) -> list[Asked]:
        """Those of a type, of all groups or of one."""
        return [each for each in self.all(group) if each.kind.lower() == kind.lower()]

    def all(self, group: str | None = None) -> list[Asked]:
        return [each for each in self._known.values() if group is None or _in(each.id, group)]

    def remove(self, resource: str) -> list[Asked]:
        """Forgets one and all that is below it; what it forgot."""
        gone = [each for each in self._known.values() if _below(each.id, resource)]
        for each in gone:
            del self._known[each.id.lower()]
        return gone

    def remove_group(self, group: str) -> list[Asked]:
        """Forgets all that is in a group; what it forgot."""
        gone = self.all(group)
        for each in gone:
            self._known.pop(each.id.lower(), None)
        return gone


def ancestors(asked: Asked) -> Iterator[str]:
    """The ids that must be there before a child or an extension is."""
    scope, _, _ = asked.id.rpartition("/providers/")
    if "/providers/" in scope:
        yield scope
    if "/" in asked.name:
        yield "/".join(asked.id.split("/")[:-2])


def _in(resource: str, group: str) -> bool:
    return group_of(resource).lower() == group.lower()


def _below(resource: str, scope: str) -> bool:
    return f"{resource}/".lower().startswith(f"{scope}/".lower())
