"""The OpenAI SDK for Node with ws. It speaks TLS only, and so does its balancer."""

import asyncio
import os
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import trustme

from stage.leash import leashed
from tests.conftest import KEY
from tests.sdks.conftest import NODE, Line, Witness, one_turn

NodeFactory = Callable[..., Awaitable[Witness]]


@pytest.fixture
async def node(line: Line, authority: trustme.CA, node_modules: None, tmp_path: Path) -> AsyncIterator[NodeFactory]:
    """Calls from call.mjs, by one of its ways: ``await node("once", key="wrong")``."""
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    running = []

    async def start(way: str, key: str = KEY) -> Witness:
        env = {"PATH": os.environ["PATH"], "NODE_EXTRA_CA_CERTS": str(bundle), "KEY": key}
        process = await leashed("node", str(NODE / "call.mjs"), line.https, way, env=env, stdout=PIPE)
        assert process.stdout is not None
        witness = Witness()
        running.append((process, asyncio.create_task(witness.listen(process.stdout))))
        return witness

    yield start
    for process, listening in running:
        if process.returncode is None:
            process.kill()
        await asyncio.gather(process.wait(), listening)


@pytest.mark.parametrize("way", ["once", "azure"], ids=["Bearer", "api-key"])
async def test_the_node_sdk_holds_a_spoken_turn_through_the_relay(line: Line, node: NodeFactory, way: str) -> None:
    witness = await node(way)
    usage = await witness.says("spoken")
    assert (await witness.says("closed"))[0] == 1000
    await one_turn(line.relay, usage)


async def test_the_node_sdk_names_the_refusal_of_a_wrong_key(node: NodeFactory) -> None:
    witness = await node("once", key="wrong")
    assert await witness.says("error") == "Unexpected server response: 401"


async def test_the_node_sdk_is_told_of_the_close_when_the_relay_drains(line: Line, node: NodeFactory) -> None:
    witness = await node("stay")
    await witness.says("spoken")
    await line.roll()
    assert await witness.says("closed") == [1012, "revision draining, reconnect"]


async def test_the_node_sdk_calls_again_when_the_relay_drains_if_it_is_asked_to(line: Line, node: NodeFactory) -> None:
    witness = await node("reconnect")
    await witness.says("first")
    await line.roll()
    assert await witness.says("reconnecting") == 1012
    await one_turn(line.relay, await witness.says("spoken"))
