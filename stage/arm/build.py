"""An image build without a builder: what a build would trip over before it ran anything is looked for in the context.

That is the Containerfile itself, the images that its FROM name with the arguments of the build, and the sources that
its COPY and ADD name, where a .dockerignore bites.
"""

import io
import re
import shlex
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence

_CONTINUED = re.compile(r"\\\s*\n")


class BuildFailed(Exception):
    """The last line of the log."""


def build(
    context: bytes,
    containerfile: str,
    images: Sequence[str],
    log: list[str],
    arguments: Mapping[str, str],
    refused: Callable[[str], str],
) -> None:
    """Appends to ``log`` what it does; raises BuildFailed.

    ``refused`` is asked about each base that is not an earlier stage: why it cannot be pulled, or nothing.
    """
    log.append("Downloading source code...")
    try:
        with tarfile.open(fileobj=io.BytesIO(context)) as tar:
            names = {name.removeprefix("./").strip("/") for name in tar.getnames()}
            found = tar.extractfile(containerfile) if containerfile in names else None
            if found is None:
                raise BuildFailed(f"failed to read dockerfile: open {containerfile}: no such file or directory")
            text = found.read().decode(errors="replace")
    except tarfile.TarError as fault:
        raise BuildFailed(f"failed to download source code: {fault}") from None
    log.append("Finished downloading source code")
    steps = list(_instructions(text))
    if not any(word == "FROM" for word, _ in steps):
        raise BuildFailed("failed to parse dockerfile: no build stage in current context")
    known, stages = dict(_defaults(steps)) | dict(arguments), set[str]()
    for at, (word, rest) in enumerate(steps, 1):
        log.append(f"Step {at}/{len(steps)} : {word} {rest}")
        if word == "FROM":
            base, _, name = re.sub(r"\$\{?(\w+)\}?", lambda each: known.get(each[1], ""), rest).partition(" ")
            if not base:
                raise BuildFailed(f"base name ({rest.split()[0]}) should not be blank")
            if base not in stages and base != "scratch" and (why := refused(base)):
                raise BuildFailed(why)
            log.append(f" ---> {base}{', an earlier stage' if base in stages else ''}")
            stages.add(name.split()[-1] if name else base)
        if word in ("COPY", "ADD"):
            _check_sources(word, rest, names)
    declared = {rest.partition("=")[0] for word, rest in steps if word == "ARG"}
    if unused := sorted(set(arguments) - declared):
        log.append(f"[Warning] One or more build-args [{' '.join(unused)}] were not consumed")
    log += [f"Successfully tagged {image}" for image in images]


def _defaults(steps: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Of the arguments that stand before the first FROM, which are those that a FROM may name."""
    for word, rest in steps:
        if word == "FROM":
            return
        if word == "ARG":
            name, _, value = rest.partition("=")
            yield name, value.strip('"')


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in _CONTINUED.sub(" ", lines).splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word.upper(), rest.strip()


def _check_sources(word: str, rest: str, names: set[str]) -> None:
    words = shlex.split(rest)
    if any(each.startswith("--from=") for each in words) or rest.startswith(("[", "<<")):
        return
    for source in [each for each in words if not each.startswith("--")][:-1]:
        path = source.removeprefix("./").strip("/")
        known = path in ("", ".") or path in names or any(name.startswith(f"{path}/") for name in names)
        if not known and "://" not in source and not set(source) & set("*?[$"):
            raise BuildFailed(f"{word} failed: file not found in build context or excluded by .dockerignore: {source}")
