"""ARM ``properties`` of an app, read once and checked: what the app should be."""

import ipaddress
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from stage.platform import template, traffic
from stage.platform.rejected import Rejected
from stage.platform.template import Template
from stage.platform.unverified import Unverified

_APP = re.compile(r"(?=.{1,32}$)[a-z]((?!.*--)[-a-z0-9]*[a-z0-9])?")


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
        """Session affinity is a matter of Single mode."""
        return self.affinity == "sticky" and self.single

    @property
    def facts(self) -> dict[str, Any]:
        """What the timeline says of it."""
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
        entries=ingress.get("traffic") or traffic.LATEST,
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
    """Whether two templates run the same: their suffixes and what is null or empty make no difference."""
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
