"""What ARM takes: the types that the real compiler carries, with what the documentation says beyond them.

`compiler/types.json` and `types-newer.json` have every property with its type and its flags; `documented.json` has
ranges and demands that are in no type. Both are read into one form: a property is `[required |read-only ]TYPE`, and a
TYPE is `string`, `int` (with ` 1..10` behind it where that is the range), `bool`, `any`, the path of an object, or
texts between ` | ` (with `string` at the end, where the platform may come to know more); `[]` behind any is a list.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

Properties = Mapping[str, str]
_HERE = Path(__file__).parent
_FILES = (_HERE / "compiler" / "types.json", _HERE / "compiler" / "types-newer.json")
_KEY = re.compile(r"(.*?)(?: \(([^)]*)\))?$")
_LIMITS = {"type", "min", "max", "minLength", "maxLength", "pattern", "sensitive"}
_MOST = 2**31 - 1


@dataclass(frozen=True)
class Schema:
    """One resource type at one api-version."""

    type: str
    api_version: str
    types: Mapping[str, Properties]
    """Objects by their paths; the whole resource's is empty."""

    @property
    def body(self) -> Properties:
        return self.types[""]

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


@cache
def load() -> dict[str, dict[str, Schema]]:
    """By resource type and api-version."""
    documented = json.loads((_HERE / "documented.json").read_text())
    found: dict[str, dict[str, Schema]] = {}
    for file in _FILES:
        for key, body in json.loads(file.read_text()).items():
            type_, _, version = key.partition("@")
            types: dict[str, dict[str, str]] = {}
            _object(body, "", types)
            for path, said in documented.get(type_, {}).items():
                at, _, name = path.rpartition(".")
                types[at][name] = said
            found.setdefault(type_, {})[version] = Schema(type_, version, types)
    return found


def plain(written: str) -> str:
    """The type of a property without `required` and `read-only`."""
    return written.removeprefix("required ").removeprefix("read-only ")


def _object(read: Mapping[str, Any], path: str, types: dict[str, dict[str, str]]) -> None:
    found = types[path] = {}
    for key, about in read.items():
        name, flags = _KEY.fullmatch(key).groups("")  # type: ignore[union-attr]  # any text matches
        if "readOnly" in flags:
            found[name] = "read-only any"
        else:
            type_ = _type(about, f"{path}.{name}".lstrip("."), types)
            found[name] = ("required " if "required" in flags else "") + type_


def _type(about: Any, path: str, types: dict[str, dict[str, str]]) -> str:
    match about:
        case "..." | "(recursive)" | "any" | "-":
            return "any"
        case str():
            return about.strip("'")
        case {"oneOf": values}:
            return " | ".join(value.strip("'") for value in values)
        case {"array": of}:
            return _type(of, f"{path}[n]", types) + "[]"
        case {"type": "string" | "int" | "any" as kind} if len(about) > 1 and set(about) <= _LIMITS:
            limited = kind == "int" and {"min", "max"} & set(about)
            return f"int {about.get('min', -_MOST)}..{about.get('max', _MOST)}" if limited else kind
    _object(about, path, types)
    return path
