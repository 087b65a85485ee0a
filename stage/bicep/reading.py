"""From the grammar's branches to expressions. What is outside of the stage's subset of Bicep is refused by its name."""

from collections.abc import Iterator

from lark import Token, Tree

from stage.bicep import strings
from stage.bicep.functions import known
from stage.bicep.grammar import Branch, at, branches, expression, kept, tokens
from stage.bicep.operators import KNOWN, Access, Infix, Item, Prefix, ordered
from stage.bicep.syntax import Array, At, Call, Literal, Name, Node, Object, Refused, Text

_WORDS: dict[str, Literal] = {"null": Literal(None), "true": Literal(True), "false": Literal(False)}
_OUTSIDE = {
    "loop": "a for-loop",
    "lambda_expression": "a lambda",
    "pair": "a property with a `?`",
    "child_resource": "a resource inside of a resource (give it a `parent`)",
    "nested_resource_accessor": "`::`",
    "function_accessor": "a function of a resource",
    "equals_case_insens": "`=~`",
    "not_equals_case_insens": "`!~`",
}


class Reader:
    """Reads expressions; inside of a string their place is the string's."""

    def __init__(self, within: At | None = None) -> None:
        self._within = within

    def node(self, branch: Branch) -> Node:
        kind = str(branch.data)
        if kind in _WORDS:
            return _WORDS[kind]
        if kind in ("operator", "value_brackets"):
            return ordered(list(self._items(branch)))
        match kind:
            case "int_type":
                return Literal(int(tokens(branch)[-1]))
            case "string":
                return self.word(tokens(branch)[-1])
            case "multi_line_string":
                return Literal(strings.multi_line(str(tokens(branch)[-1])))
            case "array":
                return Array(tuple(self.node(item) for item in branches(branch)))
            case "object":
                return self.object(branch)
            case "function":
                return self._call(branch)
        raise self.outside(branch)

    def object(self, branch: Branch) -> Object:
        pairs: dict[Node, Node] = {}
        for pair in branches(branch):
            if pair.data != "pair" or "?" in tokens(pair):
                raise self.outside(pair)
            key, value = branches(pair)
            name = self._key(tokens(key)[0])
            if name in pairs:
                raise Refused(self._at(key), f"the property {tokens(key)[0]} is given twice")
            pairs[name] = self.node(value)
        return Object(tuple(pairs.items()))

    def outside(self, branch: Branch) -> Refused:
        kind = str(branch.data)
        return Refused(self._at(branch), f"{_OUTSIDE.get(kind, kind)} is outside of the stage's subset of Bicep")

    def _at(self, branch: Branch) -> At:
        return self._within or at(branch)

    def word(self, token: Token) -> Node:
        where = self._within or At(token.line or 1, token.column or 1)
        if not token.startswith("'"):
            return Name(str(token), where)
        try:
            parts = tuple(
                Reader(where).node(expression(text, where)) if is_expression else text
                for is_expression, text in strings.pieces(str(token))
            )
        except ValueError as unreadable:
            raise Refused(where, str(unreadable)) from unreadable
        if all(isinstance(part, str) for part in parts):
            return Literal("".join(str(part) for part in parts))
        return Text(parts)

    def _key(self, token: Token) -> Node:
        return self.word(token) if token.startswith("'") else Literal(str(token))

    def _call(self, branch: Branch) -> Call:
        name = tokens(branch)[0].removesuffix("(")
        return known(Call(name, tuple(self.node(argument) for argument in branches(branch)), self._at(branch)))

    def _items(self, branch: Branch) -> Iterator[Item]:
        """The operands and operators of an expression, from left to right."""
        match kept(branch):
            case [Tree() as inner] if branch.data == "operator":
                yield from self._signs(inner)
            case [Token(value="("), Tree() as inner, *_] if branch.data == "value_brackets":
                yield self.node(inner)
            case [Tree() as inner, Token()] if branch.data == "value_brackets":
                # `x!` only tells the compiler not to warn.
                yield from self._items(inner)
            case _:
                yield self.node(branch)

    def _signs(self, branch: Branch) -> Iterator[Item]:
        match kept(branch):
            case [Token(value="!"), Tree() as operand]:
                yield Prefix("!")
                yield from self._items(operand)
            case [Token(value="-"), Tree() as operand]:
                yield Prefix("negative")
                yield from self._items(operand)
            case [Tree() as condition, Token(type="QMARK" | "BROKEN_QMARK"), Tree() as yes, Token(), Tree() as no]:
                yield from self._items(condition)
                yield Infix("?:", self.node(yes))
                yield from self._items(no)
            case [Tree() as of, Token(value="["), *safe, Tree() as key, Token(value="]")]:
                yield from self._items(of)
                yield Access(self.node(key), bool(safe))
            case [Tree() as of, Token(value="."), *safe, Tree() as rest]:
                yield from self._items(of)
                yield from self._dotted(rest, bool(safe))
            case [Tree() as left, Token(value=sign), Tree() as right] if sign in KNOWN:
                yield from self._items(left)
                yield Infix(sign)
                yield from self._items(right)
            case _:
                raise self.outside(branch)

    def _dotted(self, branch: Branch, safe: bool) -> Iterator[Item]:
        first, *rest = self._items(branch)
        if not isinstance(first, Name):
            raise Refused(self._at(branch), "what follows a dot is not a name")
        yield Access(Literal(first.name), safe)
        yield from rest
