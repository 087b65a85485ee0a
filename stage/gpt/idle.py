"""The idle timeout of server VAD: the model speaks unasked when nothing was said for so long after its last answer."""

import asyncio
from collections.abc import Callable


class IdleTimer:
    """Runs from the end of an answer's playback. A client that sends nothing has no audio time."""

    def __init__(self, heard_ms: Callable[[], int], fire: Callable[[int], None]) -> None:
        """`fire` gets the audio time at which the answer had been played."""
        self._heard_ms, self._fire = heard_ms, fire
        self._timer: asyncio.TimerHandle | None = None

    def start(self, playback_s: float, timeout_s: float) -> None:
        """Begin anew."""
        self.stop()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(playback_s, self._played, timeout_s)

    def stop(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _played(self, timeout_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(timeout_s, self._fire, self._heard_ms())
