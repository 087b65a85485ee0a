"""A step is not judged before each revision was seen to get calls: by three rounds at most. Without a stage."""

import sys
from pathlib import Path

import pytest

from tests.playbooks.conftest import DEADLINE_S, PLAYBOOKS, ROOT
from tests.playbooks.test_waits import play

pytestmark = pytest.mark.timeout(DEADLINE_S)
# A hold all of whose calls land on blue, but for one in the round that is named.
HOLD = """
import sys
from pathlib import Path
from clients.reading import read
from tests.clients.lines import BLUE, GREEN, Lines
record = Path(sys.argv[sys.argv.index("--record") + 1])
count = int(sys.argv[sys.argv.index("--connections") + 1])
assert sys.argv[sys.argv.index("--kinds") + 1] == "silent"
lines = Lines()
lines.hold(connections=count, kinds=["silent"])
for call in range(count):
    lines.opened(1, call, GREEN if record.stem.endswith("-ROUND") and not call else BLUE, kind="silent", logged=False)
    lines.closed(4, call, kind="silent")
lines.observe(5, "hold.completed", summary={})
lines.write(record.with_suffix(""))
record.write_bytes((record.with_suffix("") / "hold.jsonl").read_bytes())
"""
STEP = """
- ansible.builtin.set_fact: {reached: false}
- ansible.builtin.include_tasks: REACH
  loop: [1, 2, 3]
  loop_control: {loop_var: round}
"""


@pytest.mark.parametrize(
    ("met_in", "rounds"),
    [(1, 1), pytest.param(3, 3, marks=pytest.mark.nightly), (None, 3)],
)
def test_calls_are_held_until_one_lands_on_green_and_after_three_rounds_without_one_the_step_fails(
    tmp_path: Path, met_in: int | None, rounds: int
) -> None:
    (tmp_path / "hold.py").write_text(HOLD.replace("ROUND", str(met_in)))
    (tmp_path / "step.yml").write_text(STEP.replace("REACH", str(PLAYBOOKS / "tasks" / "reach.yml")))
    hold = f'PYTHONPATH={ROOT} exec {sys.executable} {tmp_path}/hold.py "$@"'
    variables = {
        "share": 10,
        "settled": {"enough": 44},
        "shares": {"rtproxy--blue": 90, "rtproxy--green": 10},
        "url": "ws://a",
        "model": "gpt-realtime",
        "step_checks": ["survival.cut"],
        "python": sys.executable,
        "source": str(ROOT),
        "task_timeout": 120,
        "stop_timeout": 1,
        "run_dir": str(tmp_path),
        "caller": ["sh", "-c", hold, "sh"],
    }
    done = play(tmp_path, str(tmp_path / "step.yml"), 0, {}, **variables)

    held = {path.stem for path in tmp_path.glob("reach-*.jsonl")}
    assert held == {f"reach-10-{number + 1}" for number in range(rounds)}, done.output
    if met_in is None:
        assert done.code != 0
        setting = "reach-10-3: At rtproxy--blue 90 / rtproxy--green 10"
        assert f"{setting}: none of 44 new calls came to rtproxy--green" in done.output
    else:
        assert done.code == 0, done.output
