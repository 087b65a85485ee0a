"""``python -m stage``: a stage that a person can type az against."""

import signal
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen

import pytest

COMMAND = (sys.executable, "-m", "stage")
REVISIONS = "az containerapp revision list -n rtproxy -g rehearsal --query [].name -o tsv"


@pytest.mark.timeout(120)
def test_a_person_sources_one_file_and_types_az_until_ctrl_c(tmp_path: Path) -> None:
    out = tmp_path / "stage"
    stage = Popen((*COMMAND, "--out", str(out)), stdout=PIPE, stderr=STDOUT, text=True)
    assert stage.stdout is not None
    said = []
    for line in stage.stdout:
        said.append(line)
        if line.startswith("Ctrl-C"):
            break
    script = out / "env.sh"
    assert script.stat().st_mode & 0o077 == 0
    key = script.read_text().partition("RTPROXY_KEY=")[2].split()[0]
    assert len(key) > 20
    assert key not in "".join(said)
    typed = subprocess.run(("bash", "-c", f'. "{script}"; {REVISIONS}'), capture_output=True, text=True, check=False)
    assert (typed.returncode, typed.stdout) == (0, "rtproxy--blue\n"), typed.stderr
    stage.send_signal(signal.SIGINT)
    rest, _ = stage.communicate(timeout=30)
    assert (stage.returncode, rest) == (0, "")


@pytest.mark.timeout(60)
def test_an_app_that_azure_would_reject_ends_it_with_2_and_the_reason(tmp_path: Path) -> None:
    scale = ("--min-replicas", "5", "--max-replicas", "2", "--out", str(tmp_path / "stage"))
    done = subprocess.run((*COMMAND, *scale), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "minReplicas 5 is more than maxReplicas 2" in done.stderr
