"""Bicep's strings: quotes, escapes, and where the expressions inside of them begin and end."""

import re
from collections.abc import Iterator

_ESCAPE = re.compile(r"\\(u\{([0-9A-Fa-f]+)\}|.)", re.DOTALL)
_MEANINGS = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", "'": "'", "$": "$"}


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
