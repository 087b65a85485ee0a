"""What is installed is known by its hash, everywhere; and what runs at GitHub by its commit."""

import re
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import noxfile

ROOT = Path(__file__).parents[1]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
EACH_LOCK = pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
EACH_WORKFLOW = pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
PLACES = [
    *(ROOT / name for name in (".ci/run", "Containerfile", "README.md", "README.ja.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *WORKFLOWS,
]
# Beyond reading the tree: the token that Azure changes into a login, and the records of an attempt before. A release
# asks whether ci passed, pushes the image, and publishes; one job each.
LOGIN = {"contents": "read", "id-token": "write"}
PUBLISH = {"actions": "read", "attestations": "write", "contents": "write", "id-token": "write"}
ALLOWED = {
    ("deploy", "plan"): LOGIN,
    ("deploy", "play"): LOGIN | {"actions": "read"},
    ("release", "wheel"): {"actions": "read", "contents": "read"},
    ("release", "image"): {"contents": "read", "packages": "write"},
    ("release", "publish"): PUBLISH,
}


def entries(lock: Path) -> list[str]:
    """A line a requirement, its hashes at its end."""
    joined = lock.read_text().replace("\\\n", " ")
    return [line for line in joined.splitlines() if line and not line.startswith(("#", "--"))]


def pinned(lock: Path) -> dict[str, str]:
    """The version of each package, by its canonical name."""
    wanted = [Requirement(each.partition(" --hash")[0]) for each in entries(lock)]
    return {canonicalize_name(each.name): str(each.specifier).removeprefix("==") for each in wanted}


def declared(name: str, monkeypatch: pytest.MonkeyPatch) -> list[Requirement]:
    monkeypatch.chdir(ROOT)
    return [Requirement(line) for line in noxfile.declared()[name].splitlines() if line]


def jobs(workflow: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(workflow.read_text())["jobs"])


@EACH_LOCK
def test_every_requirement_of_a_lock_has_one_version_and_a_hash(lock: Path) -> None:
    assert entries(lock)
    for entry in entries(lock):
        assert re.fullmatch(r"[a-z0-9.-]+(\[[a-z, -]+\])?==\S+( ; [^#]+?)?( +--hash=sha256:[0-9a-f]{64})+", entry)


@EACH_LOCK
def test_a_lock_builds_nothing_and_names_no_place_to_get_it_from(lock: Path) -> None:
    options = [line for line in lock.read_text().splitlines() if line.startswith("-")]
    assert options == ["--only-binary :all:"]
    assert "://" not in lock.read_text()


@EACH_LOCK
def test_a_lock_agrees_with_what_is_declared(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = pinned(lock)
    for wanted in declared(lock.stem, monkeypatch):
        version = versions.get(canonicalize_name(wanted.name))
        assert version, f"{wanted} is not in {lock.name}: nox -s lock -- --keep"
        assert wanted.specifier.contains(version, prereleases=True), f"{wanted}, locked {version}"


def test_every_extra_is_in_a_lock_and_every_lock_is_of_a_known_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    setup = ConfigParser()
    setup.read("setup.cfg")
    assert {extra for extras in (noxfile.LOCKS | noxfile.TOOLS).values() for extra in extras} == set(
        setup["options.extras_require"]
    )
    assert {lock.stem for lock in LOCKS} == set(noxfile.declared())


def test_a_package_has_one_version_in_all_locks() -> None:
    versions: dict[str, set[str]] = {}
    for lock in LOCKS:
        for name, version in pinned(lock).items():
            versions.setdefault(name, set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


@pytest.mark.parametrize("place", PLACES, ids=lambda path: path.name)
def test_nothing_installs_past_the_lock(place: Path) -> None:
    """An install is of a lock, or of what lies here and brings nothing along. A person need not ask for hashes: pip
    checks them all once it sees one."""
    text = re.sub(r"\\\n\s*", " ", place.read_text())
    for command in re.findall(r"\bpip\S* (?:--python \S+ )?(?:install|wheel|download) ([^\n&`|)]*)", text):
        locked = re.search(r"(?:-r|--requirement) \"?requirements/", command)
        by_hash = "--require-hashes" in command or place.suffix == ".md"
        assert (locked and by_hash) or "--no-deps" in command, command


def test_no_session_installs_past_the_lock() -> None:
    installs = re.findall(r"session\.install\((.*)", Path(noxfile.__file__).read_text())
    assert installs
    assert [each for each in installs if not each.startswith(('"--require-hashes"', '"--no-deps"'))] == []


def test_the_hooks_of_a_commit_run_what_the_lint_session_has_installed() -> None:
    """A hook that installed its own tools would have other versions of them, and past the lock."""
    lint = Path(noxfile.__file__).read_text().partition("\ndef lint(")[2].partition("\n@nox.session")[0]
    (place,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert place["repo"] == "local"
    for hook in place["hooks"]:
        assert hook["language"] == "system"
        assert not hook.get("additional_dependencies")
        tool, *words = hook["entry"].removeprefix(".nox/lint/bin/").split()
        command = ", ".join(f'"{word}"' for word in (tool, *words) if word != "--force-exclude")
        assert f"session.run({command}" in lint, hook["entry"]
    assert "pre-commit" in pinned(ROOT / "requirements" / "lint.txt")


@EACH_WORKFLOW
def test_every_action_is_pinned_by_digest_and_says_its_version(workflow: Path) -> None:
    uses = re.findall(r"uses: (.*)", workflow.read_text())
    assert uses
    for action in uses:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


def test_an_action_has_one_digest_in_all_workflows() -> None:
    uses = {action for each in WORKFLOWS for action in re.findall(r"uses: (.*)", each.read_text())}
    assert len(uses) == len({action.partition("@")[0] for action in uses})


@EACH_WORKFLOW
def test_no_workflow_may_more_than_it_needs(workflow: Path) -> None:
    assert yaml.safe_load(workflow.read_text())["permissions"] == {}
    for name, job in jobs(workflow).items():
        assert job["permissions"] == ALLOWED.get((workflow.stem, name), {"contents": "read"})


@EACH_WORKFLOW
def test_no_checkout_leaves_a_credential_behind(workflow: Path) -> None:
    steps = [step for job in jobs(workflow).values() for step in job["steps"]]
    checkouts = [step for step in steps if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert [step for step in checkouts if step["with"]["persist-credentials"] is not False] == []
