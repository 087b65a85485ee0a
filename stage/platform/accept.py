"""Whether a change of an app is accepted: all of it is looked at before anything is changed."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stage.platform import traffic
from stage.platform.desired import Desired, read, same
from stage.platform.outside import Outside
from stage.platform.rejected import Rejected
from stage.platform.revision import Revision
from stage.platform.template import check_references, check_suffix
from stage.platform.unverified import Unverified

_RANDOM_SUFFIX = "bcdfghjklmnpqrstvwxyz0123456789"
_RANDOM_SUFFIX_LENGTH = 7


@dataclass(frozen=True, kw_only=True)
class Change:
    """An accepted one. ``suffix``: of the revision that it needs; None: it needs none."""

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
    """Judges new properties of an app that has these revisions; raises Rejected."""
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
        # Left over from Multiple mode: whoever switches back wants what Single mode does.
        entries = traffic.LATEST
    names = [*revisions, *([f"{app}--{suffix}"] if suffix is not None else [])]
    return Change(desired=desired, suffix=suffix, traffic=traffic.check(entries, names, single=desired.single))


def _suffix(app: str, desired: Desired, template: Mapping[str, Any], revisions: Sequence[Revision]) -> str | None:
    if revisions:
        named = desired.suffix not in (None, revisions[-1].suffix)
        if not named and same(template, revisions[-1].template):
            return None
    suffix = desired.suffix or "".join(secrets.choice(_RANDOM_SUFFIX) for _ in range(_RANDOM_SUFFIX_LENGTH))
    check_suffix(app, suffix, [each.suffix for each in revisions])
    return suffix
