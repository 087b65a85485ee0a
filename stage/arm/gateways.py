"""What the stage's gateway makes of an Application Gateway: where rules lead, for which networks, how long calls idle.

Read are routing rules, their paths, their listeners' host names, the path that a rewrite makes, the backend's host and
timeout, the idle timeout of the public IP, and whom the subnet's security group lets in to the port of rollouts. That
port is one of its own: a listener with host names on the callers' port is not played. Nor are probes, TLS, rewrites of
headers other than X-Forwarded-Host, and the firewall.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

from stage.arm.resources import Asked, Store
from stage.platform import Gateway

_DEFAULT_IDLE_MINUTES = 4
_DEFAULT_REQUEST_TIMEOUT_S = 30
_ANYBODY = ("0.0.0.0/0",)
Properties = dict[str, Any]


def read(asked: Asked, domain: str, store: Store) -> Gateway | None:
    """The gateway that a template describes, for apps below ``domain``; None: none of its rules leads to one."""
    properties = asked.body.get("properties") or {}
    gateway, port = None, None
    tried: dict[Any, tuple[str, ...]] = {}
    for rule in sorted(map(_of, properties.get("requestRoutingRules") or ()), key=lambda each: each.get("priority", 0)):
        by_path = _part(properties, rule, "urlPathMap", "urlPathMaps")
        way = _default(by_path) if by_path else rule
        settings = _part(properties, way, "backendHttpSettings", "backendHttpSettingsCollection")
        pool = _part(properties, way, "backendAddressPool", "backendAddressPools")
        app = next((each for each in _apps(pool, domain)), None)
        if app is None:
            continue
        listener = _part(properties, rule, "httpListener", "httpListeners")
        if not settings.get("pickHostNameFromBackendAddress"):
            names = (each.removesuffix(f".{domain}") for each in listener.get("hostNames") or ())
            tried.setdefault(_port(properties, listener), tuple(names))
        elif gateway is None:
            port = _port(properties, listener)
            gateway = Gateway(
                app=app,
                request_timeout_s=float(settings.get("requestTimeout", _DEFAULT_REQUEST_TIMEOUT_S)),
                idle_timeout_s=_idle_s(properties, store),
                paths=tuple(path for each in map(_of, by_path.get("pathRules") or ()) for path in each["paths"]),
                elsewhere=_rewritten(_part(properties, way, "rewriteRuleSet", "rewriteRuleSets")),
            )
    own = next((each for each in tried if each != port), None)
    allowed = _let_in(properties, own, store)
    return gateway and dataclasses.replace(gateway, revisions=tried.get(own, ()), rollouts=allowed)


def _default(by_path: Properties) -> Properties:
    """The default of a map of paths, in the form of a rule."""
    parts = {"defaultBackendHttpSettings", "defaultBackendAddressPool", "defaultRewriteRuleSet"}
    short = {each: each.removeprefix("default") for each in parts & set(by_path)}
    return {f"{name[0].lower()}{name[1:]}": by_path[each] for each, name in short.items()}


def _apps(pool: Properties, domain: str) -> Iterator[str]:
    for each in pool.get("backendAddresses") or ():
        app, _, rest = str(each.get("fqdn")).partition(".")
        if rest == domain:
            yield app


def _rewritten(rules: Properties) -> str | None:
    """The path by which a set of rewrites replaces every path."""
    for each in rules.get("rewriteRules") or ():
        path = ((each.get("actionSet") or {}).get("urlConfiguration") or {}).get("modifiedPath")
        if path is not None and not each.get("conditions"):
            return str(path)
    return None


def _part(properties: Properties, of: Properties, field: str, collection: str) -> Properties:
    """The properties of what a rule refers to by the last part of an id; empty when it refers to nothing."""
    named = (of.get(field) or {}).get("id", "").rpartition("/")[2]
    for each in properties.get(collection) or ():
        if named and each.get("name") == named:
            return _of(each)
    return {}


def _port(properties: Properties, listener: Properties) -> int | None:
    return _part(properties, listener, "frontendPort", "frontendPorts").get("port")


def _of(named: Any) -> Properties:
    return dict(named.get("properties") or {})


def _idle_s(properties: Properties, store: Store) -> float:
    for frontend in map(_of, properties.get("frontendIPConfigurations") or ()):
        address = (frontend.get("publicIPAddress") or {}).get("id", "")
        if (found := store.find(address)) is not None:
            minutes = (found.body.get("properties") or {}).get("idleTimeoutInMinutes", _DEFAULT_IDLE_MINUTES)
            return 60.0 * float(minutes)
    return 60.0 * _DEFAULT_IDLE_MINUTES


def _let_in(properties: Properties, port: int | None, store: Store) -> tuple[str, ...]:
    """The networks that the security group of the gateway's subnet lets in to a port; any where there is none."""
    group = next(filter(None, (_group(each, store) for each in properties.get("gatewayIPConfigurations") or ())), None)
    if group is None or port is None:
        return _ANYBODY
    found: list[str] = []
    for rule in sorted(map(_of, group.get("securityRules") or ()), key=lambda each: int(each["priority"])):
        if rule["direction"] != "Inbound" or not _covers(rule, port):
            continue
        if rule["access"] == "Deny":
            break
        found += _sources(rule)
    return tuple(found)


def _group(configuration: Any, store: Store) -> Properties | None:
    subnet = (_of(configuration).get("subnet") or {}).get("id", "")
    network = store.find(subnet.rpartition("/subnets/")[0])
    for each in (network.body.get("properties") or {}).get("subnets") or () if network else ():
        if each.get("name") == subnet.rpartition("/")[2]:
            group = store.find((_of(each).get("networkSecurityGroup") or {}).get("id", ""))
            return None if group is None else dict(group.body.get("properties") or {})
    return None


def _covers(rule: Properties, port: int) -> bool:
    ranges = [*(rule.get("destinationPortRanges") or ()), *filter(None, [rule.get("destinationPortRange")])]
    ends = [each.partition("-") for each in ranges]
    return any(first == "*" or int(first) <= port <= int(last or first) for first, _, last in ends)


def _sources(rule: Properties) -> Iterator[str]:
    """As networks; tags of services that no caller has stand for no network here."""
    given = [*(rule.get("sourceAddressPrefixes") or ()), *filter(None, [rule.get("sourceAddressPrefix")])]
    for each in given:
        if each in ("*", "Internet"):
            yield from _ANYBODY
        elif each[0].isdigit():
            yield each
