"""A response in time: a task that says it faster than speech, and everything that may stop it.

The task only waits between steps, so `cut` may end the response from outside at any moment. While
`may_finish` is clear, a response goes on without end and is deaf to `cut` until it is set again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from stage.gpt.outputs import Output
from stage.gpt.responses import Response

_THINKING_S = 0.1
_HUM_INTERVAL_S = 1.0


@dataclass(frozen=True)
class Tempo:
    """`pace` is how many times faster than speech; `drained` returns when the socket has taken all so far."""

    pace: float
    drained: Callable[[], Awaitable[None]]
    may_finish: asyncio.Event


class Speaker:
    """Starts to say `output` at once; `flood_bytes` of audio follow it as fast as the socket takes them."""

    def __init__(self, response: Response, output: Output, token_limit: float, tempo: Tempo, flood_bytes: int) -> None:
        self.response = response
        self._output, self._token_limit, self._tempo, self._flood_bytes = output, token_limit, tempo, flood_bytes
        self._cut_for: str | None = None
        response.begin()
        self._task = asyncio.create_task(self._speak())

    def cut(self, reason: str) -> None:
        """End as cancelled: the done events have left when this returns, unless the response may not finish."""
        if self._tempo.may_finish.is_set():
            self._task.cancel()
            self.response.finish("cancelled", reason)
        else:
            self._cut_for = reason

    async def abandon(self) -> None:
        """The call is gone: stop without another word."""
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _speak(self) -> None:
        await asyncio.sleep(_THINKING_S)
        self.response.open()
        complete = await self._say_all()
        await self._flood()
        await self._hum()
        if self._cut_for:
            self.response.finish("cancelled", self._cut_for)
        elif complete:
            self.response.finish("completed")
        else:
            self.response.finish("incomplete", "max_output_tokens")

    async def _say_all(self) -> bool:
        """Say the output step by step; False when it grew to the token limit."""
        clock = asyncio.get_running_loop().time
        due = clock()
        for step in self._output.steps():
            self.response.say(step.events)
            await self._tempo.drained()
            if sum(self.response.written) >= self._token_limit:
                return False
            due += step.seconds / self._tempo.pace
            await asyncio.sleep(max(0.0, due - clock()))
        return True

    async def _flood(self) -> None:
        filler, sent = self._output.filler(), 0
        while sent < self._flood_bytes and (step := next(filler, None)):
            self.response.say(step.events)
            await self._tempo.drained()
            sent += sum(len(event["delta"]) for event in step.events)

    async def _hum(self) -> None:
        filler = self._output.filler()
        while not self._tempo.may_finish.is_set():
            if step := next(filler, None):
                self.response.say(step.events)
                await self._tempo.drained()
            with suppress(TimeoutError):
                async with asyncio.timeout(_HUM_INTERVAL_S):
                    await self._tempo.may_finish.wait()
