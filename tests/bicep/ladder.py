"""Every time on the way of a call, in seconds, read where it is set."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from rtproxy.call.drain import LAME_S, LAME_SHARE
from rtproxy.settings import load
from stage.arm.resources import APPS, GATEWAYS
from stage.bicep import compile
from stage.gpt.options import Options
from stage.platform.unverified import Unverified
from tests.bicep.worked_out import Sent, sent

UNDRAINED_S = 30
"""What a gateway without connection draining gives."""


@dataclass(frozen=True)
class Time:
    seconds: float
    where: str


Ladder: TypeAlias = Mapping[str, Time]


def ladders(bicep: Path, playbooks: Path) -> Iterator[Ladder]:
    """With the grace period by default, then the least and the most that the template takes."""
    template = compile(bicep / "main.bicep")
    grace = template["parameters"]["terminationGracePeriodSeconds"]
    elsewhere = _relay() | _plays(playbooks) | _platform()
    elsewhere["default grace period"] = Time(grace["defaultValue"], "main.bicep")
    for seconds in (grace["defaultValue"], grace["minValue"], grace["maxValue"]):
        deployed = sent(template, prefix="rtproxy", containerImage="any", terminationGracePeriodSeconds=seconds)
        yield elsewhere | _replica(deployed) | _door(deployed)


def environment(deployed: Sent) -> dict[str, str]:
    """The variables of the relay that are not secrets."""
    [container] = deployed[APPS]["template"]["containers"]
    return {each["name"]: each["value"] for each in container["env"] if "value" in each}


def _replica(deployed: Sent) -> dict[str, Time]:
    app, environ, where = deployed[APPS], environment(deployed), "modules/app.bicep"
    drain_s = float(environ["RTPROXY_DRAIN_SECONDS"])
    [container] = app["template"]["containers"]
    failing = {probe["type"]: probe["periodSeconds"] * probe["failureThreshold"] for probe in container["probes"]}
    return {
        "heartbeat": Time(float(environ["RTPROXY_HEARTBEAT_SECONDS"]), f"RTPROXY_HEARTBEAT_SECONDS in {where}"),
        "drain": Time(drain_s, f"RTPROXY_DRAIN_SECONDS in {where}"),
        "grace period": Time(app["template"]["terminationGracePeriodSeconds"], where),
        "relay's lame time": Time(min(LAME_S, drain_s * LAME_SHARE), f"rtproxy/call/drain.py, drain of {drain_s:g} s"),
        "readiness's failure": Time(failing["Readiness"], f"probes in {where}"),
        "startup's failure": Time(failing["Startup"], f"probes in {where}"),
    }


def _door(deployed: Sent) -> dict[str, Time]:
    address = deployed["Microsoft.Network/publicIPAddresses"]
    backends = [each["properties"] for each in deployed[GATEWAYS]["backendHttpSettingsCollection"]]
    # The shortest of all the ways through it.
    drain_s = min(_drain_s(backend["connectionDraining"]) for backend in backends)
    return {
        "public address's idle timeout": Time(address["idleTimeoutInMinutes"] * 60, "modules/address.bicep"),
        "gateway's request timeout": Time(min(each["requestTimeout"] for each in backends), "modules/gateway.bicep"),
        "gateway's drain": Time(drain_s, "modules/gateway.bicep"),
    }


def _drain_s(draining: Any) -> float:
    return float(draining["drainTimeoutInSec"] if draining["enabled"] else UNDRAINED_S)


def _relay() -> dict[str, Time]:
    settings = load(
        {
            "AZURE_OPENAI_ENDPOINT": "https://any.openai.azure.com",
            "AZURE_OPENAI_DEPLOYMENT": "any",
            "RTPROXY_ALLOW_ANONYMOUS": "true",
        }
    )
    return {
        "relay's own heartbeat": Time(settings.heartbeat_s, "rtproxy/settings.py"),
        "relay's own drain": Time(settings.drain_s, "rtproxy/settings.py"),
    }


def _plays(playbooks: Path) -> dict[str, Time]:
    said = yaml.safe_load((playbooks / "group_vars" / "all.yml").read_text())
    names = ("ready_timeout", "stop_timeout", "task_timeout")
    return {f"plays' {name}": Time(said[name], "playbooks/group_vars/all.yml") for name in names}


def _platform() -> dict[str, Time]:
    return {
        "ingress's idle timeout": Time(Unverified().ingress_idle_timeout_s, "of Container Apps"),
        "model's longest session": Time(Options.session_seconds, "of gpt-realtime"),
    }
