"""The ARM ``properties`` of an app: what they ask for, and whether the change is accepted.

All of a change is checked before anything is changed.
"""

import ipaddress
import re
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from stage.ingress import Site
from stage.platform import template
from stage.platform.host import Outside, Rejected
from stage.platform.revision import Revision
from stage.platform.template import Template, check_references, check_suffix
from stage.platform.unverified import Unverified

_APP = re.compile(r"(?=.{1,32}$)[a-z]((?!.*--)[-a-z0-9]*[a-z0-9])?")
_RANDOM_SUFFIX = "bcdfghjklmnpqrstvwxyz0123456789"
_RANDOM_SUFFIX_LENGTH = 7
Entries = Sequence[Mapping[str, Any]]
LATEST: tuple[Mapping[str, Any], ...] = ({"latestRevision": True, "weight": 100},)
"""The default, and all that Single mode accepts."""
_LABEL = re.compile(r"[a-z](?!.*--)([-a-z0-9]*[a-z0-9])?")
_LABEL_MAX = 64


class Secret(NamedTuple):
    """A value, or the URL of one in a Key Vault and the identity that reads it."""

    value: str
    url: str = ""
    identity: str = ""


@dataclass(frozen=True, kw_only=True)
class Desired:
    """``entries``: the traffic as asked for, not checked yet, because it may name a revision still to be made."""

    mode: str
    ingress: bool
    affinity: str
    secrets: Mapping[str, Secret] = field(repr=False)
    entries: Sequence[Mapping[str, Any]]
    suffix: str | None
    template: Template

    @property
    def single(self) -> bool:
        return self.mode == "Single"

    @property
    def sticky(self) -> bool:
        """Session affinity applies in Single mode only."""
        return self.affinity == "sticky" and self.single

    @property
    def facts(self) -> dict[str, Any]:
        """What the timeline records of it."""
        return {
            "mode": self.mode,
            "min_replicas": self.template.scale.minimum,
            "max_replicas": self.template.scale.maximum,
            "cooldown_s": self.template.scale.cooldown_s,
            "grace_s": self.template.grace_s,
            "affinity": self.affinity,
        }


def read(properties: Mapping[str, Any], unverified: Unverified) -> Desired:
    """Raises Rejected, naming what is wrong."""
    configuration = properties.get("configuration") or {}
    mode = configuration.get("activeRevisionsMode") or "Single"
    if mode not in ("Single", "Multiple"):
        raise Rejected("InvalidActiveRevisionsMode", f"activeRevisionsMode '{mode}'; accepted here: Single, Multiple")
    ingress = configuration.get("ingress") or {}
    affinity = (ingress.get("stickySessions") or {}).get("affinity") or "none"
    if affinity not in ("sticky", "none"):
        raise Rejected("InvalidStickySessions", f"stickySessions.affinity '{affinity}'; accepted: sticky, none")
    if affinity == "sticky" and mode == "Multiple" and unverified.sticky_in_multiple_mode_is_rejected:
        raise Rejected("InvalidStickySessions", "sticky sessions need Single revision mode")
    _check_restrictions(ingress.get("ipSecurityRestrictions") or ())
    asked = properties.get("template") or {}
    return Desired(
        mode=mode,
        ingress=bool(ingress),
        affinity=affinity,
        secrets=_secrets(configuration.get("secrets") or ()),
        entries=ingress.get("traffic") or LATEST,
        suffix=asked.get("revisionSuffix") or None,
        template=template.read(asked, ingress=bool(ingress)),
    )


def _check_restrictions(listed: Collection[Mapping[str, Any]]) -> None:
    for each in listed:
        try:
            ipaddress.IPv4Network(str(each.get("ipAddressRange")), strict=False)
        except ValueError:
            what = f"ipSecurityRestrictions '{each.get('name')}': '{each.get('ipAddressRange')}' is no range of IPv4"
            raise Rejected("IngressIpSecurityRestrictionsInvalid", what) from None


def check_name(name: str) -> None:
    """Raises Rejected for a name that no app can have."""
    if not _APP.fullmatch(name):
        accepted = "up to 32 lower-case letters, digits and single dashes, a letter first, no dash last"
        raise Rejected("ContainerAppInvalidName", f"'{name}' is not a name of an app; accepted: {accepted}")


def same(one: Any, other: Any) -> bool:
    """Whether two templates mean the same: suffixes and null or empty values make no difference."""
    return bool(_essence(one) == _essence(other))


def _essence(value: Any) -> Any:
    if isinstance(value, Mapping):
        inner = {name: _essence(each) for name, each in value.items() if name != "revisionSuffix"}
        return {name: each for name, each in inner.items() if each not in (None, "", [], {})}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_essence(each) for each in value]
    return value


def _secrets(listed: Collection[Mapping[str, Any]]) -> dict[str, Secret]:
    found: dict[str, Secret] = {}
    for each in listed:
        name, value, url, identity = (
            str(each.get(part) or "") for part in ("name", "value", "keyVaultUrl", "identity")
        )
        if not name:
            raise Rejected("ContainerAppSecretInvalid", "every secret needs a name")
        if not value and not (url and identity):
            problem = f"Invalid secret '{name}': value or keyVaultUrl and identity should be provided."
            raise Rejected("ContainerAppSecretInvalid", problem)
        found[name] = Secret(value, url, identity)
    return found


@dataclass(frozen=True, kw_only=True)
class Change:
    """An accepted change. ``suffix``: that of the new revision; None: the change needs no revision."""

    desired: Desired
    suffix: str | None
    traffic: list[dict[str, Any]]


def accept(
    app: str,
    properties: Mapping[str, Any],
    revisions: Mapping[str, Revision],
    before: Change | None,
    *,
    unverified: Unverified,
    pull: Callable[[str], bool],
    outside: Outside,
) -> Change:
    """Checks new properties of an app that has these revisions; raises Rejected."""
    desired = read(properties, unverified)
    suffix = _suffix(app, desired, properties["template"], list(revisions.values()))
    image = desired.template.image
    if suffix is not None and not pull(image):
        raise Rejected(
            "InvalidParameterValueInContainerTemplate",
            "The following field(s) are either invalid or missing. Field 'template.containers.image' is invalid "
            f"with details: 'Invalid value: \"{image}\": MANIFEST_UNKNOWN: not in the registry; push it first'.",
        )
    for each in (desired.template, *(each.parsed for each in revisions.values() if each.active)):
        check_references(each, desired.secrets)
    for secret in desired.secrets.values():
        if secret.url:
            outside.secret(secret.url, secret.identity)
    for mount in desired.template.mounts:
        if mount.storage is not None:
            outside.share(mount.storage)
    entries = desired.entries
    if before is not None and desired.single and not before.desired.single and list(entries) == before.traffic:
        # Left over from Multiple mode: a switch back means what Single mode does.
        entries = LATEST
    names = [*revisions, *([f"{app}--{suffix}"] if suffix is not None else [])]
    return Change(desired=desired, suffix=suffix, traffic=check_traffic(entries, names, single=desired.single))


def _suffix(app: str, desired: Desired, template: Mapping[str, Any], revisions: Sequence[Revision]) -> str | None:
    if revisions:
        named = desired.suffix not in (None, revisions[-1].suffix)
        if not named and same(template, revisions[-1].template):
            return None
    suffix = desired.suffix or "".join(secrets.choice(_RANDOM_SUFFIX) for _ in range(_RANDOM_SUFFIX_LENGTH))
    check_suffix(app, suffix, [each.suffix for each in revisions])
    return suffix


def check_traffic(entries: Entries, revisions: Collection[str], *, single: bool) -> list[dict[str, Any]]:
    """The entries without nulls, as they are to be kept; raises Rejected when Azure would refuse them."""
    kept = [{name: value for name, value in each.items() if value is not None} for each in entries]
    for each in kept:
        if each.get("latestRevision") and "revisionName" not in each:
            pass
        elif each.get("revisionName") not in revisions:
            raise _invalid_traffic(
                f"revision '{each.get('revisionName')}' does not exist; there are: {', '.join(revisions)}"
            )
        elif single:
            raise _invalid_traffic("a revision cannot be named in Single revision mode; set the mode to Multiple first")
        weight = each.setdefault("weight", 0)
        if isinstance(weight, bool) or not isinstance(weight, int) or not 0 <= weight <= 100:
            raise _invalid_traffic(f"weight {weight!r}; accepted: a whole number from 0 to 100")
    _check_labels([each["label"] for each in kept if each.get("label")])
    if (total := sum(each["weight"] for each in kept)) != 100:
        raise _invalid_traffic(f"the weights total {total}; accepted: 100")
    return kept


@dataclass(frozen=True, kw_only=True)
class Routes:
    """What entries mean: weight by revision, and revision by label."""

    weights: Mapping[str, int]
    labels: Mapping[str, str]

    def site(self, app: str, domain: str, active: Collection[str], *, sticky: bool) -> Site:
        """What the ingress is to serve: nothing that is not active, whatever its weight."""
        addresses = {f"{revision}.{domain}": revision for revision in active}
        labels = {f"{app}---{label}.{domain}": each for label, each in self.labels.items() if each in active}
        weights = {revision: weight for revision, weight in self.weights.items() if revision in active}
        return Site(fqdn=f"{app}.{domain}", weights=weights, addresses=addresses | labels, sticky=sticky)


def routes(entries: Entries, latest_ready: str | None) -> Routes:
    """`latestRevision` means the latest that is ready; as long as there is none, its entry means nothing."""
    weights: dict[str, int] = {}
    labels: dict[str, str] = {}
    for each in entries:
        revision = each.get("revisionName") or latest_ready
        if revision is not None:
            weights[revision] = weights.get(revision, 0) + each["weight"]
            if each.get("label"):
                labels[each["label"]] = revision
    return Routes(weights=weights, labels=labels)


def _check_labels(labels: Sequence[str]) -> None:
    for label in labels:
        if not _LABEL.fullmatch(label) or len(label) > _LABEL_MAX:
            raise _invalid_traffic(
                f"label '{label}'; accepted: lower-case letters, digits and single dashes, a letter first"
            )
        if labels.count(label) > 1:
            raise _invalid_traffic(f"label '{label}' is on {labels.count(label)} entries; accepted: one")


def _invalid_traffic(details: str) -> Rejected:
    return Rejected("ContainerAppInvalidTraffic", f"Field 'configuration.ingress.traffic' is invalid: {details}.")
