"""What is in the image, what is not, and how much it weighs."""

import ast
import json
import os
import re
from pathlib import Path

import pytest

from tests.image.conftest import ImageFactory
from tests.image.engine import ROOT, Engine

pytestmark = [pytest.mark.image, pytest.mark.timeout(1200)]

MOST_OVER_BASE = 120e6
"""Bytes, unpacked: what a node that has the base pulls before a replica starts."""

FILES = """
import os
sizes = {}
for folder, folders, files in os.walk("/"):
    if folder == "/":
        folders[:] = set(folders) - {"proc", "sys", "dev", "run"}
    for path in (os.path.join(folder, file) for file in files):
        sizes[path] = os.lstat(path).st_size
print(sizes)
"""
TOOLS = """
import importlib.util, shutil
modules = [name for name in ("pip", "ensurepip", "setuptools") if importlib.util.find_spec(name)]
print(modules + [name for name in ("pip", "pip3", "gcc", "cc", "make", "git") if shutil.which(name)])
"""

INSTALLED = """
from importlib.metadata import distributions
print({each.name.lower().replace("_", "-"): each.version for each in distributions()})
"""
TELEMETRY = """
try:
    import opentelemetry.exporter.otlp.proto.grpc.trace_exporter
except ModuleNotFoundError:
    print("none")
else:
    print("there")
"""


@pytest.mark.parametrize("extras", ["", "telemetry"])
def test_it_weighs_little_more_than_its_base(engine: Engine, image_of: ImageFactory, base: str, extras: str) -> None:
    before, after = (ast.literal_eval(engine.python(image, "-c", FILES).stdout) for image in (base, image_of(extras)))
    added = sum(size for path, size in after.items() if before.get(path) != size)
    print(f"{added / 1e6:.1f} MB over {base}, extras: {extras or 'none'}")  # noqa: T201
    assert 1e6 < added < MOST_OVER_BASE


@pytest.mark.parametrize(("extras", "said"), [("", "none"), ("telemetry", "there")])
def test_telemetry_is_in_it_when_it_was_asked_for(
    engine: Engine, image_of: ImageFactory, extras: str, said: str
) -> None:
    assert engine.python(image_of(extras), "-c", TELEMETRY).stdout.strip() == said


@pytest.mark.parametrize("python", ["python", "/usr/local/bin/python3"])
def test_it_offers_nothing_to_install_or_build_with(engine: Engine, image: str, python: str) -> None:
    code = f"import subprocess; subprocess.run([{python!r}, '-c', {TOOLS!r}])"
    assert engine.python(image, "-c", code).stdout.strip() == "[]"


def test_only_the_relay_is_in_it(engine: Engine, image: str) -> None:
    code = "import importlib.util as u; print([n for n in ('rtproxy', 'clients', 'stage', 'pytest') if u.find_spec(n)])"
    assert engine.python(image, "-c", code).stdout.strip() == "['rtproxy']"


@pytest.mark.parametrize("extras", ["", "telemetry"])
def test_its_dependencies_have_the_versions_of_the_lock_file(
    engine: Engine, image_of: ImageFactory, extras: str
) -> None:
    installed = ast.literal_eval(engine.python(image_of(extras), "-c", INSTALLED).stdout)
    text = (ROOT / "requirements" / f"{extras or 'relay'}.txt").read_text()
    locked = dict(re.findall(r"^([\w.-]+)(?:\[.+?\])?==(\S+)", text, re.M))
    del installed["rtproxy"]
    assert {"aiohttp", "uvloop", "orjson"} < set(installed)
    assert installed.items() <= locked.items()


@pytest.mark.parametrize("extras", ["", "telemetry"])
def test_its_bill_of_materials_lists_what_is_installed(engine: Engine, image_of: ImageFactory, extras: str) -> None:
    """It was held to its schema when it was made. It is kept where RTPROXY_ARTIFACTS says."""
    said = engine.python(image_of(extras), "-c", "print(open('/sbom.cdx.json').read())").stdout
    bill = json.loads(said)
    listed = {each["purl"].removeprefix("pkg:pypi/") for each in bill["components"] if "purl" in each}
    installed = ast.literal_eval(engine.python(image_of(extras), "-c", INSTALLED).stdout)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert listed | {f"rtproxy@{installed['rtproxy']}"} == {f"{name}@{version}" for name, version in installed.items()}
    if kept := os.environ.get("RTPROXY_ARTIFACTS"):
        Path(kept).mkdir(parents=True, exist_ok=True)
        Path(kept, f"rtproxy{extras and '-' + extras}.cdx.json").write_text(said)


def test_it_takes_its_memory_from_jemalloc(engine: Engine, image: str) -> None:
    """The C library's leaves holes under TLS (docs/soak.md)."""
    code = "print(any('jemalloc' in line for line in open('/proc/self/maps')))"
    assert engine.python(image, "-c", code).stdout.strip() == "True"


def test_a_start_compiles_nothing(engine: Engine, image: str) -> None:
    """Python says of each module whether its code came from a .pyc, quoted, or from its source, as it is."""
    said = engine.python(image, "-v", "-c", "import rtproxy.__main__").stderr.splitlines()
    assert sum(line.startswith("# code object from '/") for line in said) > 300
    assert [line for line in said if line.startswith("# code object from /")] == []


def test_it_says_what_it_is(engine: Engine, image: str, base: str) -> None:
    labels = json.loads(engine.do("image", "inspect", "--format", "{{json .Config.Labels}}", image))
    named = {key.removeprefix("org.opencontainers.image."): value for key, value in labels.items()}
    assert named["title"] == "rtproxy"
    assert named["base.name"] == base
    assert (named["version"], named["revision"]) == ("0.0.1", "c0ffee")
