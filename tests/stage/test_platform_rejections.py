"""What the platform refuses, before anything changed, and that it says why."""

import copy
from typing import Any

import pytest

from stage.platform import Rejected
from tests.stage.apps import NAME, StageFactory, properties, share

BLUE, GREEN = f"{NAME}--blue", f"{NAME}--green"


def template(**change: Any) -> dict[str, Any]:
    changed = properties("green")
    changed["template"] |= change
    return changed


def container(**change: Any) -> dict[str, Any]:
    changed = properties("green")
    changed["template"]["containers"][0] |= change
    return changed


REFUSED = {
    "no container": (template(containers=[]), "exactly one container"),
    "no image": (container(image=""), "an image is required"),
    "upper-case suffix": (template(revisionSuffix="Green"), "'Green' is not a suffix"),
    "double dash": (template(revisionSuffix="a--b"), "'a--b' is not a suffix"),
    "too long": (template(revisionSuffix="a" * (53 - len(NAME))), "at most 54 characters"),
    "taken suffix": (properties("old", env={"RTPROXY_MAX_SESSIONS": "9"}), "suffix 'old' already exists"),
    "missing secret": (properties("green", secret="absent"), "SecretRef 'absent'"),
    "secret without value": (
        {**properties("green"), "configuration": {"secrets": [{"name": "model-key"}]}},
        "Invalid secret 'model-key': value or keyVaultUrl and identity",
    ),
    "weights of 90": (properties(traffic=share(blue=90)), "the weights total 90; accepted: 100"),
    "unknown revision": (properties(traffic=share(red=100)), f"'{NAME}--red' does not exist"),
    "weight as text": (properties(traffic=[{"revisionName": BLUE, "weight": "100"}]), "weight '100'"),
    "label twice": (
        properties(traffic=[{"revisionName": n, "weight": 50, "label": "l"} for n in (BLUE, f"{NAME}--old")]),
        "label 'l' is on 2 entries",
    ),
    "bad label": (properties(traffic=[{"revisionName": BLUE, "weight": 100, "label": "1st"}]), "label '1st'"),
    "labels mode": (properties(mode="Labels"), "accepted here: Single, Multiple"),
    "weights in Single mode": (properties(mode="Single", traffic=share(old=50, blue=50)), "Single revision mode"),
    "an address that nobody has": (
        {**properties("blue"), "configuration": {"ingress": {"ipSecurityRestrictions": [{"ipAddressRange": "/32"}]}}},
        "'/32' is no range of IPv4",
    ),
    "affinity": (properties(affinity="always"), "accepted: sticky, none"),
    "more than the maximum": (properties("green", scale={"minReplicas": 9}), "minReplicas 9 is more than"),
    "grace": (properties("green", grace=-1), "terminationGracePeriodSeconds"),
    "a rule that is not HTTP": (properties("green", scale={"rules": [{"name": "queue", "custom": {}}]}), "'queue'"),
    "concurrentRequests": (
        properties("green", scale={"rules": [{"name": "r", "http": {"metadata": {"concurrentRequests": "0"}}}]}),
        "concurrentRequests",
    ),
    "probe type": (container(probes=[{"type": "Live", "tcpSocket": {}}]), "accepted: Startup, Liveness, Readiness"),
    "probe action": (container(probes=[{"type": "Liveness"}]), "needs either httpGet or tcpSocket"),
    "probe period": (container(probes=[{"type": "Liveness", "tcpSocket": {}, "periodSeconds": 0}]), "periodSeconds"),
    "two of a type": (container(probes=[{"type": "Liveness", "tcpSocket": {}}] * 2), "2 liveness probes"),
    "an image that is not there": (properties("green", image="rehearsal.azurecr.io/rtproxy:no"), "MANIFEST_UNKNOWN"),
}


async def test_a_refused_change_names_its_cause_and_changes_nothing(stage_for: StageFactory) -> None:
    stage = await stage_for(pull=lambda image: not image.endswith(":no"))
    app = await stage.app("old", scale={"maxReplicas": 2})
    await app.update(properties("blue", traffic=share(old=100, blue=0)))
    await stage.settled(app)
    before = copy.deepcopy(app.properties), list(app.revisions), app.traffic, list(stage.timeline.acts)
    for case, (asked, message) in REFUSED.items():
        with pytest.raises(Rejected) as refused:
            await app.update(asked)
        assert message in refused.value.message, case
        assert (refused.value.status, bool(refused.value.code)) == (400, True), case
    assert before == (app.properties, list(app.revisions), app.traffic, stage.timeline.acts)
    assert await stage.revision() == f"{NAME}--old"


async def test_a_secret_in_use_cannot_be_taken_away(stage_for: StageFactory) -> None:
    stage = await stage_for()
    app = await stage.app()
    changed = properties()
    changed["configuration"]["secrets"] = []
    with pytest.raises(Rejected, match="SecretRef 'model-key'"):
        await app.update(changed)


async def test_unknown_names_are_not_found_and_a_bad_one_makes_no_app(stage_for: StageFactory) -> None:
    stage = await stage_for()
    app = await stage.app()
    for act in (app.activate, app.deactivate, app.restart):
        with pytest.raises(Rejected, match="was not found") as refused:
            await act("rtproxy--red")
        assert refused.value.status == 404
    with pytest.raises(Rejected, match="app 'other' was not found"):
        await stage.environment.delete("other")
    with pytest.raises(Rejected, match="'Other' is not a name of an app"):
        await stage.environment.put("Other", properties())
    with pytest.raises(Rejected, match="exactly one container"):
        await stage.environment.put("other", {"template": {}})
    assert list(stage.environment.apps) == [NAME]


async def test_single_mode_refuses_to_activate_and_takes_over_from_multiple_mode(stage_for: StageFactory) -> None:
    stage = await stage_for()
    app = await stage.app(traffic=share(blue=100))
    await app.update(properties("green", traffic=share(blue=100, green=0)))
    await stage.settled(app)
    left_over = copy.deepcopy(app.properties)
    left_over["configuration"]["activeRevisionsMode"] = "Single"
    await app.update(left_over)
    assert app.traffic == [{"latestRevision": True, "weight": 100}]
    assert await stage.revision() == GREEN
    await stage.until("revision.deactivated", revision=BLUE)
    with pytest.raises(Rejected, match="Single revision mode"):
        await app.activate(BLUE)


async def test_sticky_sessions_in_multiple_mode_are_refused_where_that_is_what_azure_does(
    stage_for: StageFactory,
) -> None:
    stage = await stage_for(sticky_in_multiple_mode_is_rejected=True)
    with pytest.raises(Rejected, match="sticky sessions need Single revision mode"):
        await stage.environment.put(NAME, properties(affinity="sticky"))
