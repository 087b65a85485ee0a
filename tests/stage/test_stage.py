"""``python -m stage``: a stage that a person can type az against."""

import signal
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen

import certifi
import pytest

from stage.azure import Stage
from stage.seed import Seed

COMMAND = (sys.executable, "-m", "stage")
REVISIONS = "az containerapp revision list -n rtproxy -g rehearsal --query [].name -o tsv"


def stand(out: Path, *flags: str) -> tuple[Popen[str], str]:
    """A stage that stands, and what it said until then."""
    stage = Popen((*COMMAND, "--out", str(out), *flags), stdout=PIPE, stderr=STDOUT, text=True)
    assert stage.stdout is not None
    said = []
    for line in stage.stdout:
        said.append(line)
        if line.startswith("Ctrl-C"):
            break
    return stage, "".join(said)


@pytest.mark.timeout(120)
def test_a_person_sources_one_file_and_types_az_until_ctrl_c(tmp_path: Path) -> None:
    out = tmp_path / "stage"
    stage, said = stand(out)
    script = out / "env.sh"
    assert script.stat().st_mode & 0o077 == 0
    key = script.read_text().partition("RTPROXY_KEY=")[2].split()[0]
    assert len(key) > 20
    assert key not in said
    bundle = script.read_text().partition("REQUESTS_CA_BUNDLE=")[2].split()[0]
    assert Path(bundle).read_bytes() == Path(certifi.where()).read_bytes() + (out / "ca.pem").read_bytes()
    typed = subprocess.run(("bash", "-c", f'. "{script}"; {REVISIONS}'), capture_output=True, text=True, check=False)
    assert (typed.returncode, typed.stdout) == (0, "rtproxy--blue\n"), typed.stderr
    stage.send_signal(signal.SIGINT)
    rest, _ = stage.communicate(timeout=30)
    assert (stage.returncode, rest) == (0, "")
    assert (out / "model.jsonl").exists()


@pytest.mark.timeout(120)
def test_an_empty_stage_has_no_group_and_a_bicep_for_az(tmp_path: Path) -> None:
    out = tmp_path / "stage"
    stage, said = stand(out, "--empty")
    assert "The subscription is empty" in said
    (tmp_path / "main.bicep").write_text("output word string = toLower('HERE')\n")
    typed = "az group list -o tsv && az group create -n voice -l eastus2 -o none && az deployment group create -g voice"
    typed += f" --template-file {tmp_path}/main.bicep --query properties.outputs.word.value -o tsv"
    script = f'. "{out}/env.sh"; test -n "$STAGE_GATEWAY_URL$STAGE_REVISIONS$STAGE_INGRESS$RTPROXY_KEY" && {typed}'
    done = subprocess.run(("bash", "-c", script), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "here\n"), done.stderr
    stage.send_signal(signal.SIGINT)
    rest, _ = stage.communicate(timeout=30)
    assert (stage.returncode, rest) == (0, "")


@pytest.mark.timeout(60)
async def test_a_stage_whose_app_does_not_become_ready_does_not_stand_and_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"did not become ready: ContainerCrashing.*RTPROXY_DRAIN_SECONDS is '9999'"):
        async with Stage(tmp_path, Seed(drain_s=9999)):
            pass


@pytest.mark.timeout(60)
def test_an_app_that_azure_would_reject_ends_it_with_2_and_the_reason(tmp_path: Path) -> None:
    scale = ("--min-replicas", "5", "--max-replicas", "2", "--out", str(tmp_path / "stage"))
    done = subprocess.run((*COMMAND, *scale), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "minReplicas 5 is more than maxReplicas 2" in done.stderr
