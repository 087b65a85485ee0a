"""A second deployment of the template, planned as Azure plans it: `reference()` is left open, and nothing differs."""

from pathlib import Path
from typing import Any

import pytest

from stage.arm import deployments
from stage.bicep import compile
from tests.bicep.listed import listed
from tests.bicep.test_bodies import CERTIFICATE, GIVEN
from tests.bicep.test_snapshots import planned
from tests.bicep.worked_out import asked
from tests.playbooks.conftest import filters

SETS: dict[str, dict[str, Any]] = {
    "defaults": {"identityClientId": "known", "publicIpAddress": "192.0.2.9"},
    "with TLS": {"identityClientId": "known", **CERTIFICATE},
    "with a public address": {"identityClientId": "known", "publicIpAddress": "192.0.2.9", "internal": False},
}


@pytest.mark.parametrize("form", [dict, listed])
@pytest.mark.parametrize("parameters", SETS)
def test_what_stands_is_no_difference_to_the_play(bicep: Path, parameters: str, form: Any) -> None:
    template, play = form(compile(bicep / "main.bicep")), filters("deployment")
    given = GIVEN | SETS[parameters]
    stands = {each.id: each.body for each in asked(template, **given)}
    plan = planned(template, given, "any", "anywhere")
    changes = [deployments.change(each.id, stands[each.id], each.body) for each in plan.asked.values()]
    told = [
        {"id": each["resourceId"], "kind": each["changeType"], "delta": each["delta"]}
        for each in changes
        if each["changeType"] != "NoChange"
    ]
    assert told, "something of the template asks for what is known after a deployment only"
    assert play.changes(told) == []
    assert not play.differs(told, GIVEN["prefix"])
