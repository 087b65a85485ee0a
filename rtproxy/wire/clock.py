"""The time that the relay uses. Any event loop of asyncio is a `Clock`; tests pass in one that they move by hand."""

from collections.abc import Callable
from typing import Any, Protocol


class Timer(Protocol):
    """One scheduled call."""

    def cancel(self) -> object:
        """Cancels the call. May be called again, and after the call was made."""


class Clock(Protocol):
    """Monotonic time in seconds, and calls at a later time (`asyncio.AbstractEventLoop`)."""

    def time(self) -> float:
        """The current time."""

    def call_later(self, delay: float, callback: Callable[..., object], *arguments: Any) -> Timer:
        """Calls ``callback`` once, ``delay`` seconds from now."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Reports an unexpected exception: ``message`` and ``exception``."""
