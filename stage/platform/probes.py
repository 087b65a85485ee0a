"""Startup, liveness and readiness probes, by Azure's rules and defaults."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal

import aiohttp

from stage.platform.rejected import Rejected

Kind = Literal["startup", "liveness", "readiness"]
Failed = Callable[[Kind, int], None]
_KINDS: Mapping[str, Kind] = {"startup": "startup", "liveness": "liveness", "readiness": "readiness"}
# The schema's. The documented defaults of up to 240 failures are Azure's own: a template could not ask for them.
_LIMITS = {
    "initialDelaySeconds": (0, 60),
    "periodSeconds": (1, 240),
    "timeoutSeconds": (1, 240),
    "failureThreshold": (1, 10),
    "successThreshold": (1, 10),
}


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One probe. Ports are not read: a replica of the stage has one, wherever its template says it listens."""

    kind: Kind
    path: str | None = None
    """Of httpGet; None: tcpSocket."""
    headers: Mapping[str, str] = field(default_factory=dict)
    initial_delay_s: float = 0.0
    period_s: float = 10.0
    timeout_s: float = 1.0
    failures: int = 3
    successes: int = 1

    async def watch(self, port: int, http: aiohttp.ClientSession, failed: Failed) -> AsyncGenerator[bool, None]:
        """Tries for ever, a period apart; yields what a row of attempts means when it is as long as its threshold."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self.initial_delay_s)
        passes = fails = 0
        while True:
            due = loop.time() + self.period_s
            if await self._try(port, http):
                passes, fails = passes + 1, 0
                if passes >= self.successes:
                    yield True
            else:
                passes, fails = 0, fails + 1
                failed(self.kind, fails)
                if fails >= self.failures:
                    yield False
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _try(self, port: int, http: aiohttp.ClientSession) -> bool:
        try:
            async with asyncio.timeout(self.timeout_s):
                if self.path is None:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    return True
                url = f"http://127.0.0.1:{port}{self.path}"
                async with http.get(url, headers=self.headers, allow_redirects=False) as answer:
                    return 200 <= answer.status < 400
        except (OSError, aiohttp.ClientError):
            return False


async def probe(
    probes: Sequence[Probe], port: int, http: aiohttp.ClientSession, ready: Callable[[bool], None], failed: Failed
) -> Kind:
    """Probes one start of a container; returns the kind of probe that wants it restarted.

    ``ready`` is told what readiness says, ``failed`` each failed attempt and how many there were in a row.
    """
    by_kind = {each.kind: each for each in probes}

    async def follow(each: Probe) -> None:
        async with aclosing(each.watch(port, http, failed)) as meanings:
            async for meaning in meanings:
                ready(meaning)

    async def first(each: Probe, *meant: bool) -> bool:
        async with aclosing(each.watch(port, http, failed)) as meanings:
            async for meaning in meanings:
                if meaning in meant:
                    return meaning
        raise AssertionError("a probe is tried for ever")

    if "startup" in by_kind and not await first(by_kind["startup"], True, False):
        return "startup"
    following = None
    if "readiness" in by_kind:
        following = asyncio.create_task(follow(by_kind["readiness"]))
    else:
        ready(True)
    try:
        if "liveness" in by_kind:
            await first(by_kind["liveness"], False)
        else:
            await asyncio.Event().wait()
    finally:
        if following is not None:
            following.cancel()
    return "liveness"


_DEFAULTS = (
    Probe(kind="startup", period_s=1, timeout_s=3, failures=240),
    Probe(kind="liveness"),
    Probe(kind="readiness", initial_delay_s=3, period_s=5, timeout_s=5, failures=48),
)


def probes(listed: Iterable[Mapping[str, Any]], *, ingress: bool) -> tuple[Probe, ...]:
    """The probes of a container; with ingress and none listed, Azure's three over TCP. Raises Rejected."""
    read = tuple(_probe(each) for each in listed)
    kinds = [each.kind for each in read]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise _invalid(f"there are {kinds.count(kind)} {kind} probes; accepted: one of each type")
    return read or (_DEFAULTS if ingress else ())


def _probe(probe: Mapping[str, Any]) -> Probe:
    kind = _KINDS.get(str(probe.get("type", "")).lower())
    if kind is None:
        raise _invalid(f"type {probe.get('type')!r}; accepted: Startup, Liveness, Readiness")
    http = probe.get("httpGet")
    if (http is None) == (probe.get("tcpSocket") is None):
        raise _invalid(f"the {kind} probe needs either httpGet or tcpSocket")
    for name, (low, high) in _LIMITS.items():
        value = probe.get(name)
        if value is not None and not (isinstance(value, int) and low <= value <= high):
            raise _invalid(f"{name} of the {kind} probe is {value!r}; accepted: {low} to {high}")
    return Probe(
        kind=kind,
        path=None if http is None else "/" + str(http.get("path") or "").lstrip("/"),
        headers={each["name"]: each["value"] for each in (http or {}).get("httpHeaders") or ()},
        initial_delay_s=probe.get("initialDelaySeconds") or 0,
        period_s=probe.get("periodSeconds") or 10,
        timeout_s=probe.get("timeoutSeconds") or 1,
        failures=probe.get("failureThreshold") or 3,
        successes=probe.get("successThreshold") or 1,
    )


def _invalid(details: str) -> Rejected:
    return Rejected("ContainerAppProbeInvalid", f"Field 'template.containers.probes' is invalid: {details}.")
