"""Okabe and Ito's palette, which people with any kind of colour vision can tell apart."""

from clients.evidence import Evidence
from clients.judging.rollback import Rollout

BLUE, GREEN = "#0072B2", "#009E73"
OTHERS = ("#E69F00", "#CC79A7", "#56B4E9", "#F0E442")
UNKNOWN = "#8A8A8A"
CUT, FAILED_TURN, INK, GRID = "#C1121F", "#D55E00", "#22272E", "#E3E6EA"


def colours(evidence: Evidence, rollout: Rollout) -> dict[str, str]:
    """In the order in which revisions came; the first blue is blue, the first green is green."""
    served = [session.revision for session in evidence.sessions if session.revision]
    revisions = list(dict.fromkeys([*rollout.blue, *rollout.green, *served]))
    blue, green = rollout.blue[:1] or tuple(revisions[:1]), rollout.green[:1] or tuple(revisions[1:2])
    rest = [revision for revision in revisions if revision not in (*blue, *green)]
    chosen = dict(zip((*blue, *green), (BLUE, GREEN), strict=False))
    chosen |= {revision: OTHERS[index % len(OTHERS)] for index, revision in enumerate(rest)}
    return {revision: chosen[revision] for revision in revisions}
