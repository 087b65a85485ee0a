"""Pieces of a command line whose problems are all named at once: each notes a problem and goes on."""

import argparse
import math
from collections.abc import Callable, Sequence

from clients.address import Address


def number(flag: str, kind: type[int | float], least: float, problems: list[str]) -> Callable[[str], int | float]:
    """An argparse type. What stands for a bad value is never used: a problem ends the command."""

    def check(text: str) -> int | float:
        try:
            value = kind(text)
            good = math.isfinite(value) and value >= least
        except (ValueError, OverflowError):  # a whole number may be too large for a float
            good = False
        if good:
            return value
        what = "a whole number" if kind is int else "a number"
        problems.append(f"{flag} wants {what} of at least {least:g}, not {text!r}")
        return kind(least)

    return check


def add_way(parser: argparse.ArgumentParser, problems: list[str]) -> None:
    """The options of whoever dials: `connect_to`, `ca_file`, `insecure`."""

    def address(text: str) -> Address | None:
        try:
            return Address.parse(text)
        except ValueError:
            problems.append(f"--connect-to wants the form HOST:PORT, with [ ] around an IPv6 address, not {text!r}")
            return None

    parser.add_argument(
        "--connect-to",
        type=address,
        metavar="HOST:PORT",
        help="dial this address whatever the URL says; Host stays the URL's, and SNI for an IP address",
    )
    parser.add_argument("--ca-file", metavar="PEM", help="trust these authorities instead of the system's")
    parser.add_argument("--insecure", action="store_true", help="verify no certificate")


def not_understood(words: Sequence[str]) -> list[str]:
    """Problems with what the parser left over. Only names are quoted: what follows a mistyped --key is the key."""
    problems = [f"unknown option {word.partition('=')[0]}" for word in words if word.startswith("-")]
    if any(not word.startswith("-") for word in words):
        problems.append("more than one URL, or a value without its option")
    return problems


def leave_if_any(problems: Sequence[str], parser: argparse.ArgumentParser) -> None:
    if problems:
        parser.error("\n  " + "\n  ".join(problems) if len(problems) > 1 else problems[0])


def share(text: str) -> tuple[str, int]:
    """An argparse type: `REVISION=WEIGHT`."""
    revision, _, weight = text.rpartition("=")
    if not revision or not weight.isdecimal():
        raise argparse.ArgumentTypeError(f"wants REVISION=WEIGHT with a whole number, not {text!r}")
    return revision, int(weight)
