"""Who is refused, and how often, fills no log: beyond a rate refusals are added up."""

import asyncio
import io
from collections import Counter
from datetime import datetime
from typing import Any

import aiohttp
import orjson

from rtproxy.log import REFUSALS, Log
from stage.rawpeer import RawServer
from tests.conftest import DEADLINE_S, Caller, RelayFactory


async def test_refusals_are_logged_one_by_one_up_to_a_rate_then_once_a_second_with_their_count(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller
) -> None:
    relay, many = await relay_for(upstream.port), 3 * REFUSALS
    async with aiohttp.ClientSession() as http:
        for _ in range(many):
            for path in ("/ws", "/no-such-path"):
                async with http.get(relay.url + path) as answer:
                    assert answer.status in (404, 426)
    await dial(relay.port, "/v1/realtime?model=another")

    def counted() -> Counter[str]:
        lines = Counter[str]()
        for event in relay.events:
            lines[event["code"]] += event.get("count", 1)
        return lines

    async with asyncio.timeout(DEADLINE_S):
        while counted() != {"upgrade_required": many, "not_found": many, "model_not_found": 1}:  # noqa: ASYNC110 - it is this test's own loop
            await asyncio.sleep(0.01)
    summed = [event for event in relay.events if "count" in event]
    assert {(event["path"], event["client"], event["level"]) for event in summed} == {(None, None, "warning")}
    span_s = (timestamp(relay.events[-1]) - timestamp(relay.events[0])).total_seconds()
    assert len(relay.events) - len(summed) <= (REFUSALS + 1) * (span_s + 1)
    assert len(summed) <= 2 * (span_s + 1)
    async with aiohttp.request("GET", f"{relay.url}/metrics") as response:
        assert f'rtproxy_refusals_total{{code="not_found",status="404"}} {many}.0' in await response.text()


def timestamp(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["ts"])


def test_what_is_added_up_of_refusals_is_logged_at_the_end_and_then_forgotten() -> None:
    stream = io.BytesIO()

    async def refuse() -> None:
        log = Log("app--blue", "app--blue-1", stream)
        for client in (None, "alice"):
            for _ in range(REFUSALS + 2):
                log.refused(429, "too_many_calls", client, "/ws")
        log.refused.flush()
        log.refused.flush()

    asyncio.run(refuse())
    lines = [orjson.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == 2 * (REFUSALS + 1)
    assert [(line["client"], line["count"]) for line in lines[-2:]] == [(None, 2), ("alice", 2)]
    assert [line["client"] for line in lines[:-2] if "count" in line] == []
