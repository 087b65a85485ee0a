"""``ingress.traffic``: which revision gets what share of new requests, and which label means which revision."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stage.ingress import Site
from stage.platform.rejected import Rejected

Entries = Sequence[Mapping[str, Any]]
LATEST: tuple[Mapping[str, Any], ...] = ({"latestRevision": True, "weight": 100},)
"""The default, and all that Single mode knows."""
_LABEL = re.compile(r"[a-z](?!.*--)([-a-z0-9]*[a-z0-9])?")
_LABEL_MAX = 64


def check(entries: Entries, revisions: Collection[str], *, single: bool) -> list[dict[str, Any]]:
    """The entries without nulls, as they are to be kept; Rejected when Azure would not take them."""
    kept = [{name: value for name, value in each.items() if value is not None} for each in entries]
    for each in kept:
        if each.get("latestRevision") and "revisionName" not in each:
            pass
        elif each.get("revisionName") not in revisions:
            raise _invalid(f"revision '{each.get('revisionName')}' does not exist; there are: {', '.join(revisions)}")
        elif single:
            raise _invalid("a revision cannot be named in Single revision mode; set the mode to Multiple first")
        weight = each.setdefault("weight", 0)
        if isinstance(weight, bool) or not isinstance(weight, int) or not 0 <= weight <= 100:
            raise _invalid(f"weight {weight!r}; accepted: a whole number from 0 to 100")
    _check_labels([each["label"] for each in kept if each.get("label")])
    if (total := sum(each["weight"] for each in kept)) != 100:
        raise _invalid(f"the weights total {total}; accepted: 100")
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
            raise _invalid(f"label '{label}'; accepted: lower-case letters, digits and single dashes, a letter first")
        if labels.count(label) > 1:
            raise _invalid(f"label '{label}' is on {labels.count(label)} entries; accepted: one")


def _invalid(details: str) -> Rejected:
    return Rejected("ContainerAppInvalidTraffic", f"Field 'configuration.ingress.traffic' is invalid: {details}.")
