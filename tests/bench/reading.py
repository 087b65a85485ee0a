"""A result read back from its file; what is wrong in it is named by its place: ``shapes[0].rounds[2].nginx``."""

import dataclasses
from pathlib import Path
from typing import Any

from bench.check import KINDS, Wrong, parse, want
from bench.result import Figures, Machine, Result, Shape


def load(file: Path) -> Result:
    """Raises ValueError that names the file and the field when it is not what `dump` writes; OSError as it comes."""
    try:
        return _result(parse(file))
    except Wrong as error:
        raise ValueError(f"{file}: {error}") from None


def _result(raw: Any) -> Result:
    top = _fields(raw, Result, "")
    top["machine"] = Machine(**_fields(top["machine"], Machine, "machine."))
    for name in ("versions", "missing"):
        for key, value in top[name].items():
            want(value, str, f"{name}.{key}")
    shapes = (_shape(each, f"shapes[{i}].") for i, each in enumerate(want(top["shapes"], list, "shapes")))
    return Result(**top | {"shapes": tuple(shapes)})


def _shape(raw: Any, at: str) -> Shape:
    fields = _fields(raw, Shape, at)
    rounds = [_round(each, f"{at}rounds[{i}].") for i, each in enumerate(want(fields["rounds"], list, f"{at}rounds"))]
    return Shape(**fields | {"rounds": tuple(rounds)})


def _round(raw: Any, at: str) -> dict[str, Figures]:
    peers = want(raw, dict, at.removesuffix("."))
    return {name: Figures(**_fields(figures, Figures, f"{at}{name}.")) for name, figures in peers.items()}


def _fields(raw: Any, kind: type[Any], at: str) -> dict[str, Any]:
    """A JSON object with the fields of ``kind``: all that have no default, none that it does not know."""
    fields = want(raw, dict, at.removesuffix("."))
    known = {field.name: field for field in dataclasses.fields(kind)}
    for name, value in fields.items():
        if name not in known:
            raise Wrong(f"{at}{name}: no such field")
        if known[name].type in KINDS:
            want(value, known[name].type, f"{at}{name}")
    for name, field in known.items():
        if name not in fields and field.default is dataclasses.MISSING:
            raise Wrong(f"{at}{name} is missing")
    return dict(fields)
