"""The ends of replicas, put together from acts: asked, killed, gone."""

from collections.abc import Iterable
from dataclasses import replace

from clients.facts import Act, Stop

AZURE_GRACE_S = 30.0
"""terminationGracePeriodSeconds by default, for a record that does not say."""


def stops_of(acts: Iterable[Act]) -> list[Stop]:
    """In order of time. A replica that ends by itself is no stop; one that is restarted has one stop each time."""
    stops: list[Stop] = []
    latest: dict[str, int] = {}
    for act in acts:
        replica = act["replica"]
        match act.name:
            case "replica.sigterm" if replica not in latest:
                latest[replica] = len(stops)
                stops.append(
                    _stop(act, act["reason"] or "unknown", AZURE_GRACE_S if act["grace_s"] is None else act["grace_s"])
                )
            case "replica.sigkill":
                if replica not in latest:
                    latest[replica] = len(stops)
                    stops.append(_stop(act, "killed without SIGTERM", None))
                stops[latest[replica]] = replace(stops[latest[replica]], killed=act.at)
            case "replica.exited" if replica in latest:
                index = latest.pop(replica)
                stops[index] = replace(stops[index], exited=act.at, code=act["code"])
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
