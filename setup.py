"""Compiles the room that every frame passes, where RTPROXY_COMPILE=1 asks for it; otherwise the relay is pure Python.

The source is the same in both forms (mypyc, the compiler that mypy is built with). It takes a C compiler and the
packages of requirements/compile.txt. All else about the package is in setup.cfg.
"""

import os
import sys
from pathlib import Path

from setuptools import setup

ROOM = Path("rtproxy", "wire")
# Nothing in it runs for a frame, and it needs aiohttp.
LEFT_OUT = {"__init__.py", "takeover.py"}


def extensions():
    if os.environ.get("RTPROXY_COMPILE") != "1":
        return []
    try:
        from mypyc.build import mypycify
    except ImportError:
        sys.exit("RTPROXY_COMPILE=1 needs the packages of requirements/compile.txt, and pip's --no-build-isolation")
    sources = sorted(str(path) for path in ROOM.glob("*.py") if path.name not in LEFT_OUT)
    return mypycify(["--strict", *sources], opt_level="3", debug_level="0", group_name="rtproxy")


setup(ext_modules=extensions())
