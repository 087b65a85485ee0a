"""What the commands have in common: exit codes, complaints, and a command line that names all its problems at once."""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

from clients.observations import Record
from clients.target import Address

BAD_ARGUMENTS, INTERRUPTED = 2, 130


def complain(command: str, text: str, code: int = 0) -> int:
    """Writes ``text`` to stderr; returns ``code``, for the command to end with."""
    sys.stderr.write(f"clients.{command}: {text}\n")
    return code


def parser_of(command: str, usage: str, description: str, epilog: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=f"python -m clients.{command}",
        usage=f"%(prog)s {usage}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


class CommandLine:
    """A parser that collects `problems` and goes on. What stands for a bad value is never used: `finish` ends first."""

    def __init__(self, command: str, usage: str, description: str, epilog: str) -> None:
        self.problems: list[str] = []
        self._parser = parser_of(command, usage, description, epilog)
        self.add = self._parser.add_argument

    def add_number(
        self, flag: str, kind: type[int | float], least: float, default: float | None, about: str, metavar: str = "S"
    ) -> None:
        ending = "" if default is None else f" (default {default:g})"
        self.add(flag, type=self._number(flag, kind, least), default=default, metavar=metavar, help=about + ending)

    def add_way(self) -> None:
        """The options of every client that connects: `connect_to`, `ca_file`, `insecure`."""
        self.add(
            "--connect-to",
            type=self._address,
            metavar="HOST:PORT",
            help="connect to this address whatever the URL says; Host stays the URL's, and SNI for an IP address",
        )
        self.add("--ca-file", metavar="PEM", help="trust these authorities instead of the system's")
        self.add("--insecure", action="store_true", help="verify no certificate")

    def read(self, argv: Sequence[str]) -> dict[str, Any]:
        """The options by name. Of unknown words only names are quoted: what follows a mistyped --key is the key."""
        options, unknown = self._parser.parse_known_args(argv)
        self.problems += [f"unknown option {word.partition('=')[0]}" for word in unknown if word.startswith("-")]
        if any(not word.startswith("-") for word in unknown):
            self.problems.append("more than one URL, or a value without its option")
        return vars(options)

    def finish(self, record: str | None, key: str | None = None) -> Record:
        """The record at that path. With any problem it ends the process instead, with exit 2."""
        try:
            opened = Record(record, key)
        except OSError as error:
            self.problems.append(f"--record cannot be written: {error}")
        if self.problems:
            several = len(self.problems) > 1
            self._parser.error("\n  " + "\n  ".join(self.problems) if several else self.problems[0])
        return opened

    def _number(self, flag: str, kind: type[int | float], least: float) -> Callable[[str], int | float]:
        def check(text: str) -> int | float:
            try:
                value = kind(text)
                good = math.isfinite(value) and value >= least
            except (ValueError, OverflowError):  # a whole number may be too large for a float
                good = False
            if good:
                return value
            what = "a whole number" if kind is int else "a number"
            self.problems.append(f"{flag} wants {what} of at least {least:g}, not {text!r}")
            return kind(least)

        return check

    def _address(self, text: str) -> Address | None:
        try:
            return Address.parse(text)
        except ValueError:
            wanted = "the form HOST:PORT, with [ ] around an IPv6 address"
            self.problems.append(f"--connect-to wants {wanted}, not {text!r}")
            return None


def share(text: str) -> tuple[str, int]:
    """An argparse type: `REVISION=WEIGHT`."""
    revision, _, weight = text.rpartition("=")
    if not revision or not weight.isdecimal():
        raise argparse.ArgumentTypeError(f"wants REVISION=WEIGHT with a whole number, not {text!r}")
    return revision, int(weight)
