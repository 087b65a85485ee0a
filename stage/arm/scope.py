"""What the expressions of one template may ask for: its parameters and variables, its place, what there is so far."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stage.arm import parameters
from stage.arm.expressions import resolve
from stage.arm.functions import Unfit
from stage.arm.ids import REGISTRY_SUFFIX, SUBSCRIPTION, TENANT, group_id
from stage.arm.outside import account_keys
from stage.arm.resources import id_in
from stage.arm.syntax import Call, Literal, Unresolved

Document = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Where a template is deployed, and who can be asked for what is there."""

    group: str
    facts: Mapping[str, Any]
    """Of the group: its location and tags."""
    deployment: str
    find: Callable[[str], Document | None]
    """A resource by its id; what a what-if has only thought of is there for it."""
    deploys: bool = True
    """Whether what is deployed can be asked for by `reference()`. A what-if and a validation leave it as it is."""


@dataclass
class Scope:
    """Parameters and variables get their values when they are first asked for."""

    place: Place
    template: Mapping[str, Any]
    given: Mapping[str, Any] = field(repr=False)
    deployed: dict[str, Document] = field(default_factory=dict)
    """What each resource is now, by its symbolic name, or by its id in small letters where the template has a list."""
    existing: dict[str, str] = field(default_factory=dict)
    """The ids of those that the template only names."""
    _values: dict[tuple[str, str], Any] = field(default_factory=dict, repr=False)

    def contextual(self, name: str) -> Callable[..., Any] | None:
        """The function of that name, in small letters, which only a deployment can answer."""
        known: dict[str, Callable[..., Any]] = {
            "parameters": self.parameter,
            "variables": self.variable,
            "reference": self.reference,
            "listkeys": self._list_keys,
            "resourceid": self._resource_id,
            "subscriptionresourceid": self._subscription_resource_id,
            "extensionresourceid": _extension_resource_id,
            "resourcegroup": self._group,
            "subscription": _subscription,
            "tenant": lambda: {"tenantId": TENANT},
            "deployment": lambda: {"name": self.place.deployment},
            "environment": _environment,
        }
        return known.get(name)

    def parameter(self, name: str) -> Any:
        """Its value, checked. Raises Unfit when there is no such parameter, Rejected when the value is not allowed."""
        about = self._declared("parameters", name)
        if ("parameters", name) not in self._values:
            value = self.given[name] if name in self.given else resolve(about.get("defaultValue"), self)
            self._values["parameters", name] = parameters.check(name, about, value)
        return self._values["parameters", name]

    def variable(self, name: str) -> Any:
        """Its value. Raises Unfit when there is no such variable."""
        if ("variables", name) not in self._values:
            self._values["variables", name] = resolve(self._declared("variables", name), self)
        return self._values["variables", name]

    def reference(self, name: str, version: str = "", full: str = "") -> Any:
        """The properties of a resource of the template or of an id, or all of it. Raises Unfit when there is none."""
        found = self.deployed.get(name) or self.deployed.get(name.lower())
        if not self.place.deploys and (found is None or "id" in found):
            return self._later(name, found, version, full)
        if found is None:
            found = self.place.find(self.existing.get(name, name))
        if found is None:
            raise Unfit(f"the resource '{name}' is not there")
        return found if full.lower() == "full" else found.get("properties", {})

    def _later(self, name: str, found: Document | None, version: str, full: str) -> Unresolved:
        """The reference by the resource's id: what it is will be known when it is there."""
        resource = self.existing.get(name, name) if found is None else str(found["id"])
        if not resource.startswith("/"):
            raise Unfit(f"the resource '{name}' is not there")
        declared = self.template.get("resources")
        of_symbol = declared.get(name, {}).get("apiVersion", "") if isinstance(declared, dict) else ""
        words = (resource, version or of_symbol, *([full] if full else []))
        return Unresolved(Call("reference", tuple(map(Literal, words))))

    def secrets(self) -> set[str]:
        """Every text in the values of secure parameters."""
        declared = self.template.get("parameters") or {}
        return texts([self.parameter(name) for name, about in declared.items() if parameters.secure(about)])

    def _declared(self, what: str, name: str) -> Any:
        declared: Mapping[str, Any] = self.template.get(what) or {}
        if name not in declared:
            raise Unfit(f"the template has no {what[:-1]} '{name}'")
        return declared[name]

    def _list_keys(self, account: str, version: str) -> Any:
        if self.place.find(account) is None:
            raise Unfit(f"the resource '{account}' is not there")
        return account_keys(account)

    def _resource_id(self, *words: str) -> str:
        kind = next(at for at, word in enumerate(words) if "/" in word)
        group = words[kind - 1] if kind else self.place.group
        return id_in(group_id(group), words[kind], "/".join(words[kind + 1 :]))

    def _subscription_resource_id(self, *words: str) -> str:
        kind = next(at for at, word in enumerate(words) if "/" in word)
        return id_in(f"/subscriptions/{SUBSCRIPTION}", words[kind], "/".join(words[kind + 1 :]))

    def _group(self) -> Document:
        return {
            "id": group_id(self.place.group),
            "name": self.place.group,
            "type": "Microsoft.Resources/resourceGroups",
            **self.place.facts,
        }


def texts(value: Any) -> set[str]:
    """Every text in a value that is not empty."""
    if isinstance(value, str):
        return {value} - {""}
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set().union(*map(texts, inner))


def masked(value: Any, secrets: set[str]) -> Any:
    """A copy of ``value`` in which no text holds a secret."""
    if isinstance(value, dict):
        return {name: masked(inner, secrets) for name, inner in value.items()}
    if isinstance(value, list):
        return [masked(inner, secrets) for inner in value]
    return "*******" if isinstance(value, str) and any(each in value for each in secrets) else value


def _extension_resource_id(scope: str, kind: str, *names: str) -> str:
    return id_in(scope, kind, "/".join(names))


def _subscription() -> Document:
    return {
        "id": f"/subscriptions/{SUBSCRIPTION}",
        "subscriptionId": SUBSCRIPTION,
        "tenantId": TENANT,
        "displayName": "rehearsal",
    }


def _environment() -> Document:
    return {
        "name": "Rehearsal",
        "suffixes": {"acrLoginServer": REGISTRY_SUFFIX, "keyvaultDns": ".vault.localhost"},
        "authentication": {"tenant": TENANT},
    }
