"""A folder of Bicep files, and everything that is wrong with it: one sentence a fault, beginning with the file."""

from collections.abc import Iterator
from pathlib import Path

from stage.bicep import BicepError
from stage.bicep.source import read
from stage.bicep.syntax import Resource, Source
from tests.bicep.holding import reading_faults, resource_faults
from tests.bicep.modules import call_faults, given, leak_faults, unused_faults
from tests.bicep.schema import load
from tests.bicep.values import Values


def sources(folder: Path) -> dict[str, Source]:
    """Every file by its path in the folder; raises BicepError for what cannot be read."""
    return {path.relative_to(folder).as_posix(): _source(path) for path in sorted(folder.rglob("*.bicep"))}


_READ: dict[str, Source] = {}
"""What was read, by the text: most files of a copy are those of another, and nobody changes a `Source`."""


def _source(path: Path) -> Source:
    text = path.read_text()
    if text not in _READ:
        _READ[text] = read(path)
    return _READ[text]


def faults(folder: Path) -> list[str]:
    try:
        files = sources(folder)
    except BicepError as unreadable:
        return [str(unreadable)]
    return [f"{name}: {fault}" for name, source in files.items() for fault in _in_file(name, source, files)]


def _in_file(name: str, source: Source, files: dict[str, Source]) -> Iterator[str]:
    schemas, values = load(), Values(source.declared, given(name, files))
    for declared in source.declared.values():
        if isinstance(declared, Resource):
            yield from resource_faults(declared, values, schemas)
    for declared in (*source.declared.values(), *source.outputs.values()):
        yield from reading_faults(declared, values, schemas)
    yield from call_faults(name, source, files)
    yield from unused_faults(source)
    yield from leak_faults(source)
