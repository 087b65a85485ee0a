"""Whether strangers get in: dials without a key and with one that nobody has."""

from clients.evidence import Evidence
from clients.facts import Knocked
from clients.judging.check import Check, Named, listed, several

KEYS = Named("admission.keys", "admission", "401 each")
LET_IN, TURNED_AWAY = 101, 401
SHOWN = {"none": "without a key", "wrong": "with a wrong key"}


def keys(evidence: Evidence) -> Check:
    """Both kinds have to be tried at each address. What is neither 101 nor 401 says nothing of keys."""
    knocks = evidence.knocks
    if not knocks:
        return KEYS.unknown("Nobody dialled without a key or with a wrong one.")
    let_in = [
        f"{_where(each)} {SHOWN.get(each.credential, each.credential)}" for each in knocks if each.status == LET_IN
    ]
    turned_away = sum(each.status == TURNED_AWAY for each in knocks)
    measured = f"{turned_away} of {len(knocks)}"
    if let_in:
        names = listed(list(dict.fromkeys(let_in)))
        return KEYS(False, measured, f"{several(len(let_in), 'dial')} got in without a right to: {names}.")
    otherwise = [f"{_where(each)} answered {each.status or each.code}" for each in knocks if each.status != TURNED_AWAY]
    if otherwise:
        said = f"{several(len(otherwise), 'dial')} got another answer than 401, which says nothing of keys"
        return KEYS("inconclusive", measured, f"{said}: {listed(otherwise)}.")
    tried = {(each.url, each.credential) for each in knocks}
    untried = [
        f"{url} {SHOWN[name]}" for url in {each.url for each in knocks} for name in SHOWN if (url, name) not in tried
    ]
    if untried:
        return KEYS("inconclusive", measured, f"Nobody dialled {listed(sorted(untried))}.")
    return KEYS(True, measured, f"Each of {several(len(knocks), 'dial')} without a key or with a wrong one got 401.")


def _where(knocked: Knocked) -> str:
    return knocked.revision or knocked.url
