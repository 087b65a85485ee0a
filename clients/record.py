"""The record of a hold or a probe: one JSON object a line, appended, each by one write: a kill leaves whole lines.

A line is `ts`, `hold` (8 hex digits, one run: several may share a file), `observation` (its name) and its fields.
"""

import dataclasses
import os
import secrets

import orjson

from clients.observations import Observation

# The fields whose words come from the other end, which may quote our key back at us.
FREE_TEXT = ("message", "reason", "detail", "code", "status")


class Record:
    def __init__(self, path: str | None, key: str | None) -> None:
        """Raises OSError when the path cannot be written."""
        self.hold = secrets.token_hex(4)
        self.failure: str | None = None
        self._key = key
        self._fd = None if path is None else os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, observation: Observation) -> Observation:
        """What was written: the key is gone from it. After a failed write no more is tried; `failure` says why."""
        observation = self._without_key(observation)
        if self._fd is not None and self.failure is None:
            fields = dataclasses.asdict(observation)
            about = {"ts": fields.pop("ts"), "hold": self.hold, "observation": observation.name}
            line = orjson.dumps(about | fields, option=orjson.OPT_APPEND_NEWLINE)
            try:
                if os.write(self._fd, line) < len(line):
                    self.failure = "the file took only part of a line"
            except OSError as error:
                self.failure = str(error)
        return observation

    def _without_key(self, observation: Observation) -> Observation:
        if self._key is None:
            return observation
        quoting = {
            name: text.replace(self._key, "[key]")
            for name in FREE_TEXT
            if isinstance(text := getattr(observation, name, None), str) and self._key in text
        }
        return dataclasses.replace(observation, **quoting) if quoting else observation
