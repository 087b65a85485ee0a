"""The folders that a replica's container finds at its mount paths."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from stage.platform.outside import Outside
from stage.platform.template import Mount, Secrets


class Volumes:
    """Made when a replica is, and gone with it.

    A secret in one stays as it was then: whether the platform changes it under a replica that runs is not documented,
    and that it does not is what is harder. What is in a share changes whenever its files do.
    A process on this machine has no file system of its own, so a path below a mount is replaced in its environment.
    """

    def __init__(self, mounts: tuple[Mount, ...], secrets: Secrets, outside: Outside, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[str, Path] = {}
        for each in mounts:
            self._seen[each.path] = folder / each.volume if each.storage is None else outside.share(each.storage)
            if each.storage is None:
                (folder / each.volume).mkdir(parents=True, mode=0o700)
            for path, secret in each.files:
                file = folder / each.volume / path
                file.touch(mode=0o600)
                file.write_text(secrets[secret])

    def seen(self, environ: Mapping[str, str]) -> dict[str, str]:
        """``environ`` with the folders in the place of the mount paths."""
        return {name: self._path(value) for name, value in environ.items()}

    def remove(self) -> None:
        """Leaves no secret behind."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, value: str) -> str:
        for mount, folder in self._seen.items():
            if value == mount or value.startswith(f"{mount}/"):
                return f"{folder}{value[len(mount) :]}"
        return value
