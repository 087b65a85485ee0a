"""What a template's types let through: definitions, nullable values, items and properties."""

from typing import Any

import pytest

from stage.platform import Rejected
from tests.bicep.worked_out import asked

WEIGHT = {
    "type": "object",
    "properties": {"name": {"type": "string", "nullable": True}, "weight": {"type": "int", "maxValue": 100}},
    "additionalProperties": False,
}
PARAMETERS = {
    "traffic": {"type": "array", "items": {"$ref": "#/definitions/weight"}, "defaultValue": []},
    "note": {"type": "string", "nullable": True},
}


def deployed(traffic: Any, **more: Any) -> list[Any]:
    template = {"definitions": {"weight": WEIGHT}, "parameters": PARAMETERS | more, "resources": {}}
    return asked(template, traffic=traffic)


def test_what_the_type_allows_is_taken() -> None:
    assert deployed([{"weight": 80, "name": "a--1"}, {"weight": 20, "name": None}, {"weight": 0}]) == []


@pytest.mark.parametrize(
    ("traffic", "why"),
    [
        ([{"weight": 80}, {"weight": 101}], "'weight' of its item 1 should be less than or equal to 100"),
        ([{"name": "a--1"}], "'weight' of its item 0 is missing"),
        ([{"weight": "80"}], "'weight' of its item 0 is not of type int"),
        ([{"weight": True}], "'weight' of its item 0 is not of type int"),
        ([{"weight": 80, "share": 1}], "its item 0 has the property 'share', and its type has only name, weight"),
        ([80], "its item 0 is not of type object"),
    ],
)
def test_what_the_type_does_not_allow_is_refused(traffic: Any, why: str) -> None:
    with pytest.raises(Rejected, match=f"the template parameter 'traffic' is not valid: {why}"):
        deployed(traffic)


def test_a_definition_that_is_not_there_and_one_that_is_itself_are_refused() -> None:
    with pytest.raises(Rejected, match="'#/definitions/share' of a type is not among the definitions"):
        deployed([], other={"$ref": "#/definitions/share"})


def test_a_secret_inside_of_a_value_is_not_said() -> None:
    key = {"type": "object", "properties": {"key": {"type": "securestring", "maxLength": 3}}}
    with pytest.raises(Rejected) as refused:
        deployed([], held=key | {"defaultValue": {"key": "hidden"}})
    assert "the provided value for the template parameter 'held'" in str(refused.value)
    assert "hidden" not in str(refused.value)
