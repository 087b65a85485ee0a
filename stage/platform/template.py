"""A revision's template with its probes, read once. Every rule that Azure has for it is checked here, nowhere else."""

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from stage.platform.host import Rejected

Kind = Literal["startup", "liveness", "readiness"]
_KINDS: Mapping[str, Kind] = {"startup": "startup", "liveness": "liveness", "readiness": "readiness"}
# The schema's. The documented defaults of up to 240 failures are Azure's own: a template could not ask for them.
_LIMITS = {
    "initialDelaySeconds": (0, 60),
    "periodSeconds": (1, 240),
    "timeoutSeconds": (1, 240),
    "failureThreshold": (1, 10),
    "successThreshold": (1, 10),
}
_SUFFIX = re.compile(r"[a-z0-9](?!.*--)([-a-z0-9]*[a-z0-9])?")
_REVISION_CHARACTERS = 54
"""Of APP--SUFFIX: the service refuses more, although a DNS label has room for 63."""
_DEFAULT_CONCURRENT_REQUESTS = 10
Secrets = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One probe. Ports are not read: a replica of the stage has one, whatever port its template names."""

    kind: Kind
    path: str | None = None
    """Of httpGet; None: tcpSocket."""
    headers: Mapping[str, str] = field(default_factory=dict)
    initial_delay_s: float = 0.0
    period_s: float = 10.0
    timeout_s: float = 1.0
    failures: int = 3
    successes: int = 1


_DEFAULTS = (
    Probe(kind="startup", period_s=1, timeout_s=3, failures=240),
    Probe(kind="liveness"),
    Probe(kind="readiness", initial_delay_s=3, period_s=5, timeout_s=5, failures=48),
)


def probes(listed: Iterable[Mapping[str, Any]], *, ingress: bool) -> tuple[Probe, ...]:
    """The probes of a container; with ingress and none listed, Azure's three over TCP. Raises Rejected."""
    read = tuple(_probe(each) for each in listed)
    kinds = [each.kind for each in read]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise _invalid_probes(f"there are {kinds.count(kind)} {kind} probes; accepted: one of each type")
    return read or (_DEFAULTS if ingress else ())


def _probe(probe: Mapping[str, Any]) -> Probe:
    kind = _KINDS.get(str(probe.get("type", "")).lower())
    if kind is None:
        raise _invalid_probes(f"type {probe.get('type')!r}; accepted: Startup, Liveness, Readiness")
    http = probe.get("httpGet")
    if (http is None) == (probe.get("tcpSocket") is None):
        raise _invalid_probes(f"the {kind} probe needs either httpGet or tcpSocket")
    for name, (low, high) in _LIMITS.items():
        value = probe.get(name)
        if value is not None and not (isinstance(value, int) and low <= value <= high):
            raise _invalid_probes(f"{name} of the {kind} probe is {value!r}; accepted: {low} to {high}")
    return Probe(
        kind=kind,
        path=None if http is None else "/" + str(http.get("path") or "").lstrip("/"),
        headers={each["name"]: each["value"] for each in (http or {}).get("httpHeaders") or ()},
        initial_delay_s=probe.get("initialDelaySeconds") or 0,
        period_s=probe.get("periodSeconds") or 10,
        timeout_s=probe.get("timeoutSeconds") or 1,
        failures=probe.get("failureThreshold") or 3,
        successes=probe.get("successThreshold") or 1,
    )


def _invalid_probes(details: str) -> Rejected:
    return Rejected("ContainerAppProbeInvalid", f"Field 'template.containers.probes' is invalid: {details}.")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """When replicas are added and taken away."""

    minimum: int = 0
    maximum: int = 10
    cooldown_s: float = 300.0
    polling_s: float = 30.0
    concurrent_requests: int | None = _DEFAULT_CONCURRENT_REQUESTS
    """Of the HTTP rule; None: there is no rule that counts requests."""

    def clamp(self, count: int) -> int:
        """The nearest count that the limits allow."""
        return max(self.minimum, min(self.maximum, count))


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A volume at a path of the container: ``files`` are pairs of a name and a secret, ``storage`` names a share."""

    path: str
    volume: str
    files: tuple[tuple[str, str], ...] = ()
    storage: str | None = None


@dataclass(frozen=True, kw_only=True)
class Template:
    """What a revision runs. ``env`` has pairs of a name and a value, ``references`` pairs of a name and a secret."""

    image: str
    env: tuple[tuple[str, str], ...]
    references: tuple[tuple[str, str], ...]
    mounts: tuple[Mount, ...] = ()
    probes: tuple[Probe, ...]
    grace_s: float
    scale: Scale

    def environ(self, secrets: Secrets) -> dict[str, str]:
        """The container's own variables, secrets resolved."""
        return dict(self.env) | {name: secrets[secret] for name, secret in self.references}


def read(template: Mapping[str, Any], *, ingress: bool) -> Template:
    """Raises Rejected, naming the field."""
    containers = template.get("containers") or []
    if len(containers) != 1:
        raise _invalid("template.containers", f"the stage runs exactly one container a replica, got {len(containers)}")
    container = containers[0]
    image = container.get("image")
    if not image:
        raise _invalid("template.containers.image", "an image is required")
    variables = container.get("env") or []
    for each in variables:
        if not each.get("name"):
            raise _invalid("template.containers.env", "every variable needs a name")
    return Template(
        image=image,
        env=tuple((each["name"], str(each.get("value") or "")) for each in variables if not each.get("secretRef")),
        references=tuple((each["name"], each["secretRef"]) for each in variables if each.get("secretRef")),
        mounts=_mounts(container.get("volumeMounts") or (), template.get("volumes") or ()),
        probes=probes(container.get("probes") or (), ingress=ingress),
        grace_s=number(template, "terminationGracePeriodSeconds", 30, 0, 3600),
        scale=_scale(template.get("scale") or {}, ingress=ingress),
    )


def check_references(template: Template, secrets: Collection[str]) -> None:
    """Raises Rejected when a variable or a volume refers to a secret that is not there."""
    named = [(f"variable '{name}'", secret) for name, secret in template.references]
    named += [(f"volume '{mount.volume}'", secret) for mount in template.mounts for _, secret in mount.files]
    for where, secret in named:
        if secret not in secrets:
            raise Rejected(
                "ContainerAppSecretRefNotFound",
                f"SecretRef '{secret}' of {where} was not found; set the secret first.",
            )


def check_suffix(app: str, suffix: str, taken: Iterable[str]) -> None:
    """Raises Rejected for a suffix that Azure would not take."""
    if not _SUFFIX.fullmatch(suffix) or len(f"{app}--{suffix}") > _REVISION_CHARACTERS:
        raise _invalid(
            "template.revisionSuffix",
            f"'{suffix}' is not a suffix; accepted: lower-case letters, digits and single dashes, a letter or digit at "
            f"both ends, '{app}--' and the suffix together at most {_REVISION_CHARACTERS} characters",
        )
    if suffix in taken:
        raise _invalid("template.revisionSuffix", f"a revision with suffix '{suffix}' already exists")


def number(source: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    """A number of the template within its limits; Rejected otherwise."""
    value = source.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        limit = "" if math.isinf(high) else f" to {high:g}"
        raise _invalid(name, f"{value!r} is not accepted; accepted: {low:g}{limit or ' or more'}")
    return value


def _mounts(mounts: Iterable[Mapping[str, Any]], volumes: Iterable[Mapping[str, Any]]) -> tuple[Mount, ...]:
    known = {each.get("name"): each for each in volumes}
    found = []
    for each in mounts:
        name, path = str(each.get("volumeName")), str(each.get("mountPath"))
        volume = known.get(name)
        if volume is None:
            raise _invalid("template.containers.volumeMounts", f"there is no volume '{name}'")
        if not path.startswith("/") or path == "/":
            raise _invalid("template.containers.volumeMounts.mountPath", f"'{path}' is no path of a folder")
        kind = volume.get("storageType") or "EmptyDir"
        if kind not in ("Secret", "AzureFile", "EmptyDir"):
            raise _invalid("template.volumes.storageType", f"'{kind}'; the stage knows Secret, AzureFile and EmptyDir")
        if kind == "AzureFile" and not volume.get("storageName"):
            raise _invalid("template.volumes.storageName", f"volume '{name}' names no storage")
        files = tuple((str(file["path"]), str(file["secretRef"])) for file in volume.get("secrets") or ())
        found.append(
            Mount(
                path=path.rstrip("/"),
                volume=name,
                files=files if kind == "Secret" else (),
                storage=str(volume["storageName"]) if kind == "AzureFile" else None,
            )
        )
    return tuple(found)


def _scale(scale: Mapping[str, Any], *, ingress: bool) -> Scale:
    read = Scale(
        minimum=int(number(scale, "minReplicas", 0, 0, 1000)),
        maximum=int(number(scale, "maxReplicas", 10, 1, 1000)),
        cooldown_s=number(scale, "cooldownPeriod", 300, 0, math.inf),
        polling_s=number(scale, "pollingInterval", 30, 1, math.inf),
        concurrent_requests=_concurrent_requests(scale.get("rules") or [], ingress=ingress),
    )
    if read.minimum > read.maximum:
        raise _invalid("template.scale", f"minReplicas {read.minimum} is more than maxReplicas {read.maximum}")
    return read


def _concurrent_requests(rules: Iterable[Mapping[str, Any]], *, ingress: bool) -> int | None:
    rules = list(rules)
    if not rules:
        return _DEFAULT_CONCURRENT_REQUESTS if ingress else None
    # The stage does not measure CPU and memory: such a rule never asks for anything.
    rules = [rule for rule in rules if str((rule.get("custom") or {}).get("type")).lower() not in ("cpu", "memory")]
    for rule in rules:
        if "http" not in rule:
            problem = f"'{rule.get('name')}' is no http, cpu or memory rule; the stage knows no other"
            raise _invalid("template.scale.rules", problem)
    # The value is a string, as every metadata value. The rule that asks for most replicas decides.
    values = [str((rule["http"] or {}).get("metadata", {}).get("concurrentRequests", "10")) for rule in rules]
    for value in values:
        if not value.isdecimal() or not int(value):
            raise _invalid("template.scale.rules.http.metadata.concurrentRequests", f"{value!r} is not 1 or more")
    return min((int(value) for value in values), default=None)


def _invalid(field: str, details: str) -> Rejected:
    return Rejected(
        "InvalidParameterValueInContainerTemplate",
        f"The following field(s) are either invalid or missing. Field '{field}' is invalid with details: '{details}'.",
    )
