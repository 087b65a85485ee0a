"""What ARM takes: the files in `schemas/`, whose README says how they are written."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Properties = Mapping[str, str]
_FOLDER = Path(__file__).parent / "schemas"


@dataclass(frozen=True)
class Schema:
    """One resource type at one api-version."""

    type: str
    api_version: str
    body: Properties
    types: Mapping[str, Properties]

    def properties(self, type_: str) -> Properties | None:
        """Of an object; None for what has no properties of its own."""
        return self.types.get(type_)

    def has(self, *path: str) -> bool:
        """Whether a resource has this property, which may be the platform's to write."""
        at: Properties | None = self.body
        for name in path:
            if at is None:
                return False
            found = at.get(name, at.get("*"))
            if found is None:
                return False
            type_ = plain(found)
            if type_ in ("any", "object", "array") or type_.endswith("[]"):
                return True
            at = self.properties(type_)
        return True


def load() -> dict[str, Schema]:
    """By resource type."""
    schemas = [_schema(json.loads(file.read_text())) for file in sorted(_FOLDER.glob("*.json"))]
    return {schema.type: schema for schema in schemas}


def plain(written: str) -> str:
    """The type of a property without `required` and `read-only`."""
    return written.removeprefix("required ").removeprefix("read-only ")


def _schema(read: dict[str, Any]) -> Schema:
    return Schema(read["type"], read["apiVersion"], read["body"], read["types"])
