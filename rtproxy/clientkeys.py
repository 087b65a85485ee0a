"""Who has which key: those of the environment, and those of a file, which is read again while the relay runs."""

import asyncio
import contextlib
import hashlib
import hmac
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path

from rtproxy.environ import read_pairs

READ_EVERY_S = 2.0
"""How soon a key that was put into the file, or taken out of it, counts."""


class ClientKeys:
    """The keys in force. ``fixed`` are for as long as the process lives; ``file`` was sound when it was started."""

    def __init__(self, fixed: Mapping[str, str], file: Path | None) -> None:
        self._fixed = fixed
        self._file = file
        self._text = None if file is None else file.read_text()
        self._keep({**fixed, **read_pairs(self._text or "")[0]})

    def __bool__(self) -> bool:
        return bool(self._keys)

    def name_of(self, credentials: Iterable[str]) -> str | None:
        """Whose key is among ``credentials``. How long it takes says nothing about which key was nearly right."""
        offered = [_digest(credential) for credential in credentials]
        # Each against each, to the end.
        found = [name for name, known in self._digests for key in offered if hmac.compare_digest(known, key)]
        return found[0] if found else None

    def key_of(self, name: str) -> str | None:
        """The key of a client, for whoever has to check a signature with it."""
        return self._keys.get(name)

    @contextlib.asynccontextmanager
    async def watched(self, on_gone: Callable[[set[str]], None]) -> AsyncIterator[None]:
        """Reads the file again every READ_EVERY_S; ``on_gone`` hears whose keys are no longer what they were."""
        if self._file is None:
            yield
            return
        watching = asyncio.create_task(self._watch(self._file, on_gone))
        try:
            yield
        finally:
            watching.cancel()

    async def _watch(self, file: Path, on_gone: Callable[[set[str]], None]) -> None:
        while True:
            await asyncio.sleep(READ_EVERY_S)
            # A volume of the platform is a network away: the loop must not wait for it.
            text = await asyncio.to_thread(_read, file)
            if text == self._text:
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
            on_gone({name for name, key in before.items() if self._keys.get(name) != key})

    def _keep(self, keys: Mapping[str, str]) -> None:
        self._keys = keys
        self._digests = [(name, _digest(key)) for name, key in keys.items()]


def _read(file: Path) -> str | None:
    try:
        return file.read_text()
    except (OSError, ValueError):
        return None


def _digest(key: str) -> bytes:
    # Digests are of one length, so that comparing takes the same time for every key.
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
