"""A short soak, as a person starts it; and that its judge sees what is wrong, in books that are made up."""

import copy
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen
from sys import executable
from typing import Any

import pytest

from stage.soak import checks
from stage.soak.__main__ import main
from stage.soak.books import Books, assemble
from stage.soak.checks import judge
from stage.soak.plan import KINDS, Plan
from stage.soak.samples import Sample, growths
from tests.browser import needs_chromium, picture, traces

PLAN = Plan(seed=1, calls=50, longest_s=2.0, faults=0.7, period_s=0.15, heartbeat_s=3)
BEFORE = Sample(at=0, rss_kb=60_000, descriptors=16, threads=3, tasks=5, sessions=0, answer_ms=1, ended=0, frames=0)
Line = dict[str, Any]


# The run.


SHORT = ("--calls", "50", "--minutes", "0.2", "--faults", "0.7", "--every", "0.5", "--seed", "1")
MODELS = {"a plaintext model": (), "a model under TLS": ("--tls",)}


def soak(out: Path, *options: str, started: tuple[str, ...] = ("-m", "stage.soak")) -> Popen[str]:
    command = (executable, *started, "--out", str(out), *options)
    return Popen(command, stdout=PIPE, stderr=STDOUT, text=True)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Popen[str], Path]]]:
    """Both side by side: most of a short soak is waiting."""
    folders = {model: tmp_path_factory.mktemp("soak") / "run" for model in MODELS}
    runs = {model: (soak(folder, *SHORT, *MODELS[model]), folder) for model, folder in folders.items()}
    yield runs
    for process, _ in runs.values():
        with process:
            process.kill()


@pytest.mark.parametrize("model", MODELS)
def test_a_short_soak_with_every_fault_adds_up_to_the_last_frame(
    short: dict[str, tuple[Popen[str], Path]], model: str
) -> None:
    process, folder = short[model]
    said, _ = process.communicate()
    assert process.returncode == 0, said
    verdict = json.loads((folder / "verdict.json").read_text())
    options = "".join(f" {option}" for option in MODELS[model])
    assert verdict["command"] == f"nox -s soak -- --calls 50 --minutes 0.2 --faults 0.7 --seed 1{options}"
    assert all(check["held"] for check in verdict["checks"])
    assert verdict["kinds"].keys() == {kind.name for kind in PLAN.kinds()}
    assert sum(kind["calls"] for kind in verdict["kinds"].values()) > 100


@needs_chromium
def test_a_browser_draws_the_curves(short: dict[str, tuple[Popen[str], Path]], tmp_path: Path) -> None:
    process, folder = short["a model under TLS"]
    process.wait()
    page = folder / "soak.html"
    assert "Every check held" in page.read_text()
    assert {"calls", "memory, MB", "tasks"} <= {name for name, _, _ in traces(page)}
    picture(page, "soak", tmp_path)


IMPATIENT = "import sys; from stage.soak import __main__, run; run.ANSWER_S = 1.0; sys.exit(__main__.main())"


@pytest.fixture
def started(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """How Python is told to start a soak."""
    return getattr(request, "param", ("-m", "stage.soak"))


@pytest.fixture
def under_way(started: tuple[str, ...], tmp_path: Path) -> Iterator[Popen[str]]:
    """Half an hour with ten calls, which are all up."""
    with soak(tmp_path / "run", "--calls", "10", "--every", "0.1", "--seed", "1", started=started) as process:
        seen = tmp_path / "run" / "samples.jsonl"
        assert process.stdout is not None
        while not (seen.exists() and '"sessions":10,' in seen.read_text()):
            assert process.poll() is None, process.stdout.read()
        yield process
        process.kill()


def test_an_interrupted_soak_ends_in_order_with_a_verdict_on_what_was_seen(
    under_way: Popen[str], tmp_path: Path
) -> None:
    under_way.send_signal(signal.SIGINT)
    said, _ = under_way.communicate()
    assert under_way.returncode == 130, said
    verdict = json.loads((tmp_path / "run" / "verdict.json").read_text())
    assert verdict["interrupted"]
    assert all(check["held"] for check in verdict["checks"])


def test_a_second_interrupt_ends_a_soak_at_once(under_way: Popen[str], tmp_path: Path) -> None:
    assert under_way.stdout is not None
    under_way.send_signal(signal.SIGINT)
    while "stopping the clients" not in under_way.stdout.readline():
        assert under_way.poll() is None
    under_way.send_signal(signal.SIGINT)
    said, _ = under_way.communicate()
    assert under_way.returncode == 130, said
    assert not (tmp_path / "run" / "verdict.json").exists()


def test_a_relay_that_dies_fails_the_soak(under_way: Popen[str], tmp_path: Path) -> None:
    assert under_way.stdout is not None
    (pid,) = re.findall(r"relay (\d+)", under_way.stdout.readline())
    os.kill(int(pid), signal.SIGKILL)
    said, _ = under_way.communicate()
    assert under_way.returncode == 1, said
    verdict = json.loads((tmp_path / "run" / "verdict.json").read_text())
    failed = {check["name"]: check["problems"] for check in verdict["checks"] if not check["held"]}
    assert "exit code -9" in failed["the relay ends with 0 and complained of nothing"]
    assert "one summary a call" in failed


@pytest.mark.parametrize("started", [("-c", IMPATIENT)], ids=["impatient"], indirect=True)
def test_a_relay_that_does_not_answer_for_long_fails_the_soak(under_way: Popen[str], tmp_path: Path) -> None:
    assert under_way.stdout is not None
    (pid,) = re.findall(r"relay (\d+)", under_way.stdout.readline())
    os.kill(int(pid), signal.SIGSTOP)
    while "stopping the clients" not in under_way.stdout.readline():
        assert under_way.poll() is None
    os.kill(int(pid), signal.SIGCONT)
    said, _ = under_way.communicate()
    assert under_way.returncode == 1, said
    verdict = json.loads((tmp_path / "run" / "verdict.json").read_text())
    problems = {check["name"]: check["problems"] for check in verdict["checks"]}
    assert problems["the relay answers all the time"] == [
        "it did not answer /metrics any more, and the run ended there"
    ]
    assert problems["the relay ends with 0 and complained of nothing"] == []


def test_a_model_that_dies_ends_the_soak_and_is_named(under_way: Popen[str]) -> None:
    assert under_way.stdout is not None
    (pid,) = re.findall(r"model (\d+)", under_way.stdout.readline())
    os.kill(int(pid), signal.SIGKILL)
    said, _ = under_way.communicate()
    assert under_way.returncode == 3, said
    assert "soak: no run: the model broke off with -9\n" in said


@pytest.mark.parametrize(
    "wrong",
    [("--calls", "0"), ("--minutes", "-1"), ("--faults", "1.5"), ("--out", "tests"), ("--out", __file__)],
    ids=["calls", "minutes", "faults", "out-not-empty", "out-a-file"],
)
def test_a_wrong_argument_is_named(
    wrong: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["soak", *wrong])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert wrong[0] in capsys.readouterr().err


# The plan.


def test_both_ends_work_out_the_same_life_and_another_seed_gives_others() -> None:
    lives = [(PLAN.life(n, "client"), PLAN.life(n, "model")) for n in range(200)]
    assert all(a[:4] == b[:4] for a, b in ((facts(c), facts(m)) for c, m in lives))
    other = Plan(seed=2, calls=50, longest_s=2.0, faults=0.7, period_s=0.15, heartbeat_s=3)
    assert [facts(c) for c, _ in lives] != [facts(other.life(n, "client")) for n in range(200)]


def facts(life: Any) -> tuple[int, str, float, int | None]:
    return life.number, life.kind.name, life.lasts_s, life.code


def test_every_fault_comes_at_least_once_however_short_the_run() -> None:
    kinds = PLAN.kinds()
    assert [PLAN.life(n, "client").kind for n in range(len(kinds))] == kinds
    half_an_hour = Plan(seed=1, calls=500, longest_s=120.0, faults=0.2, period_s=0.15, heartbeat_s=5)
    assert half_an_hour.kinds() == list(KINDS.values())


# The judge.


def side(number: int, *, sent: int, got: int, **more: object) -> Line:
    """What an end wrote down: frames of 100 bytes, and a goodbye that both of them heard."""
    heard = {
        "sent": {"frames": sent, "size": 100 * sent, "crc": sent},
        "got": {"frames": got, "size": 100 * got, "crc": got},
        "said_close": [1000, "soak"],
        "got_close": [1000, "soak"],
        "relay_close": None,
        "relay_pings": 0,
        "disorder": 0,
        "ended": "fin",
    }
    return {"number": number, "status": 101, "heard": heard | more}


def client(number: int, kind: str = "client.closes", *, sent: int = 7, got: int = 5, **more: object) -> Line:
    told = {"kind": kind, "code": 1000, "session": f"s{number}", "stopped": False, "overdue": False}
    return side(number, sent=sent, got=got, **more) | told


def model(number: int, *, sent: int = 5, got: int = 7, **more: object) -> Line:
    return side(number, sent=sent, got=got, **more) | {"responses": 1, "tokens_in": 2, "tokens_out": 3}


def summary(number: int, up: int = 7, down: int = 5, by: str = "client", client: int = 1000, model: int = 1000) -> Line:
    moved = {"frames_up": up, "frames_down": down, "bytes_up": 100 * up, "bytes_down": 100 * down}
    told = {"responses": 1, "tokens_in": 2, "tokens_out": 3, "upstream_session": f"soak-{number}"}
    codes = {"ended_by": by, "client_code": client, "upstream_code": model}
    return {"event": "connection.closed", "session": f"s{number}"} | moved | told | codes


VANISHED = {"said_close": None, "got_close": None}


class Run:
    """Two whole calls and one whose client vanished while three frames were on their way, in sound books."""

    def __init__(self) -> None:
        told = VANISHED | {"relay_close": [1001, "client went away"]}
        self.clients = [client(0), client(1), client(2, "client.resets", got=4, **VANISHED)]
        self.model = [model(0), model(1), model(2, got=5, **told)]
        self.relay = [summary(0), summary(1), summary(2, up=6, client=1006, model=1001)]
        self.under_load = [
            Sample(
                at=float(s),
                rss_kb=70_000 + 300 * (s % 7),
                descriptors=1016 + s % 3,
                threads=3,
                tasks=7 + s % 2,
                sessions=500,
                answer_ms=1,
                ended=s,
                frames=s,
            )
            for s in range(60)
        ]
        self.after = BEFORE
        self.series: dict[str, float] | None = None
        self.said = ""
        self.code = 0

    def books(self) -> Books:
        stood = [{"event": name} for name in ("client.connected", "bridge.completed") for _ in self.relay]
        series = self.series
        if series is None:
            series = {name: sum(line[field] for line in self.relay) for name, field in checks.TOTALS.items()}
        return assemble(self.clients, self.model, [*self.relay, *stood], series, self.said, self.code)

    def problems(self) -> list[str]:
        """Of every check but that every fault happened, which three calls cannot."""
        checks = judge(PLAN, self.books(), BEFORE, self.under_load, self.after)
        names = {check.name for check in checks}
        assert len(names) == len(checks)
        return [each for check in checks if check.name != "every fault happened" for each in check.problems]


def test_sound_books_hold() -> None:
    assert Run().problems() == []


def growing(field: str, by: float) -> Callable[[Run], None]:
    def grow(run: Run) -> None:
        run.under_load = [
            Sample(**{**as_dict(each), field: int(getattr(each, field) + by * each.at)}) for each in run.under_load
        ]

    return grow


def as_dict(sample: Sample) -> dict[str, Any]:
    return {name: getattr(sample, name) for name in Sample.__slots__}


def put(run: Run, ledger: str, at: int, path: str, value: object) -> None:
    """Changes one entry: ``heard.got.frames`` of the model's line of call 1."""
    line = getattr(run, ledger)[at]
    *way, last = path.split(".")
    for name in way:
        line = line[name]
    line[last] = value


def left(**what: int) -> Callable[[Run], None]:
    def leave(run: Run) -> None:
        run.after = Sample(**{**as_dict(BEFORE), **what})

    return leave


WRONG: dict[str, tuple[Callable[[Run], None], str]] = {
    "a summary is missing": (lambda run: run.relay.pop(), "call 2 (client.resets): 0 summaries of session s2"),
    "a summary is there twice": (
        lambda run: run.relay.append(copy.deepcopy(run.relay[0])),
        "call 0 (client.closes): 2 summaries of session s0",
    ),
    "a summary is of nobody's call": (
        lambda run: run.relay.append(summary(9) | {"upstream_session": None}),
        "1 summaries of nobody's session, and 0 calls that want one",
    ),
    "a client never heard the end": (
        lambda run: put(run, "clients", 0, "overdue", True),
        "call 0 (client.closes): left",
    ),
    "a frame was lost before the relay": (
        lambda run: run.relay.__setitem__(0, summary(0, up=6)),
        "call 0 (client.closes): frames up: client sent 7, relay passed 6, model got 7",
    ),
    "a frame was lost in the relay": (
        lambda run: put(run, "model", 1, "heard.got.frames", 6),
        "call 1 (client.closes): frames up: client sent 7, relay passed 7, model got 6",
    ),
    "a byte was lost on the way down": (
        lambda run: put(run, "clients", 1, "heard.got.size", 499),
        "call 1 (client.closes): bytes down: model sent 500, relay passed 500, client got 499",
    ),
    "a byte was changed": (
        lambda run: put(run, "model", 1, "heard.got.crc", 99),
        "call 1 (client.closes): bytes up were changed on the way",
    ),
    "a frame came twice or out of order": (
        lambda run: put(run, "model", 2, "heard.disorder", 1),
        "call 2 (client.resets): 1 frames were not the next for the model",
    ),
    "a Close was changed": (
        lambda run: put(run, "model", 0, "heard.got_close", [1001, "soak"]),
        "call 0 (client.closes): the client's Close [1000, 'soak'] reached the model as [1001, 'soak']",
    ),
    "tokens were not read": (
        lambda run: put(run, "relay", 0, "tokens_out", 0),
        "call 0 (client.closes): tokens_out: the model gave 3, the relay read 0",
    ),
    "a cut call has more passed than was sent": (
        lambda run: put(run, "relay", 2, "frames_up", 8),
        "call 2 (client.resets): frames up: sent 7, passed 8, got 5",
    ),
    "a cut call has more got than was passed": (
        lambda run: put(run, "clients", 2, "heard.got.size", 501),
        "call 2 (client.resets): bytes down: sent 500, passed 500, got 501",
    ),
    "a call ended another way than its fault": (
        lambda run: put(run, "relay", 2, "ended_by", "error"),
        "call 2 (client.resets): ended by error, not by client",
    ),
    "a leg has another code": (
        lambda run: put(run, "relay", 2, "client_code", 1000),
        "call 2 (client.resets): its client's leg ended with 1000, not with 1006",
    ),
    "an end heard another code than the summary's": (
        lambda run: put(run, "model", 2, "heard.relay_close", [1011, "relay failed"]),
        "call 2 (client.resets): the model heard the relay's 1011, the summary has 1001",
    ),
    "a call was refused that was not to be": (
        lambda run: run.clients.append(client(3) | {"session": None, "status": 503}),
        "call 3 (client.closes): answered 503, not 101",
    ),
    "a refusal was not counted": (
        lambda run: run.clients.append(client(3, "client.bad-key") | {"session": None, "status": 401}),
        "rtproxy_refusals_total is 0, and the clients saw 1",
    ),
    "the counters are not the sum": (
        lambda run: setattr(run, "series", dict.fromkeys(checks.TOTALS, 0)),
        'rtproxy_frames_total{direction="up"} is 0, the summaries have 20',
    ),
    "memory grows": (growing("rss_kb", 100), "KB in 0.5 min"),
    "a descriptor leaks now and then": (growing("descriptors", 0.5), "descriptors in 0.5 min"),
    "tasks pile up": (growing("tasks", 0.5), "tasks in 0.5 min"),
    "the run was too short to tell": (
        lambda run: setattr(run, "under_load", run.under_load[:2]),
        "the run was too short to tell",
    ),
    "descriptors are left": (left(descriptors=19), "19 descriptors are left, 16 were there at the start"),
    "a task is left": (left(tasks=8), "8 tasks are left, 5 were there at the start"),
    "a session is left": (left(sessions=1), "1 sessions are left"),
    "the relay did not end in order": (lambda run: setattr(run, "code", 1), "exit code 1"),
    "the relay complained": (lambda run: setattr(run, "said", "Traceback ..."), "on stderr: Traceback ..."),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_the_judge_names_it_when(wrong: str) -> None:
    spoil, problem = WRONG[wrong]
    run = Run()
    spoil(run)
    assert any(problem in said for said in run.problems()), run.problems()


def test_a_frame_of_a_megabyte_in_memory_now_and_then_is_no_growth() -> None:
    run = Run()
    run.under_load = [
        Sample(**{**as_dict(each), "rss_kb": each.rss_kb + (8000 if i % 9 == 8 else 0)})
        for i, each in enumerate(run.under_load)
    ]
    assert run.problems() == []


def test_a_bump_that_is_given_back_is_no_growth() -> None:
    run = Run()
    last = len(run.under_load)
    # The more and the higher, the later; but between them it is what it was.
    bumps = [8 * place if place % 3 else 0 for place in range(last)]
    run.under_load = [
        Sample(**{**as_dict(each), "rss_kb": each.rss_kb + 1024 * bump, "at": 60.0 * place})
        for place, (each, bump) in enumerate(zip(run.under_load, bumps, strict=True))
    ]
    memory = next(each for each in growths(run.under_load) if each.unit == "KB")
    assert memory.held


@pytest.mark.parametrize(("kb_a_call", "held"), [(1, True), (10, False)])
def test_under_tls_memory_may_have_holes_and_no_lost_connection(kb_a_call: int, held: bool) -> None:
    run = Run()
    growing("rss_kb", 50 * kb_a_call)(run)
    # Fifty calls a second.
    run.under_load = [Sample(**{**as_dict(each), "ended": 50 * each.ended}) for each in run.under_load]
    memory = next(each for each in growths(run.under_load, holes=True) if each.unit == "KB")
    assert memory.held is held


def test_a_fault_that_never_happened_is_named() -> None:
    assert "model.breaks never happened" in checks.every_kind(PLAN, Run().books()).problems


def test_a_call_called_home_may_end_as_its_fault_or_as_its_client_says() -> None:
    run = Run()
    put(run, "clients", 2, "stopped", True)
    run.relay[2] |= {"ended_by": "client", "client_code": 1001, "upstream_code": 1001}
    assert run.problems() == []
