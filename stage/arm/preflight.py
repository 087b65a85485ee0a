"""What a resource provider refuses of a template before anything is deployed."""

from collections.abc import Iterator
from typing import Any

from stage.arm.expressions import is_expression
from stage.arm.syntax import Access, Call, Node, parse
from stage.platform import Rejected

# Of apps and environments, what is a list or an object. Of the environment variables of a container the names do not
# matter here: their list does.
_WHOLE = {"configuration", "containers", "customDomains", "dapr", "env", "identitySettings", "ingress"}
_WHOLE |= {"initContainers", "ipSecurityRestrictions", "probes", "registries", "resources", "rules", "scale", "secrets"}
_WHOLE |= {"stickySessions", "template", "traffic", "volumeMounts", "volumes", "workloadProfiles"}
_WHOLE |= {"appLogsConfiguration", "vnetConfiguration"}


def check(resource: dict[str, Any]) -> None:
    """Raises Rejected for a resource of Microsoft.App in which a list or an object is one expression with reference().

    It is not worked out by then, and the provider takes it for a text (azure-container-apps #391).
    """
    if not str(resource.get("type")).lower().startswith("microsoft.app/"):
        return
    for path in _paths(resource.get("properties"), "properties"):
        what = f"The request body of '{resource.get('type')}' has an invalid schema: '{path}' is a string."
        raise Rejected("ContainerAppInvalidSchema", what)


def _paths(value: Any, at: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _paths(inner, f"{at}.{name}")
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _paths(inner, f"{at}[{place}]")
    elif is_expression(value) and at.rpartition(".")[2] in _WHOLE and _asks(parse(value)):
        yield at


def _asks(node: Node) -> bool:
    match node:
        case Call(name, arguments):
            return name.lower() == "reference" or any(map(_asks, arguments))
        case Access(target, key):
            return _asks(target) or _asks(key)
    return False
