"""The relays behind one address, asked for their /status in rounds, until each replica has answered for itself.

Which replicas have to answer, a command may list: a platform starts and stops them meanwhile.
"""

import asyncio
import re
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import orjson
from yarl import URL

from clients.dial import Questions, Refusal, printable
from clients.observations import Probed

ROUND_DEADLINE_S = 10.0
# One replica that hangs must not use up the round of the others.
ANSWER_DEADLINE_S = 3.0
# After an answer that added nothing new; a balancer that takes turns is not slowed down by it.
ASK_AGAIN_S = 0.05
# The Azure CLI takes seconds to start, and longer on a busy machine.
COMMAND_DEADLINE_S = 60.0

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


class WrongAddress(Exception):
    """Several revisions answered at one address."""


class NotListed(Exception):
    """The command that lists replicas failed; the message gives the reason, in one line."""


async def listed(command: Sequence[str]) -> list[str]:
    """The names that `command` prints, one a line; it may print none. Raises NotListed."""
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
    return printable(next((line.strip() for line in reversed(lines) if line.strip()), ""))


class Status(NamedTuple):
    revision: str
    replica: str
    sessions: int
    quiet: int
    oldest_s: float
    draining: bool


class Relays:
    """`failure` is the last question that had no good answer, if any."""

    def __init__(self, url: URL, questions: Questions) -> None:
        self.failure: Refusal | None = None
        self.revision: str | None = None
        self._url = url
        self._questions = questions

    async def ask(self, names: Sequence[str] | None, within_s: float) -> Probed:
        """One round: until all of `names` have answered; None: until any one has. Raises WrongAddress.

        With an empty list nothing is asked: a request would wake up a revision that is scaled to zero.
        """
        answers: dict[str, Status] = {}
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not answers if names is None else not answers.keys() >= set(names):
                    count = len(answers)
                    if (answer := await self._ask_one()) is not None:
                        answers[answer.replica] = answer
                    if len(answers) == count:
                        await asyncio.sleep(ASK_AGAIN_S)
        missing = [name for name in names or () if name not in answers]
        return Probed(
            url=str(self._url),
            revision=self.revision,
            sessions=sum(answer.sessions for answer in answers.values()),
            quiet=sum(answer.quiet for answer in answers.values()),
            oldest_s=max((answer.oldest_s for answer in answers.values()), default=0.0),
            replicas={answer.replica: answer.sessions for answer in answers.values()},
            draining={answer.replica: answer.draining for answer in answers.values()},
            missing=missing,
            complete=not missing and (bool(answers) or names is not None),
        )

    async def _ask_one(self) -> Status | None:
        try:
            async with self._questions.ask() as response:
                answer = _read(response.status, await response.read())
        except Refusal as refusal:
            self.failure = refusal
            return None
        if self.revision not in (None, answer.revision):
            raise WrongAddress(f"both {self.revision} and {answer.revision} answered: it is not one revision's own")
        self.revision = answer.revision
        return answer


def _read(status: int, body: bytes) -> Status:
    """Raises Refusal for what is no relay's answer."""
    try:
        answer = orjson.loads(body) if status == 200 else {}
        counts = int(answer["sessions"]), int(answer["quiet"]), float(answer["oldest_s"])
        return Status(str(answer["revision"]), str(answer["replica"]), *counts, answer["draining"] is True)
    except (ValueError, KeyError, TypeError):
        raise Refusal(None, "not_a_relay", f"HTTP {status} with no relay's status in it") from None
