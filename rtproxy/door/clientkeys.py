"""The clients' keys: those of the environment, and those of a file, which is read again while the relay runs."""

import asyncio
import contextlib
import hashlib
import hmac
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from pathlib import Path

from rtproxy.environ import read_pairs

READ_EVERY_S = 2.0
"""How often the file is read. A change counts when it was read twice unchanged, because a file is not written at
once.
"""


class ClientKeys:
    """The valid keys. Those of ``fixed`` never change; ``file`` was readable and valid at the start."""

    def __init__(self, fixed: Mapping[str, str], file: Path | None) -> None:
        self._fixed = fixed
        self._file = file
        self._text = None if file is None else file.read_text()
        self._keep({**fixed, **read_pairs(self._text or "")[0]})

    def __bool__(self) -> bool:
        return bool(self._keys)

    def name_of(self, credentials: Iterable[str]) -> str | None:
        """The client whose key is among ``credentials``.

        The time this takes does not depend on how similar a wrong key is.
        """
        offered = [_digest(credential) for credential in credentials]
        # Compares all with all, and never stops early.
        names = [name for name, known in self._digests for key in offered if hmac.compare_digest(known, key)]
        return names[0] if names else None

    def key_of(self, name: str) -> str | None:
        """The key of a client, to check a signature with it."""
        return self._keys.get(name)

    @contextlib.asynccontextmanager
    async def watched(self, on_revoked: Callable[[set[str]], Awaitable[None]]) -> AsyncIterator[None]:
        """Reads the file again every READ_EVERY_S.

        ``on_revoked`` gets the clients whose keys were changed or removed.
        """
        if self._file is None:
            yield
            return
        watching = asyncio.create_task(self._watch(self._file, on_revoked))
        try:
            yield
        finally:
            watching.cancel()

    async def _watch(self, file: Path, on_revoked: Callable[[set[str]], Awaitable[None]]) -> None:
        seen = self._text
        while True:
            await asyncio.sleep(READ_EVERY_S)
            text = await _read_aside(file)
            unchanged, seen = text == seen, text
            if text == self._text or not unchanged:
                continue
            self._text = text
            keys, problems = read_pairs(text or "", self._fixed)
            if text is None or problems:
                why = "; ".join(problems) or "it cannot be read"
                logging.getLogger("rtproxy").warning(
                    "RTPROXY_CLIENT_KEYS_FILE: %s. The keys that were in force stay.", why
                )
                continue
            before = self._keys
            self._keep({**self._fixed, **keys})
            await on_revoked({name for name, key in before.items() if self._keys.get(name) != key})

    def _keep(self, keys: Mapping[str, str]) -> None:
        self._keys = keys
        self._digests = [(name, _digest(key)) for name, key in keys.items()]


async def _read_aside(file: Path) -> str | None:
    """Reads in a thread: a volume may be a network away, and must block neither the loop nor the end of the process."""
    loop = asyncio.get_running_loop()
    read: asyncio.Future[str | None] = loop.create_future()

    def deliver(text: str | None) -> None:
        if not read.done():
            read.set_result(text)

    def run() -> None:
        text = _read(file)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(deliver, text)

    # The loop's own executor would be joined at the end, however long a read takes.
    threading.Thread(target=run, daemon=True).start()
    return await read


def _read(file: Path) -> str | None:
    try:
        return file.read_text()
    except (OSError, ValueError):
        return None


def _digest(key: str) -> bytes:
    # Digests have one length, so that each comparison takes the same time.
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
