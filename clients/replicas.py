"""Which replicas there are, asked of a command: a platform starts and stops them while we look."""

import asyncio
import re
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence

# The Azure CLI takes seconds to start, and longer on a busy machine.
COMMAND_DEADLINE_S = 60.0

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


class NotListed(Exception):
    """The command failed; the message says why, in one line."""


async def listed(command: Sequence[str]) -> list[str]:
    """The names that `command` prints, one a line; none is an answer too. Raises NotListed."""
    try:
        process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    except OSError as error:
        raise NotListed(f"cannot run {command[0]}: {error.strerror or error}") from error
    try:
        async with asyncio.timeout(COMMAND_DEADLINE_S):
            stdout, stderr = await process.communicate()
    except TimeoutError:
        raise NotListed(f"{command[0]} did not end in {COMMAND_DEADLINE_S:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise NotListed(f"{command[0]} failed: {_last_line(stderr) or f'exit code {process.returncode}'}")
    names = stdout.decode(errors="replace").split()
    if not all(map(_NAME.fullmatch, names)):
        raise NotListed(f"{command[0]} printed something else than names; with az add: --query [].name -o tsv")
    return names


def _last_line(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").split("\n")
    said = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return "".join(letter if letter.isprintable() else " " for letter in said)
