"""A response in time: a task that says it faster than speech, and everything that may stop it.

The task only waits between steps, so `cut` may end the response from outside at any moment. While
`may_finish` is clear, a response goes on without end and is deaf to `cut` until it is set again.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from stage.gpt.outputs import Output
from stage.gpt.responses import Response
from stage.gpt.shapes import Event

_HUM_INTERVAL_S = 1.0
_STEPS_BEFORE_A_FILTER = 2


class Mishap(Enum):
    """What may become of a response that nobody cuts."""

    NONE = "none"
    THROTTLED = "throttled"
    FILTERED = "filtered"


@dataclass(frozen=True)
class Tempo:
    """`pace` is how many times faster than speech; `drained` returns when the socket has taken all so far."""

    thinking_s: float
    noise_s: float
    pace: float
    drained: Callable[[], Awaitable[None]]
    may_finish: asyncio.Event


@dataclass(frozen=True)
class Plan:
    """What a response is to say, and how it ends."""

    outputs: Sequence[Output]
    token_limit: float
    flood_bytes: int  # of audio, after the last output, as fast as the socket takes them
    mishap: Mishap
    throttled: Event  # the error of a throttled response


class Speaker:
    """Starts to say what is planned at once, and calls `ended` after its `response.done`."""

    def __init__(self, response: Response, plan: Plan, tempo: Tempo, ended: Callable[["Speaker"], None]) -> None:
        self.response = response
        self._plan, self._tempo, self._ended = plan, tempo, ended
        self._cut_for: str | None = None
        response.begin()
        self._task = asyncio.create_task(self._speak())

    def cut(self, reason: str) -> None:
        """End as cancelled: the done events have left when this returns, unless the response may not finish."""
        if self._tempo.may_finish.is_set():
            self._task.cancel()
            self._finish("cancelled", reason)
        else:
            self._cut_for = reason

    async def abandon(self) -> None:
        """The call is gone: stop without another word."""
        self._task.cancel()
        await asyncio.wait({self._task})
        if self.response.active:
            self.response.abandon()

    async def _speak(self) -> None:
        noise_s = random.expovariate(1 / self._tempo.noise_s) if self._tempo.noise_s else 0.0
        await asyncio.sleep(self._tempo.thinking_s + noise_s)
        if self._plan.mishap is Mishap.THROTTLED:
            self._finish("failed", failure=self._plan.throttled)
            return
        short = await self._say_all()
        await self._flood()
        await self._hum()
        if self._cut_for:
            self._finish("cancelled", self._cut_for)
        elif short:
            self._finish("incomplete", short)
        else:
            self._finish("completed")

    def _finish(self, status: str, reason: str | None = None, failure: Event | None = None) -> None:
        self.response.finish(status, reason, failure)
        self._ended(self)

    async def _say_all(self) -> str | None:
        """Say the outputs one after the other and leave the last one open; why it stopped short, if it did."""
        *before, last = self._plan.outputs
        for output in before:
            if short := await self._say(output):
                return short
            self.response.close()
        return await self._say(last)

    async def _say(self, output: Output) -> str | None:
        clock = asyncio.get_running_loop().time
        due = clock()
        self.response.open(output)
        for number, step in enumerate(output.steps()):
            if self._plan.mishap is Mishap.FILTERED and number == _STEPS_BEFORE_A_FILTER:
                return "content_filter"
            self.response.say(step)
            await self._tempo.drained()
            if sum(self.response.written) >= self._plan.token_limit:
                return "max_output_tokens"
            due += step.seconds / self._tempo.pace
            await asyncio.sleep(max(0.0, due - clock()))
        return None

    async def _flood(self) -> None:
        filler, sent = self._plan.outputs[-1].filler(), 0
        while sent < self._plan.flood_bytes and (step := next(filler, None)):
            self.response.say(step)
            await self._tempo.drained()
            sent += sum(len(event["delta"]) for event in step.events)

    async def _hum(self) -> None:
        filler = self._plan.outputs[-1].filler()
        while not self._tempo.may_finish.is_set():
            if step := next(filler, None):
                self.response.say(step)
                await self._tempo.drained()
            with suppress(TimeoutError):
                async with asyncio.timeout(_HUM_INTERVAL_S):
                    await self._tempo.may_finish.wait()
