"""The times on the way of a call fit into each other, and the pair that does not is named."""

import shutil
from pathlib import Path

import pytest

from tests.bicep.budget import broken_rungs
from tests.bicep.conftest import BICEP, Broken

PLAYBOOKS = BICEP.parent / "playbooks"
APP, GATEWAY = "modules/app.bicep", "modules/gateway.bicep"
DRAIN = "string(terminationGracePeriodSeconds - 5)"

UNFIT = {
    "heartbeat, ingress": (
        APP,
        "value: '25'",
        "value: '120'",
        "2 times the heartbeat (120 s, RTPROXY_HEARTBEAT_SECONDS in modules/app.bicep)"
        " must be less than the ingress's idle timeout (240 s, of Container Apps)",
    ),
    "drain, grace period": (
        APP,
        DRAIN,
        "string(terminationGracePeriodSeconds - 2)",
        "the drain (28 s, RTPROXY_DRAIN_SECONDS in modules/app.bicep) and 3 s more"
        " must be at most the grace period (30 s, modules/app.bicep)",
    ),
    "drain, longest grace period": (
        APP,
        DRAIN,
        "string(terminationGracePeriodSeconds == 600 ? 600 : terminationGracePeriodSeconds - 5)",
        "the drain (600 s, RTPROXY_DRAIN_SECONDS in modules/app.bicep) and 3 s more"
        " must be at most the grace period (600 s, modules/app.bicep)",
    ),
    "relay's own drain, default grace period": (
        "main.bicep",
        "param terminationGracePeriodSeconds int = 30",
        "param terminationGracePeriodSeconds int = 27",
        "the relay's own drain (25 s, rtproxy/settings.py) and 3 s more"
        " must be at most the default grace period (27 s, main.bicep)",
    ),
    "default grace period, stop_timeout": (
        "main.bicep",
        "param terminationGracePeriodSeconds int = 30",
        "param terminationGracePeriodSeconds int = 120",
        "the default grace period (120 s, main.bicep)"
        " must be less than the plays' stop_timeout (120 s, playbooks/group_vars/all.yml)",
    ),
    "readiness, lame time": (
        APP,
        "periodSeconds: 1\n              timeoutSeconds: 3\n              failureThreshold: 2",
        "periodSeconds: 5\n              timeoutSeconds: 3\n              failureThreshold: 2",
        "the readiness's failure (10 s, probes in modules/app.bicep)"
        " must be less than the relay's lame time (3 s, rtproxy/call/drain.py, drain of 25 s)",
    ),
    "readiness, lame time of the shortest grace period": (
        "main.bicep",
        "@minValue(15)\n@maxValue(600)",
        "@minValue(10)\n@maxValue(600)",
        "the readiness's failure (2 s, probes in modules/app.bicep)"
        " must be less than the relay's lame time (1.25 s, rtproxy/call/drain.py, drain of 5 s)",
    ),
    "longest session, gateway's drain": (
        GATEWAY,
        "drainTimeoutInSec: 3600",
        "drainTimeoutInSec: 60",
        "the model's longest session (3600 s, of gpt-realtime)"
        " must be at most the gateway's drain (60 s, modules/gateway.bicep)",
    ),
    "longest session, no drain at all": (
        GATEWAY,
        "enabled: true\n  drainTimeoutInSec",
        "enabled: false\n  drainTimeoutInSec",
        "the model's longest session (3600 s, of gpt-realtime)"
        " must be at most the gateway's drain (30 s, modules/gateway.bicep)",
    ),
    "longest session, request timeout": (
        GATEWAY,
        "var requestTimeout = 3900",
        "var requestTimeout = 3600",
        "the model's longest session (3600 s, of gpt-realtime)"
        " must be less than the gateway's request timeout (3600 s, modules/gateway.bicep)",
    ),
    "startup, ready_timeout": (
        APP,
        "failureThreshold: 10",
        "failureThreshold: 300",
        "the startup's failure (300 s, probes in modules/app.bicep)"
        " must be less than the plays' ready_timeout (300 s, playbooks/group_vars/all.yml)",
    ),
}


def test_every_time_fits_into_the_next(bicep: Path) -> None:
    assert broken_rungs(bicep, PLAYBOOKS) == []


@pytest.mark.parametrize("pair", UNFIT)
def test_the_pair_that_does_not_fit_is_named(broken: Broken, pair: str) -> None:
    file, old, new, sentence = UNFIT[pair]
    assert broken_rungs(broken(file, old, new), PLAYBOOKS) == [sentence]


def test_a_heartbeat_slower_than_the_gateway_breaks_with_the_gateway(broken: Broken) -> None:
    """A request timeout of the usual 30 s ends quiet calls, long before the longest session."""
    assert broken_rungs(broken(GATEWAY, "var requestTimeout = 3900", "var requestTimeout = 30"), PLAYBOOKS) == [
        "2 times the heartbeat (25 s, RTPROXY_HEARTBEAT_SECONDS in modules/app.bicep)"
        " must be less than the gateway's request timeout (30 s, modules/gateway.bicep)",
        "the model's longest session (3600 s, of gpt-realtime)"
        " must be less than the gateway's request timeout (30 s, modules/gateway.bicep)",
    ]


def test_a_heartbeat_slower_than_every_silence_allowed_breaks_with_each(broken: Broken) -> None:
    said = "2 times the heartbeat (900 s, RTPROXY_HEARTBEAT_SECONDS in modules/app.bicep) must be less than the"
    assert broken_rungs(broken(APP, "value: '25'", "value: '900'"), PLAYBOOKS) == [
        f"{said} ingress's idle timeout (240 s, of Container Apps)",
        f"{said} public address's idle timeout (1800 s, modules/address.bicep)",
    ]


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "stop_timeout: 120\n",
            "stop_timeout: 30\n",
            "the default grace period (30 s, main.bicep)"
            " must be less than the plays' stop_timeout (30 s, playbooks/group_vars/all.yml)",
        ),
        (
            "task_timeout: 900\n",
            "task_timeout: 300\n",
            "the plays' ready_timeout (300 s, playbooks/group_vars/all.yml)"
            " must be less than the plays' task_timeout (300 s, playbooks/group_vars/all.yml)",
        ),
    ],
)
def test_a_play_that_gives_up_too_early_is_named(
    bicep: Path, tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    plays = shutil.copytree(PLAYBOOKS, tmp_path / "playbooks")
    said = plays / "group_vars" / "all.yml"
    assert old in said.read_text()
    said.write_text(said.read_text().replace(old, new))
    assert broken_rungs(bicep, plays) == [sentence]
