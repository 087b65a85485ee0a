"""A Bicep file as pycep's grammar sees it, with every token kept.

The dictionary that pycep makes of its tree is not enough to compile from: it drops the parentheses and the `?` of
`a.?b`, does not tell a multi-line string from one with expressions in it, and lets the second of two equal names
replace the first. Its grammar has no conditional over several lines, as the compiler's formatter writes it, and no
decorators in a type: `_REPLACED` has both.
"""

from functools import cache
from pathlib import Path

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput
from pycep.main import LARK_GRAMMAR

from stage.bicep.syntax import At, BicepError, Refused

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


def statements(path: Path) -> list[Branch]:
    """What stands at the top of the file; raises BicepError where the grammar finds no sense in it."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as unreadable:
        raise BicepError(path, At(1, 1), f"the file cannot be read: {unreadable.strerror}") from unreadable
    try:
        return branches(_parser().parse(text + "\n", start="start"))
    except UnexpectedInput as unexpected:
        raise BicepError(path, _at(unexpected), _why(unexpected)) from unexpected


def expression(text: str, at: At) -> Branch:
    """The expression inside of a string that stands at `at`."""
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


@cache
def _parser() -> Lark:
    return Lark(
        _grammar(),
        parser="lalr",
        start=["start", "value_brackets"],
        propagate_positions=True,
        regex=True,
        keep_all_tokens=True,
    )


def _at(unexpected: UnexpectedInput) -> At:
    # Where the file ends too early lark gives no place, or -1.
    return At(max(unexpected.line or 1, 1), max(unexpected.column or 1, 1))


def _why(unexpected: UnexpectedInput) -> str:
    token = getattr(unexpected, "token", None)
    found = repr(str(token)) if token is not None else repr(getattr(unexpected, "char", "the end"))
    return f"the grammar of pycep does not expect {found} here"
