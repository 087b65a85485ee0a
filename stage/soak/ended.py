"""Which calls there were and how they ended: one summary each, the ending of its kind, a refusal for the others."""

from collections import Counter
from collections.abc import Iterator

from stage.soak.books import Books, Call, Line
from stage.soak.check import Check, counted
from stage.soak.kinds import OVER_CODE, SAID
from stage.soak.moved import TOTALS
from stage.soak.plan import Plan

NO_CODE = 1005
UNANSWERED = ("client.hangs-up", "client.slow")
"""Who does not wait for the answer."""


def summaries(books: Books) -> Check:
    problems = []
    expected = 0
    for call in books.calls:
        # Whoever hung up in the handshake knows no session; the model answered the dial, so there was a call.
        wanted = int(call.accepted or call.model is not None)
        expected += wanted
        if call.accepted and len(call.summaries) != 1:
            problems.append(f"{call.name}: {len(call.summaries)} summaries of session {call.client['session']}")
        elif len(call.summaries) > wanted:
            problems.append(f"{call.name}: {len(call.summaries)} summaries, and it was never let in")
        if call.client["overdue"]:
            problems.append(f"{call.name}: left behind, its client never heard the end")
    unnamed = sum(call.model is not None and not call.accepted and not call.summaries for call in books.calls)
    if len(books.stray) != unnamed:
        problems.append(f"{len(books.stray)} summaries of nobody's session, and {unnamed} calls that want one")
    problems += [
        f"session {line['session']}, which no client knows, moved {line}"
        for line in books.stray
        if any(line[name] for name in TOTALS.values())
    ]
    stood, bridged = (books.events.get(name, 0) for name in ("client.connected", "bridge.completed"))
    if stood != bridged:
        problems.append(f"{stood} calls stood, {bridged} bridges were completed")
    found = sum(1 for _ in books.summaries)
    return Check("one summary a call", f"{found} summaries of {expected} calls", tuple(problems))


def endings(books: Books) -> Check:
    problems = []
    by: Counter[str] = Counter()
    for call in books.calls:
        for summary in call.summaries:
            by[summary["ended_by"]] += 1
            problems += [
                f"{call.name}: {said}" for said in (*_unlike_its_kind(call, summary), *_misheard(call, summary))
            ]
    return Check("every ending is that of its fault", counted(by), tuple(problems))


def _unlike_its_kind(call: Call, summary: Line) -> Iterator[str]:
    kind, said = call.kind, call.client["code"]
    own = {NO_CODE if said is None else said}
    ended_by = {kind.ended_by}
    client, upstream = ({SAID}, {SAID}) if kind.proper else (set(kind.client_codes), set(kind.upstream_codes))
    client, upstream = (own if SAID in codes else codes for codes in (client, upstream))
    if call.client["stopped"]:
        # Called home while the model was about to do something: either may have come first.
        ended_by, client, upstream = ended_by | {"client"}, client | {OVER_CODE}, upstream | {OVER_CODE}
    if summary["ended_by"] not in ended_by:
        yield f"ended by {summary['ended_by']}, not by {' or '.join(sorted(ended_by))}"
    for leg, code, codes in (("client", summary["client_code"], client), ("model", summary["upstream_code"], upstream)):
        if code not in codes:
            yield f"its {leg}'s leg ended with {code}, not with {' or '.join(map(str, sorted(codes)))}"


def _misheard(call: Call, summary: Line) -> Iterator[str]:
    for end, line, code in (
        ("client", call.client, summary["client_code"]),
        ("model", call.model, summary["upstream_code"]),
    ):
        heard = line["heard"]["relay_close"] if line else None
        if heard is not None and (heard[0] or NO_CODE) != code:
            yield f"the {end} heard the relay's {heard[0]}, the summary has {code}"


def refusals(books: Books) -> Check:
    problems = []
    answers: Counter[int] = Counter()
    for call in books.calls:
        status, wanted = call.client["status"], call.kind.status
        answers[status] += 1
        if status != wanted and not (call.kind.name in UNANSWERED and status in (0, 101)):
            problems.append(f"{call.name}: answered {status or 'nothing'}, not {wanted}")
    for family, count in (
        ("rtproxy_refusals_total", answers[401]),
        ('rtproxy_dial_failures_total{cause="refused"}', answers[429] + answers[502]),
        ('rtproxy_dial_failures_total{cause="timeout"}', answers[504]),
        ("rtproxy_dial_failures_total", answers[429] + answers[502] + answers[504]),
    ):
        found = sum(value for series, value in books.series.items() if series.startswith(family))
        if found != count:
            problems.append(f"{family} is {found:g}, and the clients saw {count}")
    refused = Counter({status: count for status, count in answers.items() if status not in (0, 101)})
    return Check("a refusal is an answer, and is counted", counted(refused), tuple(problems))


def every_kind(plan: Plan, books: Books) -> Check:
    happened = Counter(call.kind.name for call in books.calls if not call.client["stopped"])
    missing = [kind.name for kind in plan.kinds() if not happened[kind.name] and kind.name != "client.slow"]
    faults = sum(count for name, count in happened.items() if name != "client.closes")
    measured = f"{faults} of {len(books.calls)} calls had one, of {len(happened)} kinds"
    return Check("every fault happened", measured, tuple(f"{name} never happened" for name in missing))
