"""Time, as the relay needs it: any event loop of asyncio is a `Clock`, and so is one that a test moves by hand."""

from collections.abc import Callable
from typing import Any, Protocol


class Timer(Protocol):
    """One call that is to come."""

    def cancel(self) -> object:
        """It is not to come. May be called again, and afterwards."""


class Clock(Protocol):
    """Monotonic seconds, and calls at a time of it (`asyncio.AbstractEventLoop`)."""

    def time(self) -> float:
        """Now."""

    def call_later(self, delay: float, callback: Callable[..., object], *arguments: Any) -> Timer:
        """Calls ``callback`` once, ``delay`` seconds from now."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Says that something raised that must not: ``message`` and ``exception``."""
