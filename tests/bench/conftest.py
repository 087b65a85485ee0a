"""The bench as a process; its peers, in front of a model whose every byte the test decides."""

import asyncio
import os
import signal
import ssl
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from bench import process
from bench.peers import Peer, Route
from bench.process import Running
from stage.envoy import free_port
from stage.rawpeer import RawServer

SESSIONS = 8


Serve = Callable[..., Awaitable[Running]]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Starts a peer that is here: ``await serve(peer, port_of_the_model, ca_file)``. Who is missing is skipped."""
    started: list[Running] = []

    async def serving(peer: Peer, model_port: int, ca_file: Path | None = None) -> Running:
        if peer.version() is None:
            pytest.skip(peer.get)
        folder = tmp_path / peer.name
        folder.mkdir()
        started.append(await process.start(peer, Route(folder, free_port(), model_port, ca_file, SESSIONS)))
        return started[-1]

    yield serving
    for running in started:
        await running.end()


Start = Callable[..., Awaitable[Process]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """``python -m bench`` with arguments, in a group of its own; what is left of it is ended."""
    started: list[Process] = []

    async def starting(*arguments: str, **how: Any) -> Process:
        command = (sys.executable, "-m", "bench", *arguments)
        running = await asyncio.create_subprocess_exec(
            *command, stdout=PIPE, stderr=PIPE, start_new_session=True, **how
        )
        started.append(running)
        return running

    yield starting
    for running in started:
        if running.returncode is None:
            os.killpg(running.pid, signal.SIGKILL)
            await running.communicate()


@pytest.fixture
def other_authority(tmp_path: Path) -> Path:
    """The certificate of an authority that has signed nobody's."""
    path = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
async def tls_model(tmp_path: Path) -> AsyncIterator[RawServer]:
    """A model with a certificate of the authority in ``tmp_path / "ca.pem"``."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    async with RawServer(context) as server:
        yield server
