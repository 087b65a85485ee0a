"""What calls moved: a side's line has what it sent and what it got of the other end, a summary what passed."""

from collections import Counter
from collections.abc import Iterator

from stage.soak.books import Books, Call, Line
from stage.soak.check import Check

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
