"""The ends of replicas, put together from acts: asked, killed, gone."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from clients.facts import Act, Stop

AZURE_GRACE_S = 30.0
"""terminationGracePeriodSeconds by default, for a record that does not say."""
KILLED_CODES = (137, -9)
"""Of a process that SIGKILL ended, as a platform says it and as Python does."""


def stops_of(acts: Iterable[Act], deployed: Mapping[str, float] | None = None) -> list[Stop]:
    """In order of time. A replica that ends by itself is no stop; one that is restarted has one stop each time.

    `deployed` has grace periods by revision, for acts that do not say.
    """
    stops: list[Stop] = []
    latest: dict[str, int] = {}
    for act in acts:
        replica = act["replica"]
        match act.name:
            case "replica.sigterm" if replica not in latest:
                latest[replica] = len(stops)
                told = (deployed or {}).get(act["revision"]) if act["grace_s"] is None else act["grace_s"]
                asked = _stop(act, act["reason"] or "unknown", AZURE_GRACE_S if told is None else told)
                stops.append(replace(asked, grace_assumed=told is None))
            case "replica.sigkill":
                if replica not in latest:
                    latest[replica] = len(stops)
                    stops.append(_stop(act, "killed without SIGTERM", None))
                stops[latest[replica]] = replace(stops[latest[replica]], killed=act.at)
            case "replica.exited" if replica in latest:
                index = latest.pop(replica)
                killed = stops[index].killed or (act.at if act["code"] in KILLED_CODES else None)
                stops[index] = replace(stops[index], exited=act.at, code=act["code"], killed=killed)
    return stops


def _stop(act: Act, reason: str, grace_s: float | None) -> Stop:
    return Stop(
        replica=act["replica"],
        revision=act["revision"] or "unknown",
        reason=reason,
        asked=act.at,
        grace_s=grace_s,
        killed=None,
        exited=None,
        code=None,
    )
