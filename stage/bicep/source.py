"""One Bicep file, read into what it declares."""

from pathlib import Path

from lark import Token, Tree

from stage.bicep.reading import Branch, Reader, at, branches, kept, statements, tokens
from stage.bicep.syntax import (
    BicepError,
    Declaration,
    Decorator,
    Field,
    Fields,
    ListOf,
    Literal,
    Module,
    Name,
    Named,
    Node,
    Object,
    OneOf,
    Optional,
    Output,
    Param,
    Refused,
    Resource,
    Source,
    Type,
    TypeOf,
    Var,
)

_OUTSIDE = {
    "extension": "`extension`",
    "custom_func": "a function of one's own",
}
_READER = Reader()


def read(path: Path) -> Source:
    """Raises BicepError for what cannot be read and for what is outside of the subset."""
    source = Source()
    for statement in statements(path):
        try:
            _take(source, statement)
        except Refused as refused:
            raise BicepError(path, refused.at, str(refused)) from refused
    return source


def _take(source: Source, statement: Branch) -> None:
    kind = str(statement.data)
    if kind in _OUTSIDE:
        raise Refused(at(statement), f"{_OUTSIDE[kind]} is outside of the stage's subset of Bicep")
    if kind == "scope":
        _check_scope(statement)
    elif kind == "custom_import":
        _import(source, statement)
    elif kind == "metadata":
        source.metadata[str(tokens(statement)[1])] = _plain(branches(statement)[0])
    else:
        declaration = _declaration(statement)
        known: dict[str, Declaration] = {**source.outputs} if kind == "output" else source.declared
        if declaration.name in known:
            raise Refused(declaration.at, f"the name '{declaration.name}' is declared twice")
        if isinstance(declaration, Output):
            source.outputs[declaration.name] = declaration
        else:
            source.declared[declaration.name] = declaration


def _import(source: Source, statement: Branch) -> None:
    """`import { a, b } from 'file'`; raises Refused for any other form."""
    names, path = branches(statement), str(tokens(statement)[-1]).strip("'")
    for name in names:
        if name.data != "import_alias" or len(tokens(name)) != 1 or tokens(name)[0] == "*":
            raise Refused(at(name), "`import` with `*` or `as` is outside of the stage's subset of Bicep")
        source.imports[Name(str(tokens(name)[0]), at(name))] = path


def _check_scope(statement: Branch) -> None:
    scope = tokens(statement)[-1].strip("'")
    if scope != "resourceGroup":
        raise Refused(at(statement), f"the target scope '{scope}' is outside of the stage's subset of Bicep")


def _declaration(statement: Branch) -> Declaration:
    parts = kept(statement)
    decorators: tuple[Decorator, ...] = ()
    if isinstance(parts[0], Token):
        head = parts
    else:
        decorators, head = tuple(_decorator(one) for one in branches(parts[0])), parts[1:]
    about = (str(head[1]), at(statement), decorators)
    rest = [part for part in head[2:] if not isinstance(part, Token)]
    match str(head[0]):
        case "param":
            return Param(*about, _type(rest[0]), _READER.node(rest[1]) if len(rest) > 1 else None)
        case "var":
            return Var(*about, _READER.node(rest[-1]))
        case "output":
            return Output(*about, _type(rest[0]), _READER.node(rest[1]))
        case "type":
            return TypeOf(*about, _type(rest[0]))
        case "resource":
            kind, _, version = tokens(rest[0])[0].strip("'").partition("@")
            return Resource(*about, kind, version, "existing" in head, *_conditional(rest[1]))
        case "module":
            return Module(*about, tokens(rest[0])[0].strip("'"), *_conditional(rest[1]))
    raise Refused(at(statement), f"{statement.data} is outside of the stage's subset of Bicep")


def _decorator(branch: Branch) -> Decorator:
    name = tokens(branch)[1].removeprefix("sys.")
    return Decorator(name, tuple(_READER.node(argument) for argument in branches(branch)), at(branch))


def _type(branch: Branch) -> Type:
    first, *rest = kept(branch)
    found: Type
    if isinstance(first, Token):
        found = Named(str(first), at(branch))
    elif first.data == "own_object":
        found = Fields(tuple(_field(pair) for pair in branches(first)))
    else:
        found = OneOf(tuple(_allowed(part) for part in branches(branch) if part.data == "own_literal"))
    for part in rest:
        if isinstance(part, Tree) and part.data == "array_suffix":
            found = ListOf(found)
        elif part == "?":
            found = Optional(found)
    return found


def _field(branch: Branch) -> Field:
    *above, key, type_ = branches(branch)
    decorators = tuple(_decorator(one) for group in above for one in branches(group))
    return Field(str(tokens(key)[0]).strip("'"), at(branch), decorators, _type(type_))


def _allowed(branch: Branch) -> str | int:
    token = tokens(branch)[0]
    node = Literal(int(token)) if token.type == "INT" else _READER.word(token)
    if not isinstance(node, Literal) or not isinstance(node.value, str | int):
        raise Refused(at(branch), "an expression in a type")
    return node.value


def _conditional(branch: Branch) -> tuple[Node | None, Object]:
    if branch.data != "deploy_condition":
        return None, _READER.object(branch) if branch.data == "object" else _refuse(branch)
    condition, body = branches(branch)
    return _READER.node(condition), _READER.object(body)


def _refuse(branch: Branch) -> Object:
    raise _READER.outside(branch)


def _plain(branch: Branch) -> str:
    node = _READER.node(branch)
    if not isinstance(node, Literal):
        raise Refused(at(branch), "metadata is a plain string here")
    return str(node.value)
