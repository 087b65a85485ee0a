"""What must be true of a run: one summary for each call, the right ending, every frame passed on, no growth."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stage.soak.books import Books, Call, Line
from stage.soak.plan import OVER_CODE, SAID, Plan
from stage.soak.samples import Sample, growths

TOTALS = {
    'rtproxy_frames_total{direction="up"}': "frames_up",
    'rtproxy_frames_total{direction="down"}': "frames_down",
    'rtproxy_bytes_total{direction="up"}': "bytes_up",
    'rtproxy_bytes_total{direction="down"}': "bytes_down",
    'rtproxy_tokens_total{direction="in"}': "tokens_in",
    'rtproxy_tokens_total{direction="out"}': "tokens_out",
    "rtproxy_responses_total": "responses",
}
NOTHING = {"frames": 0, "size": 0}
NO_CODE = 1005
UNANSWERED = ("client.hangs-up", "client.slow")
"""Kinds whose clients do not wait for the answer."""
SLACK_DESCRIPTORS, SLACK_TASKS = 2, 2
"""At the end, over the start: a connection that is asked for a page and one that is just being closed."""


@dataclass(frozen=True, slots=True)
class Check:
    """``measured`` in words; ``problems`` are empty when it held."""

    name: str
    measured: str
    problems: tuple[str, ...] = ()

    @property
    def held(self) -> bool:
        return not self.problems


def counted(counts: Counter[str] | Counter[int]) -> str:
    """The most frequent first: ``12 client, 3 upstream``."""
    return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "none"


def whole_calls(books: Books) -> Check:
    problems: list[str] = []
    whole = [call for call in books.calls if call.proper]
    frames = 0
    for call in whole:
        for summary in call.summaries:
            frames += summary["frames_up"] + summary["frames_down"]
            problems += [f"{call.name}: {said}" for said in _unequal(call, summary)]
    if not frames:
        problems.append("no call was whole")
    return Check("a whole call adds up", f"{len(whole)} calls, {frames} frames, to the last byte", tuple(problems))


def _unequal(call: Call, summary: Line) -> Iterator[str]:
    assert call.model is not None
    client, model = call.client["heard"], call.model["heard"]
    for way, sender, receiver, sent, got in (
        ("up", "client", "model", client["sent"], model["got"]),
        ("down", "model", "client", model["sent"], client["got"]),
    ):
        for what, of_line in (("frames", "frames"), ("bytes", "size")):
            passed = summary[f"{what}_{way}"]
            if not sent[of_line] == passed == got[of_line]:
                numbers = f"{sender} sent {sent[of_line]}, relay passed {passed}, {receiver} got {got[of_line]}"
                yield f"{what} {way}: {numbers}"
        if sent["crc"] != got["crc"]:
            yield f"bytes {way} were changed on the way"
    for what in ("responses", "tokens_in", "tokens_out"):
        if summary[what] != call.model[what]:
            yield f"{what}: the model gave {call.model[what]}, the relay read {summary[what]}"
    if client["said_close"] != model["got_close"]:
        yield f"the client's Close {client['said_close']} reached the model as {model['got_close']}"
    if model["said_close"] != client["got_close"]:
        yield f"the model's Close {model['said_close']} reached the client as {client['got_close']}"


def lost(call: Call) -> tuple[int, int]:
    """Frames up and down that the one end sent and the other did not get."""
    if call.model is None:
        return call.client["heard"]["sent"]["frames"], 0
    client, model = call.client["heard"], call.model["heard"]
    lost_up = client["sent"]["frames"] - model["got"]["frames"]
    return lost_up, model["sent"]["frames"] - client["got"]["frames"]


def by_kind(books: Books) -> dict[str, dict[str, int]]:
    """What happened to the calls, in figures: for people, nothing is judged by it."""
    found: dict[str, Counter[str]] = {}
    for call in books.calls:
        sent = [side["heard"]["sent"]["frames"] for side in (call.client, call.model) if side]
        found.setdefault(call.kind.name, Counter()).update(
            {
                "calls": 1,
                "called home": int(call.client["stopped"]),
                "frames sent": sum(sent),
                "frames lost": sum(lost(call)),
            }
        )
    return {kind: dict(found[kind]) for kind in sorted(found)}


def cut_calls(books: Books) -> Check:
    """Got <= passed <= sent, both ways, in frames and in bytes, for each of them."""
    problems: list[str] = []
    cut = [call for call in books.calls if not call.proper and (call.accepted or call.model)]
    lost_up = lost_down = 0
    for call in cut:
        up, down = lost(call)
        lost_up, lost_down = lost_up + up, lost_down + down
        for summary in call.summaries:
            problems += [f"{call.name}: {said}" for said in _out_of_bounds(call, summary)]
    measured = f"{len(cut)} calls; cut off with them: {lost_up} frames up, {lost_down} down"
    return Check("a cut call loses its end, gains nothing", measured, tuple(problems))


def _out_of_bounds(call: Call, summary: Line) -> Iterator[str]:
    client = call.client["heard"]
    of_model = call.model["heard"] if call.model else {"sent": NOTHING, "got": NOTHING}
    for way, sent, got in (("up", client["sent"], of_model["got"]), ("down", of_model["sent"], client["got"])):
        for what, of_line in (("frames", "frames"), ("bytes", "size")):
            passed = summary[f"{what}_{way}"]
            if not got[of_line] <= passed <= sent[of_line]:
                yield f"{what} {way}: sent {sent[of_line]}, passed {passed}, got {got[of_line]}"
    for what in ("responses", "tokens_in", "tokens_out"):
        if call.model is not None and summary[what] > call.model[what]:
            yield f"{what}: the model gave {call.model[what]}, the relay read {summary[what]}"


def order(books: Books) -> Check:
    problems = []
    frames = 0
    for call in books.calls:
        for end, line in (("client", call.client), ("model", call.model)):
            if line is None:
                continue
            frames += line["heard"]["got"]["frames"]
            if line["heard"]["disorder"]:
                problems.append(f"{call.name}: {line['heard']['disorder']} frames were not the next for the {end}")
    return Check("every frame in its order, once", f"{frames} frames looked at", tuple(problems))


def totals(books: Books) -> Check:
    problems = []
    sums: Counter[str] = Counter()
    endings: Counter[str] = Counter()
    for summary in books.summaries:
        endings[summary["ended_by"]] += 1
        for name in TOTALS.values():
            sums[name] += summary[name]
    for series, name in TOTALS.items():
        if books.series.get(series) != sums[name]:
            problems.append(f"{series} is {books.series.get(series)}, the summaries have {sums[name]}")
    for series, value in books.series.items():
        name, _, ended_by = series.partition('_ended_total{ended_by="')
        if ended_by and value != endings[ended_by.rstrip('"}')]:
            problems.append(f"{series} is {value:g}, the summaries have {endings[ended_by.rstrip(chr(34) + '}')]}")
    passed = f"{sums['frames_up']} frames up, {sums['frames_down']} down, {_gb(sums['bytes_up'] + sums['bytes_down'])}"
    return Check("/metrics is the sum of the summaries", passed, tuple(problems))


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"


def summaries(books: Books) -> Check:
    problems = []
    expected = 0
    for call in books.calls:
        # A client that hung up in the handshake has no session; the model answered the dial, so there was a call.
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
        # Stopped while the model was about to do something: either may have come first.
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


def judge(
    plan: Plan,
    books: Books,
    before: Sample,
    under_load: Sequence[Sample],
    after: Sample,
    *,
    whole: bool = True,
    answered: bool = True,
) -> list[Check]:
    """Judges a run by its books, and by its samples: at the start, under load, and when all calls had ended.

    One that is not ``whole`` was interrupted, and is not asked for what it had no time to show. ``answered``: the relay
    gave every sample that it was asked for; a run ends at the first that it does not give.
    """
    return [
        summaries(books),
        whole_calls(books),
        cut_calls(books),
        order(books),
        totals(books),
        endings(books),
        refusals(books),
        *((every_kind(plan, books),) if whole else ()),
        *_growth(under_load, plan.tls and plan.jemalloc is None, whole),
        _answers(under_load, answered),
        _empty(before, after),
        _exit(books),
    ]


def _growth(samples: Sequence[Sample], holes: bool, whole: bool) -> list[Check]:
    found = growths(samples, holes=holes)
    if not found and whole:
        return [Check("nothing grows", "too few samples", ("the run was too short to tell",))]
    return [
        Check(
            f"no growth of {each.what}",
            each.words,
            () if each.held else (f"{each.words}; at most {each.limit:g} {each.unit}",),
        )
        for each in found
    ]


def _answers(samples: Sequence[Sample], answered: bool) -> Check:
    slowest_ms = max((each.answer_ms for each in samples), default=0.0)
    problems = () if answered else ("it did not answer /metrics any more, and the run ended there",)
    return Check("the relay answers all the time", f"the slowest of {len(samples)} in {slowest_ms:.0f} ms", problems)


def _empty(before: Sample, after: Sample) -> Check:
    problems = []
    if after.sessions:
        problems.append(f"{after.sessions} sessions are left")
    for what, then, now, slack in (
        ("descriptors", before.descriptors, after.descriptors, SLACK_DESCRIPTORS),
        ("tasks", before.tasks, after.tasks, SLACK_TASKS),
    ):
        if now > then + slack:
            problems.append(f"{now} {what} are left, {then} were there at the start")
    measured = (
        f"sessions {after.sessions}, descriptors {before.descriptors} then and {after.descriptors} now, "
        f"tasks {before.tasks} and {after.tasks}, {before.rss_kb / 1024:.1f} MB and {after.rss_kb / 1024:.1f} MB"
    )
    return Check("the relay is empty at the end", measured, tuple(problems))


def _exit(books: Books) -> Check:
    problems = [] if books.code == 0 else [f"exit code {books.code}"]
    problems += [f"on stderr: {line}" for line in books.said.splitlines()[:20]]
    return Check("the relay ends with 0 and complained of nothing", f"exit code {books.code}", tuple(problems))
