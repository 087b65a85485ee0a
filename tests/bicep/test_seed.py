"""The app of a rehearsal is the app of Azure: what is rehearsed on the stage is what is deployed."""

from functools import cache
from typing import Any

import pytest

from stage.arm.resources import APPS
from stage.bicep import compile
from stage.seed import Seed, properties
from tests.bicep.conftest import BICEP
from tests.bicep.ladder import environment
from tests.bicep.worked_out import Sent, sent

SAME = [
    ("configuration", "activeRevisionsMode"),
    ("configuration", "ingress", "external"),
    ("configuration", "ingress", "targetPort"),
    ("configuration", "ingress", "transport"),
    ("configuration", "ingress", "traffic"),
    ("configuration", "ingress", "stickySessions"),
    ("template", "terminationGracePeriodSeconds"),
    ("template", "containers", 0, "name"),
    ("template", "containers", 0, "resources"),
    ("template", "containers", 0, "probes"),
    ("template", "scale", "minReplicas"),
    ("template", "scale", "cooldownPeriod"),
    ("template", "scale", "pollingInterval"),
    ("template", "scale", "rules", 0, "http"),
]


@cache
def _deployed(**parameters: str) -> Sent:
    return sent(compile(BICEP / "main.bicep"), prefix="rtproxy", containerImage="any", **parameters)


def _azure(**parameters: str) -> Any:
    return _deployed(**parameters)[APPS]


def _stage(seed: Seed) -> Any:
    return properties(seed, image="any", model_url="http://127.0.0.1:1", model_key="any", client_key="any")


def _at(found: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        found = found[step]
    return found


@pytest.mark.parametrize("path", SAME, ids=lambda path: ".".join(map(str, path)))
def test_stage_and_azure_agree(path: tuple[str | int, ...]) -> None:
    assert _at(_stage(Seed()), path) == _at(_azure(), path)


def test_single_mode_is_sticky_on_both() -> None:
    azure, stage = _azure(activeRevisionsMode="Single"), _stage(Seed(mode="Single", affinity="sticky"))
    for path in (("configuration", "activeRevisionsMode"), ("configuration", "ingress", "stickySessions")):
        assert _at(azure, path) == _at(stage, path)
    assert "traffic" not in azure["configuration"]["ingress"], "Single mode takes no weights"


@pytest.mark.parametrize("variable", ["RTPROXY_DRAIN_SECONDS", "RTPROXY_HEARTBEAT_SECONDS"])
def test_the_relay_is_told_the_same_times(variable: str) -> None:
    [container] = _stage(Seed())["template"]["containers"]
    stage = {each["name"]: each.get("value") for each in container["env"]}
    assert stage[variable] == environment(_deployed())[variable]
