"""With seven sets of parameters the stage plans what Azure's deployment engine plans.

A snapshot is of subscription 11111111-..., and leaves every secure parameter that is given as it is, as it leaves
`reference()`.
"""

import asyncio
import json
from typing import Any

import pytest

from stage.arm import scope, template
from stage.arm.expressions import Call, Literal, Unresolved, shown
from stage.arm.resources import Asked
from stage.arm.scope import Document, Place, Scope, is_secure
from tests.bicep.test_compiler import COMPILER, SETS, read

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
IN_THE_BODY = {"id", "type", "name", "apiVersion"}
# Which module makes resources whose names are known at run time only.
LEFT_OUT = {"Microsoft.Authorization/roleAssignments": "vault", "Microsoft.Network/privateDnsZones": "dns"}
_parameter = Scope.parameter


class Plan:
    """A visitor of a group in which there is nothing, and nothing is made."""

    def __init__(self, location: str) -> None:
        self.location = location
        self.asked: dict[str, Asked] = {}
        self.left_out: list[str] = []
        self.outputs: Document = {}

    def check(self, written: Document) -> None: ...

    async def resource(self, asked: Asked) -> Document:
        self.asked[asked.id] = asked
        return {"id": asked.id}

    def place(self, group: str, deployment: str) -> Place:
        return Place(group, {"location": self.location}, deployment, lambda _: None, deploys=False)

    def begun(self, scope: Scope) -> None: ...

    def skipped(self, deployment: str) -> None:
        self.left_out.append(deployment.rpartition("-")[2])

    def ended(self, scope: Scope, outputs: Document) -> None:
        self.outputs = outputs


@pytest.fixture
def planning(monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden(self: Scope, name: str) -> Any:
        """The engine does not tell which of a chain of secure parameters it names."""
        if name in self.given and is_secure(self.template["parameters"][name]):
            return Unresolved(Call("parameters", (Literal({"openAiApiKey": "modelKey"}.get(name, name)),)))
        return _parameter(self, name)

    monkeypatch.setattr(scope, "SUBSCRIPTION", SUBSCRIPTION)
    monkeypatch.setattr("stage.arm.resources.SUBSCRIPTION", SUBSCRIPTION)
    monkeypatch.setattr(Scope, "parameter", hidden)


def planned(compiled: Document, given: dict[str, Any], group: str = "rg1", location: str = "swedencentral") -> Plan:
    plan = Plan(location)
    values = {name: {"value": value} for name, value in given.items()}
    asyncio.run(template.deploy({"template": compiled, "parameters": values}, group, "any", plan))
    return plan


@pytest.mark.usefixtures("planning")
@pytest.mark.parametrize("compiled", ["main.json", "main.symbolic.json"])
@pytest.mark.parametrize("name", SETS)
def test_the_stage_plans_what_the_engine_plans(compiled: str, name: str) -> None:
    plan = planned(read(compiled), read(f"snapshots/{name}.parameters.json"))
    text = (COMPILER / f"snapshots/{name}.snapshot.json").read_text()
    snapshot = json.loads(text.replace("parameters('openAiApiKey')", "parameters('modelKey')"))
    known = {each["id"]: each for each in snapshot["predictedResources"] if not each["id"].startswith("[")}
    open_ = [each["type"] for each in snapshot["predictedResources"] if each["id"].startswith("[")]
    wanted = {at: {key: value for key, value in each.items() if key not in IN_THE_BODY} for at, each in known.items()}
    assert {at: each.body for at, each in plan.asked.items()} == wanted
    assert sorted(plan.left_out) == sorted({LEFT_OUT[kind] for kind in open_ if kind in LEFT_OUT})
    assert {key: shown(each["value"]) for key, each in plan.outputs.items()} == snapshot["outputs"]
