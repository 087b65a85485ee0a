"""The room that every frame passes, compiled or not: a relay says which, and a build is compiled only when asked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rtproxy.wire import flow
from tests.conftest import ReplicaFactory

ROOT = Path(__file__).parents[2]
COMPILED = Path(flow.__file__).suffix == ".so"


async def test_a_relay_says_whether_it_is_compiled(replica_for: ReplicaFactory) -> None:
    relay = await replica_for(1)
    assert (await relay.event("proxy.started"))["compiled"] is COMPILED


@pytest.mark.skipif(os.environ.get("RTPROXY_COMPILE") != "1", reason="nox -s compiled")
def test_what_is_tested_in_the_session_of_that_name_is_compiled() -> None:
    assert COMPILED


@pytest.mark.parametrize("asked", [{}, {"RTPROXY_COMPILE": ""}, {"RTPROXY_COMPILE": "0"}])
def test_a_build_compiles_nothing_unless_it_is_asked_to(asked: dict[str, str]) -> None:
    code = "import setuptools; setuptools.setup = lambda ext_modules: print(ext_modules); import setup"
    environ = {name: value for name, value in os.environ.items() if name != "RTPROXY_COMPILE"} | asked
    done = subprocess.run((sys.executable, "-c", code), cwd=ROOT, env=environ, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
