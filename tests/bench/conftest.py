"""Peers as processes, in front of a model whose every byte the test decides."""

import asyncio
import os
import ssl
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import trustme

from bench.peers import Peer, Route
from stage.envoy import free_port
from stage.rawpeer import RawServer
from tests.conftest import DEADLINE_S

SESSIONS = 8


class Served:
    """A peer that accepts connections on ``port``."""

    def __init__(self, process: Process, port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self._log = log

    async def accepts(self) -> None:
        """Until somebody listens; a peer that ends before is a failure."""
        async with asyncio.timeout(DEADLINE_S):
            while self.process.returncode is None:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    return await writer.wait_closed()
        pytest.fail(f"ended with {self.process.returncode}: {self._log.read_text()}")

    async def end(self) -> None:
        """Asks twice, as a relay that drains ends at the second signal; whoever is deaf is killed."""
        for ask in (self.process.terminate, self.process.terminate, self.process.kill):
            if self.process.returncode is None:
                ask()
                await asyncio.wait((asyncio.create_task(self.process.wait()),), timeout=1)


Serve = Callable[..., Awaitable[Served]]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Starts a peer that is here: ``await serve(peer, port_of_the_model, ca_file)``. Who is missing is skipped."""
    started: list[Served] = []

    async def start(peer: Peer, model_port: int, ca_file: Path | None = None) -> Served:
        if peer.version() is None:
            pytest.skip(peer.get)
        folder = tmp_path / peer.name
        folder.mkdir()
        route = Route(folder, free_port(), model_port, ca_file, SESSIONS)
        log = tmp_path / "log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *peer.command(route), env=os.environ | peer.environment(route), stdout=output, stderr=output
            )
        started.append(Served(process, route.port, log))
        await started[-1].accepts()
        return started[-1]

    yield start
    for served in started:
        await served.end()


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
