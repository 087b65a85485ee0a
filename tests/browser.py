"""Headless Chromium as a person's browser: it reaches no network, and a script error fails the test."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

DEADLINE_S = 50
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HEADLESS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
WATCH = """<script>
window.onerror = (message) => document.documentElement.setAttribute("data-error", message);
window.addEventListener("load", () => setTimeout(() => {
  const drawing = document.querySelector(".plotly-graph-div");
  const traces = drawing.data.map((trace) => `${trace.name}:${trace.type}:${trace.x.length}`);
  document.documentElement.setAttribute("data-traces", traces.join("|"));
}, 500));
</script>"""


def traces(page: Path) -> list[list[str]]:
    """Name, type and number of points of each trace that the browser has drawn."""
    with tempfile.TemporaryDirectory() as folder:
        watched = Path(folder) / "watched.html"
        watched.write_text(page.read_text().replace("</title>", f"</title>{WATCH}", 1))
        dom = browse(watched, "--dump-dom")
    assert 'data-error="' not in dom
    found = re.search(r'data-traces="([^"]*)"', dom)
    assert found, "the figure was not drawn"
    return [trace.split(":") for trace in found[1].split("|")]


def picture(page: Path, name: str, folder: Path) -> Path:
    """A screenshot of the page, in ``folder`` or where RTPROXY_ARTIFACTS says."""
    kept = Path(os.environ.get("RTPROXY_ARTIFACTS", folder)).absolute()
    kept.mkdir(parents=True, exist_ok=True)
    taken = kept / f"{name}.png"
    browse(page, f"--screenshot={taken}", "--window-size=1400,2600")
    return taken


def browse(page: Path, *options: str) -> str:
    """What Chromium has after it has run the page; it may reach no network."""
    assert CHROMIUM
    command = [CHROMIUM, *HEADLESS, "--hide-scrollbars", "--virtual-time-budget=8000", *options, page.as_uri()]
    with home() as environ:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=True, env=environ)
    return done.stdout


@contextmanager
def home() -> Iterator[dict[str, str]]:
    """The environment of a browser that leaves nothing behind, and finds nothing of another one.

    Its path is short: a socket of the browser's lies in it, and a socket's path has room for 107 bytes.
    """
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as folder:
        yield os.environ | {"HOME": folder, "TMPDIR": folder, "XDG_CONFIG_HOME": folder, "XDG_CACHE_HOME": folder}
