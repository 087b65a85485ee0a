"""From the text of a Bicep file to expressions. What is outside of the stage's subset of Bicep is refused by its name.

pycep's grammar reads the file, with every token kept. The dictionary that pycep makes of its tree is not enough to
compile from: it drops the parentheses and the `?` of `a.?b`, does not tell a multi-line string from one with
expressions in it, and lets the second of two equal names replace the first. Its grammar has no conditional over several
lines, as the compiler's formatter writes it, and no decorators in a type: `_REPLACED` has both.

Nor has that grammar an order of operators: it reads `a == b && c` as `a == (b && c)` and `a.b == c` as `a.(b == c)`,
always to the right, so its tree holds the right operands in the right order and nothing else. `ordered` puts them
together again.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput
from pycep.main import LARK_GRAMMAR

from stage.bicep.syntax import (
    Array,
    At,
    BicepError,
    Call,
    Literal,
    Member,
    Name,
    Node,
    Object,
    Operation,
    Refused,
    Text,
)

Branch = Tree[Token]
_BROKEN_CONDITIONAL = r"""
conditional: value_brackets ("?" | BROKEN_QMARK) value_brackets (":" | BROKEN_COLON) value_brackets
BROKEN_QMARK.3: /(?:[ \t]*(?:\/\/[^\n]*)?\r?\n)+[ \t]*\?(?=[ \t])/
BROKEN_COLON.3: /(?:[ \t]*(?:\/\/[^\n]*)?\r?\n)+[ \t]*:(?=[ \t])/
"""
_TYPES = r"""
own_type: (STRING | own_object | own_literal ("|" own_literal)*) array_suffix* "?"?
own_literal: QUOTED_STRING | QUOTED_INTERPOLATION | INT
own_object: "{" _CPP_COMMENT_NL* (own_pair _CPP_COMMENT_NL*)* "}"
own_pair: [decorators] key ":" own_type
"""
_REPLACED = {
    'conditional: value_brackets "?" value_brackets ":" value_brackets': _BROKEN_CONDITIONAL + _TYPES,
    '"param" STRING data_type "?"?': '"param" STRING own_type',
    '"output" STRING data_type "?"?': '"output" STRING own_type',
    '"type" STRING "=" type_value': '"type" STRING "=" own_type',
}
_LAYOUT = {"_NEWLINE", "_CPP_COMMENT_NL", "CPP_COMMENT", "NEWLINE", "COMMA"}
_ESCAPE = re.compile(r"\\(u\{([0-9A-Fa-f]+)\}|.)", re.DOTALL)
_MEANINGS = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", "'": "'", "$": "$"}
_BINDS = {
    "?:": 1,
    "??": 2,
    "||": 3,
    "&&": 4,
    "==": 5,
    "!=": 5,
    "<": 6,
    "<=": 6,
    ">": 6,
    ">=": 6,
    "+": 7,
    "-": 7,
    "*": 8,
    "/": 8,
    "%": 8,
}
_PREFIX = 9
KNOWN = frozenset(_BINDS)
_NAMES = (
    "array bool cidrSubnet concat contains deployment empty endsWith environment extensionResourceId first format guid "
    "int join json last length listKeys loadTextContent max min replace resourceGroup resourceId skip split startsWith "
    "string subscription subscriptionResourceId take tenant toLower toUpper trim union uniqueString"
)
_KNOWN = frozenset(_NAMES.split())
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


def statements(path: Path) -> list[Branch]:
    """The statements of the file; raises BicepError where they do not match the grammar."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as unreadable:
        raise BicepError(path, At(1, 1), f"the file cannot be read: {unreadable.strerror}") from unreadable
    try:
        return branches(_parser().parse(text + "\n", start="start"))
    except UnexpectedInput as unexpected:
        raise BicepError(path, _at(unexpected), _why(unexpected)) from unexpected


def expression(text: str, at: At) -> Branch:
    """The expression inside of a string that is at `at`."""
    try:
        return _parser().parse(text, start="value_brackets")
    except UnexpectedInput as unexpected:
        raise Refused(at, f"in the string's expression {text.strip()!r}: {_why(unexpected)}") from unexpected


def kept(branch: Branch) -> list[Branch | Token]:
    """The children that mean something."""
    return [child for child in branch.children if not _is_layout(child)]


def branches(branch: Branch) -> list[Branch]:
    return [child for child in branch.children if isinstance(child, Tree)]


def tokens(branch: Branch) -> list[Token]:
    return [child for child in kept(branch) if isinstance(child, Token)]


def at(branch: Branch) -> At:
    return At(branch.meta.line, branch.meta.column)


def _is_layout(child: Branch | Token | None) -> bool:
    # Lark's types leave out the None that stands for an optional part.
    return child is None or (isinstance(child, Token) and child.type in _LAYOUT)


def _grammar() -> str:
    text: str = LARK_GRAMMAR
    for theirs, ours in _REPLACED.items():
        if theirs not in text:
            raise RuntimeError(f"the grammar of this pycep has no {theirs!r} to replace")
        text = text.replace(theirs, ours)
    return text


# To work out the grammar's tables takes three times as long as to compile `bicep/`, which az does for each deployment.
# They lie where Python keeps what it compiled, and lark makes them anew where grammar, lark or Python are others.
_TABLES = Path(__file__).parent / "__pycache__" / f"grammar.{sys.implementation.cache_tag}.lark"


@cache
def _parser() -> Lark:
    return Lark(
        _grammar(),
        parser="lalr",
        start=["start", "value_brackets"],
        propagate_positions=True,
        regex=True,
        keep_all_tokens=True,
        cache=str(_TABLES),
    )


def _at(unexpected: UnexpectedInput) -> At:
    # Where the file ends too early lark gives no place, or -1.
    return At(max(unexpected.line or 1, 1), max(unexpected.column or 1, 1))


def _why(unexpected: UnexpectedInput) -> str:
    token = getattr(unexpected, "token", None)
    found = repr(str(token)) if token is not None else repr(getattr(unexpected, "char", "the end"))
    return f"the grammar of pycep does not expect {found} here"


def pieces(quoted: str) -> Iterator[tuple[bool, str]]:
    """Splits `'a${b}c'` into (False, a), (True, b), (False, c): what is text, unescaped, and what is an expression.

    Raises ValueError for an escape that Bicep does not have and for an expression without an end.
    """
    inside, at, text = quoted[1:-1], 0, ""
    while at < len(inside):
        if inside.startswith("${", at):
            if text:
                yield False, unescaped(text)
            end = _closing(inside, at + 2)
            yield True, inside[at + 2 : end]
            at, text = end + 1, ""
        else:
            step = 2 if inside[at] == "\\" else 1
            text += inside[at : at + step]
            at += step
    if text:
        yield False, unescaped(text)


def unescaped(text: str) -> str:
    return _ESCAPE.sub(_meaning, text)


def multi_line(quoted: str) -> str:
    """A string in three quotes: nothing in it is special, and a line break right after the quotes is not part of it."""
    text = quoted[3:-3]
    return text.removeprefix("\r\n") if text.startswith("\r\n") else text.removeprefix("\n")


def _meaning(found: re.Match[str]) -> str:
    if found[2]:
        return chr(int(found[2], 16))
    if found[1] not in _MEANINGS:
        raise ValueError(f"the escape \\{found[1]} does not exist")
    return _MEANINGS[found[1]]


def _closing(text: str, at: int) -> int:
    """Where the `}` is that ends the expression beginning at `at`; strings and braces in it are stepped over."""
    while at < len(text):
        if text[at] == "}":
            return at
        if text[at] == "{":
            at = _closing(text, at + 1)
        elif text[at] == "'":
            at = _quote(text, at + 1)
        at += 1
    raise ValueError("an expression in the string has no end")


def _quote(text: str, at: int) -> int:
    while at < len(text) and text[at] != "'":
        if text.startswith("${", at):
            at = _closing(text, at + 2)
        at += 2 if text[at] == "\\" else 1
    return at


@dataclass(frozen=True)
class Prefix:
    symbol: str


@dataclass(frozen=True)
class Infix:
    symbol: str
    middle: Node | None = None
    """Of `?:`, what stands between the two signs."""


@dataclass(frozen=True)
class Access:
    """What follows an operand after a dot or in brackets."""

    key: Node
    safe: bool


Item = Node | Prefix | Infix | Access


def ordered(items: Sequence[Item]) -> Node:
    """The expression that these items form, in the order of the file."""
    node, rest = _climb(list(items), 0)
    assert not rest, "every item is an operand or belongs to one"
    return node


def _climb(items: list[Item], at_least: int) -> tuple[Node, list[Item]]:
    left, items = _operand(items)
    while items:
        sign = items[0]
        assert isinstance(sign, Infix)
        binds = _BINDS[sign.symbol]
        if binds < at_least:
            break
        # Of equal operators the left one comes first; only the conditional one goes to the right.
        right, items = _climb(items[1:], binds if sign.middle else binds + 1)
        left = Operation(sign.symbol, (left, sign.middle, right) if sign.middle else (left, right))
    return left, items


def _operand(items: list[Item]) -> tuple[Node, list[Item]]:
    first, rest = items[0], items[1:]
    assert not isinstance(first, Infix | Access)
    if isinstance(first, Prefix):
        inner, rest = _climb(rest, _PREFIX)
        return Operation(first.symbol, (inner,)), rest
    while rest and isinstance(rest[0], Access):
        first, rest = Member(first, rest[0].key, rest[0].safe), rest[1:]
    return first, rest


def known(call: Call) -> Call:
    """Raises Refused for a function that is outside of the subset."""
    if call.name not in _KNOWN:
        raise Refused(call.at, f"the function '{call.name}' is outside of the stage's subset of Bicep")
    return call


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
                return Literal(multi_line(str(tokens(branch)[-1])))
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
                for is_expression, text in pieces(str(token))
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
