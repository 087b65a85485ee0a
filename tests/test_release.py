"""A tag becomes a release of its own version, or nothing; and what is released says of what it was built."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import noxfile
from rtproxy import __version__

ROOT = Path(__file__).parents[1]
WORKFLOW: dict[Any, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())
CHANGELOG = """# Changelog

## [Unreleased]

## [1.2.0] - 2026-12-24

### Added
- A thing.

## [1.1.10] - Unreleased

- Not yet.

## [1.1.0] - 2026-01-31

- The first.
"""
RUN = {
    "GITHUB_SERVER_URL": "https://github.example",
    "GITHUB_REPOSITORY": "owner/name",
    "GITHUB_REF": "refs/tags/v1.2.0",
    "GITHUB_SHA": "c0ffee",
    "GITHUB_WORKFLOW_REF": "owner/name/.github/workflows/release.yml@refs/tags/v1.2.0",
    "GITHUB_EVENT_NAME": "push",
    "GITHUB_REPOSITORY_ID": "1",
    "GITHUB_REPOSITORY_OWNER_ID": "2",
    "GITHUB_RUN_ID": "3",
    "GITHUB_RUN_ATTEMPT": "4",
    "RUNNER_ENVIRONMENT": "github-hosted",
}


def tree_of(version: str, folder: Path) -> Path:
    (folder / "rtproxy").mkdir()
    (folder / "rtproxy" / "__init__.py").write_text(f'"""A relay."""\n\n__version__ = "{version}"\n')
    (folder / "CHANGELOG.md").write_text(CHANGELOG)
    return folder


def steps(job: str) -> list[str]:
    return [step.get("run", "") for step in WORKFLOW["jobs"][job]["steps"]]


def test_the_notes_are_what_the_changelog_says_of_the_version(tmp_path: Path) -> None:
    tree = tree_of("1.2.0", tmp_path)
    assert noxfile.notes_of("v1.2.0", tree) == "### Added\n- A thing.\n"


def test_the_last_version_of_the_changelog_has_notes_too(tmp_path: Path) -> None:
    assert noxfile.notes_of("v1.1.0", tree_of("1.1.0", tmp_path)) == "- The first.\n"


@pytest.mark.parametrize("tag", ["v1.2.1", "1.2.0", "v1.2.0-rc1", "v1.2", "latest"])
def test_a_tag_of_another_version_is_refused(tmp_path: Path, tag: str) -> None:
    with pytest.raises(ValueError, match=rf"the tag is {re.escape(tag)}, but rtproxy/__init__\.py has version 1\.2\.0"):
        noxfile.notes_of(tag, tree_of("1.2.0", tmp_path))


@pytest.mark.parametrize("version", ["1.1.10", "1.1.1"])
def test_a_version_without_a_date_in_the_changelog_is_refused(tmp_path: Path, version: str) -> None:
    with pytest.raises(ValueError, match=rf"no heading with a date: ## \[{re.escape(version)}\]"):
        noxfile.notes_of(f"v{version}", tree_of(version, tmp_path))


def test_the_changelog_has_a_part_on_the_version_that_stands_in_the_code() -> None:
    headings = re.findall(r"^## \[(.+?)\] - (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0][0] == __version__
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d|Unreleased", date) for _, date in headings)
    assert [date for _, date in headings[1:] if date == "Unreleased"] == []


def test_the_session_builds_the_commit_and_nothing_that_lies_beside_it(tmp_path: Path) -> None:
    """Whole, in a repository of its own: a file that was not committed is in no wheel, and a wrong tag builds none."""
    for each in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE", "noxfile.py"):
        shutil.copy2(ROOT / each, tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    tree_of("1.2.0", tmp_path)
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main")
    for words in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "--message", "All")):
        subprocess.run((*git, *words), cwd=tmp_path, check=True)
    (tmp_path / "rtproxy" / "draft.py").touch()

    def release(tag: str) -> "subprocess.CompletedProcess[str]":
        command = (sys.executable, "-m", "nox", "--session", "release", "--", tag)
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=150)

    refused = release("v1.2.1")
    assert refused.returncode == 1
    assert "the tag is v1.2.1, but rtproxy/__init__.py has version 1.2.0: nothing was built" in refused.stderr
    assert not (tmp_path / "dist").exists()

    built = release("v1.2.0")
    assert built.returncode == 0, built.stderr
    assert {each.name for each in (tmp_path / "dist").iterdir()} == {"rtproxy-1.2.0-py3-none-any.whl", "notes.md"}
    listed = subprocess.run(
        (sys.executable, "-m", "zipfile", "--list", "dist/rtproxy-1.2.0-py3-none-any.whl"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "rtproxy/__init__.py" in listed.stdout
    assert "draft" not in listed.stdout


def test_a_tag_of_a_version_begins_it_and_nothing_is_built_before_the_tag_was_checked() -> None:
    assert WORKFLOW[True] == {"push": {"tags": ["v*"]}}
    assert 'nox --session release -- "$GITHUB_REF_NAME"' in steps("wheel")
    assert {name: job.get("needs") for name, job in WORKFLOW["jobs"].items()} == {
        "wheel": None,
        "image": "wheel",
        "publish": ["wheel", "image"],
    }


def test_a_release_takes_nothing_from_a_cache_that_another_run_has_filled() -> None:
    for job in WORKFLOW["jobs"].values():
        for step in job["steps"]:
            assert "cache" not in step.get("with", {})


def test_what_is_released_is_what_was_attested() -> None:
    attested, released = (
        set(re.findall(r"dist/\*\.\w+(?=\s|$)", run))
        for word in ("sigstore attest", "gh release create")
        for run in steps("publish")
        if word in run
    )
    assert attested == released == {"dist/*.whl", "dist/*.json"}


def test_a_run_says_of_which_commit_it_built() -> None:
    spec = importlib.util.spec_from_file_location("provenance", ROOT / ".github" / "provenance.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    said = module.provenance(RUN)
    built, ran = said["buildDefinition"], said["runDetails"]
    assert built["externalParameters"]["workflow"] == {
        "ref": "refs/tags/v1.2.0",
        "repository": "https://github.example/owner/name",
        "path": ".github/workflows/release.yml",
    }
    assert built["resolvedDependencies"] == [
        {"uri": "git+https://github.example/owner/name@refs/tags/v1.2.0", "digest": {"gitCommit": "c0ffee"}}
    ]
    assert ran["builder"]["id"] == f"https://github.example/{RUN['GITHUB_WORKFLOW_REF']}"
    assert ran["metadata"]["invocationId"] == "https://github.example/owner/name/actions/runs/3/attempts/4"
