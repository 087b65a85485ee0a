"""What the stage's gateway makes of an Application Gateway: where its rules lead, and how quiet they let a call be.

Read are routing rules, their listeners' host names, the backend's host and timeout, and the idle timeout of the public
IP. Probes, TLS, rewrites other than X-Forwarded-Host and the firewall are not played.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

from stage.arm.resources import Asked
from stage.arm.store import Store
from stage.platform import Gateway

_DEFAULT_IDLE_MINUTES = 4
_DEFAULT_REQUEST_TIMEOUT_S = 30


def read(asked: Asked, domain: str, store: Store) -> Gateway | None:
    """The gateway that a template describes, for apps below ``domain``; None: none of its rules leads to one."""
    properties = asked.body.get("properties") or {}
    gateway = None
    passes = False
    for rule in sorted(properties.get("requestRoutingRules") or (), key=_priority):
        settings = _part(properties, rule, "backendHttpSettings", "backendHttpSettingsCollection")
        pool = _part(properties, rule, "backendAddressPool", "backendAddressPools")
        app = next((each for each in _apps(pool, domain)), None)
        if app is None:
            continue
        listener = _part(properties, rule, "httpListener", "httpListeners")
        if not settings.get("pickHostNameFromBackendAddress"):
            passes = passes or f"*.{domain}" in (listener.get("hostNames") or ())
        elif gateway is None:
            timeout_s = float(settings.get("requestTimeout", _DEFAULT_REQUEST_TIMEOUT_S))
            gateway = Gateway(app=app, request_timeout_s=timeout_s, idle_timeout_s=_idle_s(properties, store))
    return None if gateway is None else dataclasses.replace(gateway, revisions=passes)


def _apps(pool: dict[str, Any], domain: str) -> Iterator[str]:
    for each in pool.get("backendAddresses") or ():
        app, _, rest = str(each.get("fqdn")).partition(".")
        if rest == domain:
            yield app


def _part(properties: dict[str, Any], rule: dict[str, Any], field: str, collection: str) -> dict[str, Any]:
    """The properties of what a rule refers to by the last part of an id; empty when it refers to nothing."""
    named = ((rule.get("properties") or {}).get(field) or {}).get("id", "").rpartition("/")[2]
    for each in properties.get(collection) or ():
        if named and each.get("name") == named:
            return dict(each.get("properties") or {})
    return {}


def _priority(rule: dict[str, Any]) -> int:
    return int((rule.get("properties") or {}).get("priority", 0))


def _idle_s(properties: dict[str, Any], store: Store) -> float:
    for frontend in properties.get("frontendIPConfigurations") or ():
        address = ((frontend.get("properties") or {}).get("publicIPAddress") or {}).get("id", "")
        if (found := store.find(address)) is not None:
            minutes = (found.body.get("properties") or {}).get("idleTimeoutInMinutes", _DEFAULT_IDLE_MINUTES)
            return 60.0 * float(minutes)
    return 60.0 * _DEFAULT_IDLE_MINUTES
