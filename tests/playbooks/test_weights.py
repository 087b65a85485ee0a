"""The arithmetic of a rollout, on the lists that Azure returns."""

from types import ModuleType
from typing import Any

import pytest

from tests.playbooks.conftest import filters

Now = dict[str, Any]


def revision(suffix: str, created: str, *, active: bool = True, last_active: str | None = None) -> dict[str, Any]:
    return {"name": f"app--{suffix}", "active": active, "created": created, "last_active": last_active}


@pytest.fixture(scope="module")
def rollout() -> ModuleType:
    return filters("rollout")


def app(*traffic: dict[str, Any], mode: str = "Multiple") -> dict[str, Any]:
    return {"mode": mode, "traffic": list(traffic), "latest_ready": "app--one"}


def at(suffix: str, weight: int, **more: Any) -> dict[str, Any]:
    return {"revisionName": f"app--{suffix}", "weight": weight, **more}


LATEST = {"latestRevision": True, "weight": 100}
ONE, TWO, GREEN = revision("one", "2026-01-01"), revision("two", "2026-01-02"), revision("green", "2026-01-03")


def test_latest_is_pinned_to_the_name_it_means(rollout: ModuleType) -> None:
    now: Now = rollout.standing(app(LATEST), [ONE], "app--green")
    assert now["blue"] == {"app--one": 100}
    assert rollout.weights(now, 0) == {"latest": 0, "app--one": 100}
    assert not rollout.already(now, rollout.weights(now, 0))


def test_each_of_several_blues_keeps_its_part_of_what_is_left(rollout: ModuleType) -> None:
    now: Now = rollout.standing(app(at("one", 67), at("two", 33)), [ONE, TWO], "app--green")
    for share in range(101):
        named = rollout.weights(now, share)
        assert sum(named.values()) == 100
        assert abs(named["app--one"] - (100 - share) * 0.67) < 1


def test_a_revision_at_weight_0_is_blue_without_a_label_and_somebodys_with_one(rollout: ModuleType) -> None:
    traffic = (at("green", 100), at("one", 0), at("two", 0, label="test"))
    now: Now = rollout.standing(app(*traffic), [ONE, TWO, GREEN], "app--green")
    assert now["blue"] == {"app--one": 0}
    assert now["green_weight"] == 100


def test_a_revision_outside_the_traffic_list_is_left_alone(rollout: ModuleType) -> None:
    now: Now = rollout.standing(app(at("one", 100)), [ONE, TWO], "app--green")
    assert now["blue"] == {"app--one": 100}
    assert "app--two" not in rollout.weights(now, 50)


def test_a_deactivated_revision_that_keeps_its_weight_gets_none(rollout: ModuleType) -> None:
    gone = revision("two", "2026-01-02", active=False)
    now: Now = rollout.standing(app(at("one", 50), at("two", 50)), [ONE, gone], "app--green")
    assert now["blue"] == {"app--one": 50}
    assert rollout.weights(now, 10) == {"app--one": 90, "app--two": 0, "app--green": 10}


def test_all_of_blues_share_goes_to_the_oldest_when_green_had_it_all(rollout: ModuleType) -> None:
    now: Now = rollout.standing(app(at("two", 0), at("one", 0), at("green", 100)), [ONE, TWO, GREEN], "app--green")
    assert rollout.weights(now, 0) == {"app--two": 0, "app--one": 100, "app--green": 0}


def test_the_way_back_leads_to_what_was_active_last_and_not_to_what_is_newest(rollout: ModuleType) -> None:
    stopped = [
        revision("one", "2026-01-01", active=False, last_active="2026-01-09"),
        revision("failed", "2026-01-02", active=False, last_active="2026-01-05"),
    ]
    now: Now = rollout.standing(app(at("green", 100)), [*stopped, GREEN], "app--green")
    assert now["before"] == ["app--one"]
    assert now["blue"] == {}


def test_a_newer_revision_that_was_active_last_may_be_the_way_back_and_may_have_failed(rollout: ModuleType) -> None:
    stopped = [
        revision("zero", "2025-12-31", active=False, last_active="2026-01-01"),
        revision("one", "2026-01-01", active=False, last_active="2026-01-04"),
        revision("failed", "2026-01-05", active=False, last_active="2026-01-06"),
    ]
    now: Now = rollout.standing(app(at("green", 100)), [*stopped, GREEN], "app--green")
    assert now["before"] == ["app--one", "app--failed"]


def test_what_a_hold_is_told_of_the_way_every_other_client_is_told(rollout: ModuleType) -> None:
    held_with = [
        "--talk-every",
        0,
        "--ca-file",
        "/tmp/ca.pem",
        "--insecure",
        "--connect-to=127.0.0.1:1",
        "--kinds",
        "vad",
    ]
    assert rollout.of_the_way(held_with) == ["--ca-file", "/tmp/ca.pem", "--insecure", "--connect-to=127.0.0.1:1"]
    assert rollout.of_the_way([]) == []


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({"AZURE_OPENAI_DEPLOYMENT": "voice"}, "voice"),
        ({"AZURE_OPENAI_DEPLOYMENT": "secretref:model"}, ""),
        ({}, ""),
    ],
)
def test_the_models_name_is_in_a_revisions_environment(
    rollout: ModuleType, variables: dict[str, Any], name: str
) -> None:
    assert rollout.served(variables) == name
