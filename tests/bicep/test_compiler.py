"""What the real compiler makes of the same files, which stand beside it in `compiler/`, is what the stage's makes."""

import json
from pathlib import Path
from typing import Any

import pytest

from stage.arm.resources import guid, unique_string
from stage.bicep import compile
from tests.bicep.listed import listed
from tests.bicep.worked_out import asked

COMPILER = Path(__file__).parent / "compiler"
# Of the samples, those whose features are in the template.
SAMPLES = ("types",)
SETS = ("first", "full", "issuer", "keyed", "plain", "single", "weights")


def read(name: str) -> Any:
    return json.loads((COMPILER / name).read_text())


def plain(template: Any) -> Any:
    """Without the compiler's own name, and with every list of dependencies as a set."""
    if isinstance(template, list):
        return [plain(each) for each in template]
    if not isinstance(template, dict):
        return template
    found = {name: plain(inner) for name, inner in template.items() if name not in ("_generator", "dependsOn")}
    if "dependsOn" in template:
        found["dependsOn"] = sorted(template["dependsOn"])
    return {name: inner for name, inner in found.items() if (name, inner) != ("metadata", {})}


def without_existing(template: Any) -> Any:
    """The compiler also depends on what only exists, for which nothing waits."""
    resources = template["resources"]
    deployed = {name for name, each in resources.items() if not each.get("existing")}
    for each in resources.values():
        kept = [name for name in each.get("dependsOn", ()) if name in deployed]
        each.pop("dependsOn", None)
        if kept:
            each["dependsOn"] = kept
        if each["type"] == "Microsoft.Resources/deployments":
            without_existing(each["properties"]["template"])
    return template


def test_the_template_of_a_commit_is_the_compilers() -> None:
    ours = compile(COMPILER / "template" / "main.bicep")
    assert plain(ours) == plain(without_existing(read("main.symbolic.json")))


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_sample_is_the_compilers(sample: str) -> None:
    assert plain(compile(COMPILER / "samples" / f"{sample}.bicep")) == plain(read(f"samples/{sample}.json"))


def test_a_list_made_of_symbolic_names_is_the_compilers() -> None:
    ours = listed(compile(COMPILER / "template" / "main.bicep"))
    assert plain(ours) == plain(read("main.json"))


@pytest.mark.parametrize(("arguments", "value"), read("names.json")["uniqueString"])
def test_a_unique_string_is_the_one_of_azure(arguments: list[str], value: str) -> None:
    assert unique_string(*arguments) == value


@pytest.mark.parametrize(("arguments", "value"), read("names.json")["guid"])
def test_a_guid_is_the_one_of_azure(arguments: list[str], value: str) -> None:
    assert guid(*arguments) == value


@pytest.mark.parametrize("parameters", SETS)
def test_a_list_asks_for_what_symbolic_names_ask_for(parameters: str) -> None:
    given = read(f"snapshots/{parameters}.parameters.json")
    of_list, of_symbols = (asked(read(name), **given) for name in ("main.json", "main.symbolic.json"))
    assert sorted(of_list, key=str) == sorted(of_symbols, key=str)
