"""The three processes of a run. Each ends with its block, whatever happens, and what it says is in its file."""

import asyncio
import secrets
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO, NamedTuple

import orjson

from stage.leash import leashed
from stage.model import DEPLOYMENT
from stage.replica import Replica
from stage.soak.books import CLIENTS, MODEL
from stage.soak.client import KEYS, key_of
from stage.soak.plan import Plan

TRUST = "trust.pem"


class Model(NamedTuple):
    """The model's process; ``trust`` is what a relay needs to trust it, None in plaintext."""

    process: Process
    port: int
    trust: Path | None


@asynccontextmanager
async def model_of(plan: Plan, out: Path) -> AsyncIterator[Model]:
    trust = out / TRUST if plan.tls else None
    told = orjson.dumps({"plan": asdict(plan), "trust": trust and str(trust)}).decode()
    process = await leashed(sys.executable, *("-m", "stage.soak.serving", told), stdout=PIPE)
    async with _ended(process):
        assert process.stdout is not None
        line = await process.stdout.readline()
        if not line:
            raise RuntimeError("the model did not start")
        async with _kept(process, out / MODEL):
            yield Model(process, int(orjson.loads(line)["port"]), trust)


@asynccontextmanager
async def load_of(plan: Plan, port: int, key: str, out: Path) -> AsyncIterator[Process]:
    process = await leashed(sys.executable, *("-m", "stage.soak.load"), stdin=PIPE, stdout=PIPE)
    async with _ended(process), _kept(process, out / CLIENTS):
        assert process.stdin is not None
        # Not as an argument: everybody on the machine reads those.
        process.stdin.write(orjson.dumps({"plan": asdict(plan), "port": port, "key": key}))
        process.stdin.close()
        yield process


@asynccontextmanager
async def relay_of(plan: Plan, model: Model, key: str, log: BinaryIO) -> AsyncIterator[Replica]:
    settings = {
        "AZURE_OPENAI_ENDPOINT": f"{'https' if model.trust else 'http'}://127.0.0.1:{model.port}",
        "AZURE_OPENAI_DEPLOYMENT": DEPLOYMENT,
        "AZURE_OPENAI_API_KEY": secrets.token_urlsafe(24),
        "RTPROXY_CLIENT_KEYS": ",".join(f"soak-{number}:{key_of(key, number)}" for number in range(KEYS)),
        "RTPROXY_HEARTBEAT_SECONDS": str(plan.heartbeat_s),
        "RTPROXY_MAX_SESSIONS": str(2 * plan.calls),
        "RTPROXY_DRAIN_SECONDS": "2",
    }
    if model.trust is not None:
        settings["SSL_CERT_FILE"] = str(model.trust)
    if plan.jemalloc is not None:
        settings["LD_PRELOAD"] = plan.jemalloc
    relay = await Replica.start(settings, log)
    try:
        yield relay
    finally:
        await relay.kill()


@asynccontextmanager
async def _ended(process: Process) -> AsyncIterator[None]:
    try:
        yield
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def _kept(process: Process, file: Path) -> AsyncIterator[None]:
    """Writes every line of ``process`` to ``file``, to the last one."""

    async def keep() -> None:
        assert process.stdout is not None
        with file.open("wb") as kept:
            async for line in process.stdout:
                kept.write(line)
                kept.flush()

    keeping = asyncio.create_task(keep())
    try:
        yield
    finally:
        if process.returncode is None:
            process.kill()
        await keeping
