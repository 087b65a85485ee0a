"""How many answers it takes to see weights by, and whether so many agree with them."""

import math
from collections import Counter
from collections.abc import Mapping

from clients.judging.binomial import likely

UNSEEN = 0.01
"""So seldom may enough answers leave out a revision that has a weight, or a stray share of `STRAY`."""
STRAY = 0.05
"""Of answers, to a revision at weight 0: one part of an ingress in ten that has not yet moved half of its callers."""
ALPHA = 0.01
"""So seldom is a round of answers that agree with the weights called another: then one more is asked for."""


def enough(weights: Mapping[str, int]) -> int:
    """So many callers that none on one of these revisions has a chance below 1 %: 44 where one has a tenth."""
    shares = _shares(weights).values()
    return max((_until_seen(each) for each in shares), default=1)


def askers(weights: Mapping[str, int]) -> int:
    """So many answers that one part of the ingress that has not taken the weights would show, too."""
    return max(enough(weights), _until_seen(STRAY))


def disagreement(weights: Mapping[str, int], answers: Counter[str], *, whole: bool) -> str | None:
    """Why these answers are not what the weights say, None where they may be. Strays are wrong at any number."""
    shares = _shares(weights)
    strays = {name: count for name, count in answers.items() if name not in shares}
    if strays:
        return f"{' and '.join(f'{count} came from {name}' for name, count in strays.items())}, which has no weight"
    if not whole:
        return None
    total = answers.total()
    for name, share in shares.items():
        span = likely(total, share, ALPHA / len(shares))
        if answers[name] not in span or not answers[name]:
            return (
                f"{answers[name]} came from {name}, where {max(span[0], 1)} to {span[-1]} of {total} are to be expected"
            )
    return None


def _shares(weights: Mapping[str, int]) -> dict[str, float]:
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items() if weight}


def _until_seen(share: float) -> int:
    return 1 if share >= 1 else math.ceil(math.log(UNSEEN) / math.log1p(-share))
