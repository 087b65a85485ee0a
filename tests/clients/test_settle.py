"""New weights are waited for by who answers at the callers' address, each question on a connection of its own."""

import asyncio
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from clients.reading import read
from clients.settle import answers_wanted, disagreement, enough

BLUE, GREEN = "rtproxy--blue", "rtproxy--green"
DEADLINE_S = 60.0


class Ingress:
    """Answers as a revision that `who` names by the number of the question; None: as something that is no relay."""

    def __init__(self) -> None:
        self.who: Callable[[int], str | None] = lambda number: None
        self.peers: list[Any] = []
        self.paths: set[str] = set()
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        self.peers.append(request.transport.get_extra_info("peername"))
        self.paths.add(request.path_qs)
        revision = self.who(len(self.peers))
        headers = {"x-rtproxy-revision": revision} if revision else {}
        return web.Response(status=200 if revision else 502, headers=headers)


@pytest.fixture
async def ingress() -> AsyncIterator[Ingress]:
    found, app = Ingress(), web.Application()
    app.router.add_get("/{anything:.*}", found.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"ws://127.0.0.1:{runner.addresses[0][1]}/v1/realtime?model=a"
    yield found
    await runner.cleanup()


async def settle(url: str, *flags: str, **shares: int) -> tuple[int, str, str]:
    words = [word for name, share in shares.items() for word in ("--share", f"rtproxy--{name}={share}")]
    command = [sys.executable, "-m", "clients.settle", url, *words, *flags]
    done = await asyncio.to_thread(
        lambda: subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    )
    return done.returncode, done.stdout, done.stderr


def drawn(weights: Mapping[str, int], seed: int = 3) -> Callable[[int], str]:
    chance = random.Random(seed)
    return lambda number: chance.choices(list(weights), list(weights.values()))[0]


async def test_weights_are_in_force_when_answers_agree_with_them_each_on_its_own_connection(
    ingress: Ingress, tmp_path: Path
) -> None:
    ingress.who, record = drawn({BLUE: 90, GREEN: 10}), tmp_path / "settle.jsonl"

    code, said, _ = await settle(ingress.url, "--record", str(record), blue=90, green=10)

    assert code == 0
    assert said.startswith(f"The weights {BLUE} 90 / {GREEN} 10 are in force after ")
    assert len(set(ingress.peers)) == len(ingress.peers) >= 180
    assert ingress.paths == {"/healthz"}
    (settled,) = read([record]).settled
    assert settled.weights == {BLUE: 90, GREEN: 10}


async def test_a_service_that_lags_is_waited_for(ingress: Ingress) -> None:
    half, late = drawn({BLUE: 50, GREEN: 50}), drawn({BLUE: 1, GREEN: 9})
    ingress.who = lambda number: half(number) if number <= 100 else late(number) if number <= 200 else GREEN

    code, said, _ = await settle(ingress.url, "--json", blue=0, green=100)

    found = json.loads(said)
    assert code == 0, said
    assert found["asked"] > 200
    assert found["answers"] == {GREEN: 90}


async def test_weights_that_never_come_into_force_are_told_with_who_answered(ingress: Ingress, tmp_path: Path) -> None:
    ingress.who, record = drawn({BLUE: 50, GREEN: 50}), tmp_path / "settle.jsonl"

    code, _, said = await settle(ingress.url, "--timeout", "1", "--record", str(record), blue=0, green=100)

    assert code == 1
    assert f"The weights {GREEN} 100 are not in force after 1" in said
    assert f"came from {BLUE}, which has no weight" in said
    assert read([record]).settled == []
    assert not json.loads(record.read_text())["in_force"]


async def test_a_revision_that_has_a_weight_has_to_be_seen(ingress: Ingress) -> None:
    ingress.who = lambda number: BLUE

    code, _, said = await settle(ingress.url, "--timeout", "1", blue=90, green=10)

    assert code == 1
    assert f"of 90 are to be expected. Of the last round of 90 answers 90 came from {BLUE}." in said


async def test_what_answers_and_is_no_relay_is_told(ingress: Ingress) -> None:
    code, _, said = await settle(ingress.url, "--timeout", "1", green=100)
    assert (code, "HTTP 502 from something that is no relay" in said) == (3, True), said

    ingress.who = lambda number: GREEN if number % 5 else None
    code, _, said = await settle(ingress.url, "--timeout", "1", green=100)
    assert (code, "no relay (HTTP 502)" in said) == (1, True), said

    code, _, said = await settle("ws://127.0.0.1:9", "--timeout", "1", green=100)
    assert (code, "No relay answered" in said) == (3, True), said


async def test_problems_of_its_command_line_are_named_at_once() -> None:
    code, _, said = await settle("ftp://there", "--timeout", "never", blue=0)
    assert code == 2
    for problem in ("URL wants the form", "--timeout wants a number", "--share has to name a revision"):
        assert problem in said
    code, said, _ = await settle("--help")
    assert code == 0
    assert "--share REVISION=WEIGHT" in said


@pytest.mark.parametrize(("green", "calls"), [(10, 44), (50, 7), (90, 44), (100, 1), (1, 459)])
def test_so_many_calls_leave_out_a_revision_less_than_once_in_a_hundred_times(green: int, calls: int) -> None:
    weights = {BLUE: 100 - green, GREEN: green}
    least = min(share for share in weights.values() if share) / 100

    assert enough(weights) == calls
    assert (1 - least) ** calls < 0.01
    assert least == 1 or (1 - least) ** (calls - 1) >= 0.01


@pytest.mark.parametrize("green", [5, 10, 50, 95])
def test_a_round_agrees_with_its_own_weights_and_not_with_those_before(green: int) -> None:
    now, before = {BLUE: 100 - green, GREEN: green}, {BLUE: 100}
    count = answers_wanted(now)
    draw = drawn(now)
    rounds = [Counter(draw(number) for number in range(count)) for _ in range(400)]

    assert sum(disagreement(now, each, whole=True) is not None for each in rounds) <= 16
    assert disagreement(now, Counter({BLUE: count}), whole=True) is not None
    assert disagreement(before, Counter({BLUE: count - 1, GREEN: 1}), whole=False) is not None
