"""The language of ARM templates, as the stage reads it."""

from collections.abc import Callable
from typing import Any

import pytest

from stage.arm.expressions import references, resolve
from stage.platform import Rejected


class Names:
    """A scope that knows two parameters."""

    def contextual(self, name: str) -> Callable[..., Any] | None:
        values = {"who": "O'Hara", "shape": {"Sides": [3, 4]}}
        return values.__getitem__ if name == "parameters" else None


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("plain", "plain"),
        ("[[not an expression]", "[not an expression]"),
        ("['it''s']", "it's"),
        ("[ parameters( 'who' ) ]", "O'Hara"),
        ("[parameters('shape').sides[1]]", 4),
        ("[parameters('shape')['sides'][0]]", 3),
        ("[format('{1}-{0}{{}}', 'a', 2)]", "2-a{}"),
        ("[concat('a', 1, true())]", "a1True"),
        ("[concat(createArray(1), createArray(2))]", [1, 2]),
        ("[toLower(replace('A-B', '-', ''))]", "ab"),
        ("[split('a,b;c', createArray(',', ';'))]", ["a", "b", "c"]),
        ("[join(createArray('a', 'b'), '+')]", "a+b"),
        ("[union(createObject('a', createObject('x', 1)), json('{\"a\": {\"y\": 2}}'))]", {"a": {"x": 1, "y": 2}}),
        ("[contains(createObject('Key', 1), 'key')]", True),
        ("[empty(null())]", True),
        ("[and(startsWith('Abc', 'aB'), endsWith('abC', 'bc'))]", True),
        ("[equals(1, true())]", False),
        ("[div(-7, 2)]", -3),
        ("[min(createArray(3, 1))]", 1),
        ("[first('')]", ""),
        ("[take('abc', 2)]", "ab"),
        ("[tryGet(createObject('a', createArray(1)), 'a', 3)]", None),
        ("[coalesce(null(), 'x', nothing())]", "x"),
        # What is not chosen is not looked at.
        ("[if(false(), nothing(), 'y')]", "y"),
        ("[or(true(), nothing())]", True),
    ],
)
def test_an_expression_has_its_value(expression: str, value: Any) -> None:
    assert resolve(expression, Names()) == value


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("[pickZones('x')]", "no function 'pickZones'"),
        ("[parameters('shape').angles]", "'angles' doesn't exist, available properties are 'Sides'"),
        ("[parameters('shape').sides[2]]", "index 2 is out of an array of 2"),
        ("[concat('a']", "cannot be parsed"),
        ("[length(1)]", "length(int) does not fit"),
        ("[not('yes')]", "where a boolean must"),
    ],
)
def test_what_cannot_be_evaluated_is_named(expression: str, why: str) -> None:
    with pytest.raises(Rejected) as refusal:
        resolve({"somewhere": [expression]}, Names())
    assert expression in refusal.value.message
    assert why in refusal.value.message


def test_keys_of_objects_are_evaluated_too() -> None:
    assert resolve({"[toLower('ID')]": {}}, Names()) == {"id": {}}


def test_names_that_must_be_unique_are_the_same_each_time_and_differ_by_every_argument() -> None:
    one, again, other = (resolve(f"[uniqueString('{each}')]", Names()) for each in ("a", "a", "b"))
    assert one == again != other
    assert len(one) == 13
    assert resolve("[guid('a', 'b')]", Names()) != resolve("[guid('a', 'c')]", Names())


def test_references_are_found_in_every_branch() -> None:
    asked = {"a": "[if(true(), reference('one').id, '')]", "b": ["[reference('two', '2025-07-01', 'full')]", "text"]}
    assert references(asked) == {"one", "two"}
