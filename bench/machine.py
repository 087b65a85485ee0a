"""The machine and the interpreter that a run was made on: figures mean nothing without them."""

import os
import platform
import sysconfig
from pathlib import Path

from bench.result import Machine


def machine() -> Machine:
    """This machine, as the kernel describes it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kernel = platform.release().split("-")[0]
    return Machine(cpu, os.cpu_count() or 1, kernel, platform.python_version(), round(memory))


def interpreter() -> str:
    """``CPython 3.11.7, built without optimisation``: a build with profiles runs a frame 6 to 9 % faster."""
    flags = sysconfig.get_config_var("CONFIG_ARGS") or ""
    how = "with optimisation (profiles)" if "--enable-optimizations" in flags else "without optimisation (no profiles)"
    return f"{platform.python_implementation()} {platform.python_version()}, built {how}"
