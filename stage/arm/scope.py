"""What the expressions of one template may ask for: its parameters and variables, its place, what there is so far.

The value of a parameter is checked against what the template declares of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stage.arm.expressions import Call, Literal, Unfit, Unresolved, resolve
from stage.arm.resources import REGISTRY_SUFFIX, SUBSCRIPTION, TENANT, group_id, id_in, invalid
from stage.arm.roles import account_keys

_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "securestring": str,
    "int": int,
    "bool": bool,
    "object": dict,
    "secureobject": dict,
    "array": list,
}
Document = dict[str, Any]


def declarations(template: Mapping[str, Any], section: str = "parameters") -> dict[str, Any]:
    """The parameters or outputs of a template, each with its whole schema: no `$ref` is left. Raises Rejected."""
    found = template.get(section) or {}
    definitions = template.get("definitions") or {}
    return {name: _whole(about, definitions, ()) for name, about in found.items()}


def given_values(declared: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a deployment's body, by name; those left out have a default. Raises Rejected."""
    for name in values:
        if name not in declared:
            raise invalid(f"the following parameters were supplied, but do not exist in the template: '{name}'")
    found = {}
    for name, about in declared.items():
        if name in values:
            if "value" not in values[name]:
                raise invalid(f"the parameter '{name}' has no value; references to vaults are not on the stage")
            found[name] = values[name]["value"]
        elif "defaultValue" not in about and not about.get("nullable"):
            raise invalid(f"the value for the template parameter '{name}' is not provided")
    return found


def check_value(name: str, about: Mapping[str, Any], value: Any) -> Any:
    """``value``, if the declaration allows it. Raises Rejected, with no value of a secure parameter."""
    why = _fault(about, value, "it")
    if why is not None:
        shown = "provided value" if is_secure(about) else f"provided value '{value}'"
        raise invalid(f"the {shown} for the template parameter '{name}' is not valid: {why}")
    return value


def is_secure(about: Mapping[str, Any]) -> bool:
    """Whether the declaration is of a secret, or has one inside."""
    others = [about.get("items"), about.get("additionalProperties"), *(about.get("properties") or {}).values()]
    inside = any(is_secure(each) for each in others if isinstance(each, Mapping))
    return inside or str(about.get("type", "")).lower().startswith("secure")


def _whole(about: Mapping[str, Any], definitions: Mapping[str, Any], within: tuple[str, ...]) -> dict[str, Any]:
    """The schema with what its `$ref` names in its place."""
    found = dict(about)
    reference = found.pop("$ref", None)
    if reference is not None:
        name = str(reference).removeprefix("#/definitions/")
        if name not in definitions or name in within:
            raise invalid(f"'{reference}' of a type is not among the definitions of the template")
        found = {**_whole(definitions[name], definitions, (*within, name)), **found}
    for key in ("items", "additionalProperties"):
        if isinstance(found.get(key), dict):
            found[key] = _whole(found[key], definitions, within)
    if "properties" in found:
        found["properties"] = {name: _whole(inner, definitions, within) for name, inner in found["properties"].items()}
    return found


def _fault(about: Mapping[str, Any], value: Any, what: str) -> str | None:
    """Why ``value``, which the sentence calls ``what``, is not of the schema; None if it is."""
    if isinstance(value, Unresolved) or (value is None and about.get("nullable")):
        return None
    kind = str(about.get("type", "")).lower()
    if kind not in _TYPES:
        return f"{what} is of type '{about.get('type')}', which the stage does not know"
    if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "bool"):
        return f"{what} is not of type {about['type']}"
    if "allowedValues" in about and value not in about["allowedValues"]:
        return f"the allowed values are '{', '.join(map(str, about['allowedValues']))}'"
    faults: list[str | None] = []
    if isinstance(value, str | list):
        faults.append(_within(about, len(value), "minLength", "maxLength", f"the length of {what}"))
    elif isinstance(value, int) and kind == "int":
        faults.append(_within(about, value, "minValue", "maxValue", what))
    if isinstance(value, list) and "items" in about:
        faults += [_fault(about["items"], each, f"its item {at}") for at, each in enumerate(value)]
    if isinstance(value, dict):
        faults += _of_object(about, value, what)
    return next((fault for fault in faults if fault is not None), None)


def _of_object(about: Mapping[str, Any], value: Mapping[str, Any], what: str) -> list[str | None]:
    known, others = about.get("properties") or {}, about.get("additionalProperties", True)
    found: list[str | None] = []
    for name, inner in known.items():
        if name in value or not inner.get("nullable"):
            missing = name not in value
            said = f"'{name}' of {what}"
            found.append(f"{said} is missing" if missing else _fault(inner, value[name], said))
    for name in value:
        if name not in known and others is False:
            found.append(f"{what} has the property '{name}', and its type has only {', '.join(known)}")
        elif name not in known and isinstance(others, dict):
            found.append(_fault(others, value[name], f"'{name}' of {what}"))
    return found


def _within(about: Mapping[str, Any], size: int, least: str, most: str, what: str) -> str | None:
    if size < about.get(least, size):
        return f"{what} should be greater than or equal to {about[least]}"
    if size > about.get(most, size):
        return f"{what} should be less than or equal to {about[most]}"
    return None


@dataclass(frozen=True)
class Place:
    """Where a template is deployed, and what exists there."""

    group: str
    facts: Mapping[str, Any]
    """Of the group: its location and tags."""
    deployment: str
    find: Callable[[str], Document | None]
    """A resource by its id; for a what-if the planned resources exist too."""
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
            self._values["parameters", name] = check_value(name, about, value)
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
        """The reference by the resource's id: its value is known only after its deployment."""
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
        return texts([self.parameter(name) for name, about in declared.items() if is_secure(about)])

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
