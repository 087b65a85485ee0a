"""A relay and a simulated model on free loopback ports, for as long as one command runs.

``python -m stage.local -- COMMAND ...`` runs COMMAND with the relay's URL as its last argument and a client key in
RTPROXY_KEY, and ends with COMMAND's exit code. A Ctrl-C is COMMAND's alone: both servers stay up until it ended.
"""

import argparse
import asyncio
import secrets
import signal
import sys
from collections.abc import Sequence
from os import environ
from pathlib import Path
from typing import BinaryIO

from stage.replica import DEPLOYMENT, Model, ModelError, Replica, ReplicaError

RELAY_LOG = Path("hold-relay.jsonl")
MODEL_RECORD = Path("hold-model.jsonl")


async def run(command: Sequence[str], log: BinaryIO) -> int:
    """Starts both servers, the relay's events going to ``log``, runs ``command``, stops them; returns its exit code."""
    model_key, client_key = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    model = await Model.start(model_key, f"--record={MODEL_RECORD}")
    relay = None
    try:
        relay = await Replica.start(
            {
                "AZURE_OPENAI_ENDPOINT": model.url,
                "AZURE_OPENAI_DEPLOYMENT": DEPLOYMENT,
                "AZURE_OPENAI_API_KEY": model_key,
                "RTPROXY_CLIENT_KEYS": f"hold:{client_key}",
                "RTPROXY_DRAIN_SECONDS": "2",
            },
            log,
        )
        print(f"model  {model.url}  pid {model.process.pid}  record in {MODEL_RECORD}", file=sys.stderr)  # noqa: T201
        print(f"relay  {relay.url}  pid {relay.process.pid}  events in {RELAY_LOG}", file=sys.stderr)  # noqa: T201
        return await _run(command, relay.url, client_key)
    finally:
        if relay is not None:
            relay.signal(signal.SIGTERM)
            await relay.exited()
        await model.stop()


async def _run(command: Sequence[str], url: str, key: str) -> int:
    # A signal sent to us alone, not to the whole terminal, is handed on.
    process = await asyncio.create_subprocess_exec(*command, url, env=dict(environ) | {"RTPROXY_KEY": key})
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, process.terminate)
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    return await process.wait()


def main() -> int:
    """1: one of the servers, or the command, did not start."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(prog="python -m stage.local", description=__doc__.splitlines()[0])
    parser.add_argument("command", nargs="+", help="what to run, after --; the relay's URL is appended")
    arguments = parser.parse_args()
    try:
        MODEL_RECORD.unlink(missing_ok=True)
        with RELAY_LOG.open("wb") as log:
            return asyncio.run(run(arguments.command, log))
    except (ModelError, ReplicaError, OSError) as error:
        print(f"stage.local: {error}", file=sys.stderr)  # noqa: T201
        return 1


if __name__ == "__main__":
    sys.exit(main())
