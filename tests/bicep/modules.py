"""What the files of a template owe each other: arguments, outputs, names that are used, secrets kept."""

import posixpath
from collections.abc import Iterator, Mapping

from stage.bicep.syntax import (
    Call,
    Declaration,
    Literal,
    Member,
    Module,
    Name,
    Node,
    Object,
    Output,
    Param,
    Resource,
    Source,
    Var,
    children,
    expressions,
    walk,
)
from tests.bicep.values import Values, plain


def call_faults(file: str, source: Source, sources: Mapping[str, Source]) -> Iterator[str]:
    """Arguments that a module does not take or misses, and outputs that it does not have."""
    modules = {name: each for name, each in source.declared.items() if isinstance(each, Module)}
    called = {name: sources.get(_file(file, module)) for name, module in modules.items()}
    for name, module in modules.items():
        other = called[name]
        if other is None:
            yield f"{name}: there is no {module.path}"
        else:
            yield from _arguments(module, other, source)
    for of, node in _nodes(source):
        match node:
            case Member(Member(Name(name), Literal("outputs")), Literal(output)):
                other = called.get(name)
                if other is not None and output not in other.outputs:
                    yield f"{of.name}: reads {name}.outputs.{output}, but the module has no such output"


def given(file: str, sources: Mapping[str, Source]) -> dict[str, list[Literal]]:
    """What the file's parameters get from its callers, as far as that stands in the template."""
    found: dict[str, list[Literal]] = {}
    for caller, source in sources.items():
        values = Values(source.declared)
        for module in source.declared.values():
            if isinstance(module, Module) and _file(caller, module) == file:
                for name, value in _params(module).items():
                    literals = [each for each in values.outcomes(value) if isinstance(each, Literal)]
                    found.setdefault(name, []).extend(literals)
    return found


def unused_faults(source: Source) -> Iterator[str]:
    used = {node.name for _, node in _nodes(source) if isinstance(node, Name)}
    for declared in source.declared.values():
        existing = isinstance(declared, Resource) and declared.existing
        if (existing or isinstance(declared, Param | Var)) and declared.name not in used:
            yield f"{declared.name}: declared, but not used"


def leak_faults(source: Source) -> Iterator[str]:
    """A secret in an output stays readable in the deployment for ever."""
    secrets = _secrets(source)
    for output in source.outputs.values():
        for secret in sorted(_leaks(output.value, source) & secrets):
            yield f"{output.name}: an output that carries the secret {secret}"


def _arguments(module: Module, other: Source, source: Source) -> Iterator[str]:
    params = {name: each for name, each in other.declared.items() if isinstance(each, Param)}
    arguments = _params(module)
    for name, value in arguments.items():
        if name not in params:
            yield f"{module.name}.params.{name}: {module.path} has no such parameter"
            continue
        type_, wanted = Values(source.declared).type(value), plain(params[name].type, other.declared)
        if type_ and type_ != wanted:
            yield f"{module.name}.params.{name}: {module.path} takes {wanted}, not {type_}"
        if not _secure(params[name]):
            for secret in sorted(_leaks(value, source) & _secrets(source)):
                yield f"{module.name}.params.{name}: gets {secret}, but {module.path} does not keep it secret"
    for name, param in params.items():
        if param.default is None and name not in arguments:
            yield f"{module.name}.params.{name}: required by {module.path}, but missing"


def _file(caller: str, module: Module) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(caller), module.path))


def _params(module: Module) -> dict[str, Node]:
    body = module.body.get("params")
    return (
        {str(key.value): value for key, value in body.pairs if isinstance(key, Literal)}
        if isinstance(body, Object)
        else {}
    )


def _secrets(source: Source) -> set[str]:
    return {name for name, each in source.declared.items() if isinstance(each, Param) and _secure(each)}


def _secure(param: Param) -> bool:
    return any(decorator.name == "secure" for decorator in param.decorators)


def _leaks(node: Node, source: Source) -> set[str]:
    """The names whose value is in `node`, itself or through variables."""
    names = _spoken(node)
    through = [each for name in names if isinstance(each := source.declared.get(name), Var)]
    return names.union(*(_leaks(each.value, source) for each in through))


def _spoken(node: Node) -> set[str]:
    """empty() tells whether there is a secret, and nothing of it."""
    if isinstance(node, Call) and node.name == "empty":
        return set()
    if isinstance(node, Name):
        return {node.name}
    return {name for child in children(node) for name in _spoken(child)}


def _nodes(source: Source) -> Iterator[tuple[Declaration | Output, Node]]:
    for declared in (*source.declared.values(), *source.outputs.values()):
        for expression in expressions(declared):
            for node in walk(expression):
                yield declared, node
