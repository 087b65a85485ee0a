"""Every check of a run, in the order in which they are shown."""

from collections.abc import Sequence

from stage.soak import ended, moved
from stage.soak.books import Books
from stage.soak.check import Check
from stage.soak.growth import growths
from stage.soak.plan import Plan
from stage.soak.samples import Sample

SLACK_DESCRIPTORS, SLACK_TASKS = 2, 2
"""At the end, over the start: a connection that is asked for a page and one that is just being closed."""


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
        ended.summaries(books),
        moved.whole_calls(books),
        moved.cut_calls(books),
        moved.order(books),
        moved.totals(books),
        ended.endings(books),
        ended.refusals(books),
        *((ended.every_kind(plan, books),) if whole else ()),
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
