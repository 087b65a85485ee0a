"""Bad releases as whole rehearsals: real az, the real play, real Envoy. The play finds each before blue stops."""

import subprocess
import sys
from pathlib import Path

import pytest

from stage.sabotage.rows import ROWS

WHOLE = {name for name, row in ROWS.items() if row.whole}
LONGEST_S = 600


def test_the_rows_that_are_rehearsed_are_a_mute_release_one_that_lets_anybody_in_and_one_that_cannot_drain() -> None:
    assert sorted(WHOLE) == ["anybody", "ignores-sigterm", "mute"]


@pytest.mark.nightly
@pytest.mark.timeout(LONGEST_S)
def test_the_play_finds_a_mute_release_one_that_lets_anybody_in_and_one_that_cannot_drain(tmp_path: Path) -> None:
    command = (
        sys.executable,
        "-m",
        "stage.sabotage",
        "--whole",
        "--jobs",
        str(len(WHOLE)),
        "--out",
        str(tmp_path / "out"),
    )
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {line.split()[1] for line in done.stdout.splitlines() if line.startswith("ok ")} == WHOLE
    for name in WHOLE:
        acts = (tmp_path / "out" / name / "timeline.jsonl").read_text()
        assert '"act":"revision.deactivated","app":"rtproxy","revision":"rtproxy--green"' in acts
        assert '"act":"revision.deactivated","app":"rtproxy","revision":"rtproxy--blue"' not in acts
