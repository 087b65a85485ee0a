"""The pages about clients name the versions that are tested, and their code is code of the tests."""

import json
import re
from pathlib import Path

import pytest

from tests.sdks.conftest import NODE

ROOT = Path(__file__).parents[2]
PAGES = pytest.mark.parametrize("page", [ROOT / "docs" / name for name in ("clients.md", "clients.ja.md")])


@PAGES
def test_the_versions_of_the_table_are_those_of_the_lock_files(page: Path) -> None:
    packages = json.loads((NODE / "package-lock.json").read_text())["packages"]
    npm = {f"{path.removeprefix('node_modules/')}@{package.get('version')}" for path, package in packages.items()}
    pins = re.findall(r"^([\w.-]+)(?:\[.*])?(==\S+)", (ROOT / "requirements" / "everything.txt").read_text(), re.M)
    locked = npm | {name + version for name, version in pins}
    said = set(re.findall(r"`([\w-]+(?:==|@)[\d.]+)`", page.read_text()))
    assert len(said) == 7
    assert said - locked == set()


@PAGES
def test_every_test_of_a_client_has_its_part_of_the_page(page: Path) -> None:
    linked = re.findall(r"\]\(\.\./tests/sdks/(\w+\.py)\)", page.read_text())
    assert sorted(linked) == sorted({path.name for path in Path(__file__).parent.glob("test_*.py")} - {"test_table.py"})


@PAGES
def test_the_code_of_a_part_is_code_of_the_files_that_it_links(page: Path) -> None:
    for part in page.read_text().split("\n## ")[1:]:
        files = re.findall(r"\]\(\.\./(tests/sdks/[\w./]+)\)", part)
        tested = "".join(_bare((ROOT / file).read_text()) for file in files)
        blocks = re.findall(r"```(\w+)\n(.*?)```", part, re.S)
        assert bool(blocks) == bool(files), part  # a part that links no test is about the harness
        for language, block in blocks:
            for statement in re.split(r"\n(?=[^\s)])", block.strip()):
                assert _bare(_as_tested(language, statement)) in tested, statement


def _as_tested(language: str, statement: str) -> str:
    """``statement`` with the addresses that the tests have, and without what they hold open beside it."""
    if language == "csharp":
        return statement
    if language == "js":
        statement = statement.replace("wss://", "ws://")
        return re.sub(r'"(ws|https)://relay\.example\.com([^"]*)"', r"`${\1}\2`", statement)
    statement = statement.removeprefix("async with ").removesuffix(" as call:")
    statement = statement.replace('"https://relay.example.com"', "line.http")
    return re.sub(r'"(?:ws|(http))s://relay\.example\.com', lambda at: f'f"{{line.{at[1] or "ws"}}}', statement)


def _bare(code: str) -> str:
    """Without what a formatter decides, and whoever's key it is."""
    return re.sub(r"\s", "", code).lower()
