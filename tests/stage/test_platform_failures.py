"""What goes wrong with replicas, and what is left when a stage ends."""

import asyncio
import io
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import orjson
import pytest

from stage.platform import Environment
from stage.timeline import Timeline
from tests.stage.apps import BRISK, DEADLINE_S, NAME, SECRET, StageFactory, alive, eventually, properties, share
from tests.stage.conftest import ModelFactory

BLUE, GREEN = f"{NAME}--blue", f"{NAME}--green"
BROKEN = {"AZURE_OPENAI_ENDPOINT": "ftp://value-of-a-variable"}


async def test_a_revision_whose_replicas_crash_fails_with_their_last_words_and_blue_serves_on(
    stage_for: StageFactory,
) -> None:
    stage = await stage_for()
    app = await stage.app(traffic=share(blue=100))
    await app.update(properties("green", traffic=share(blue=100, green=0), env=BROKEN))
    await stage.settled(app)
    green = app.revisions[GREEN]
    assert (app.provisioning_state, green.provisioning_state) == ("Failed", "Failed")
    assert (green.health_state, green.running_state) == ("Unhealthy", "Failed")
    error = green.provisioning_error or ""
    assert error.startswith("ContainerCrashing")
    assert "AZURE_OPENAI_ENDPOINT is not an endpoint" in error
    assert green.replicas[0].restarts >= 1
    assert (await stage.until("revision.failed", revision=GREEN))["reason"] == error
    assert (await stage.until("replica.exited", revision=GREEN)) | {"code": 2, "after_s": None} in stage.timeline.acts
    assert await stage.revision() == BLUE
    assert app.latest_ready is app.revisions[BLUE]
    await app.deactivate(GREEN)
    await eventually(lambda: not green.replicas)


async def test_last_words_are_quoted_without_the_values_of_variables(stage_for: StageFactory) -> None:
    stage = await stage_for()
    app = await stage.environment.put(NAME, properties(env={"RTPROXY_ALLOWED_ORIGINS": "secret-origin"}))
    await stage.settled(app)
    assert "RTPROXY_ALLOWED_ORIGINS has '***'" in (app.latest.provisioning_error or "")


async def test_a_revision_that_never_gets_ready_fails_at_the_deadline(stage_for: StageFactory) -> None:
    stage = await stage_for(provisioning_deadline_s=9.0)
    app = await stage.environment.put(NAME, properties(ready="/no-such-path"))
    assert (app.latest.health_state, app.latest.running_state) == ("None", "Processing")
    await stage.settled(app)
    assert (app.latest.health_state, app.latest.running_state) == ("Unhealthy", "Failed")
    assert app.latest.provisioning_error == "Timeout: 1 of 1 replicas not ready after 9 s"
    failures = [each["failures"] for each in stage.timeline.find("probe.failed", probe="readiness")]
    assert failures[:3] == [1, 2, 3]
    assert await stage.revision(BLUE) == 503
    assert await stage.revision() == 404


async def test_a_replica_that_ends_by_itself_comes_back(stage_for: StageFactory) -> None:
    stage = await stage_for()
    app = await stage.app()
    replica = app.latest.replicas[0]
    pid, port = replica.pid, replica.port
    os.kill(pid, signal.SIGKILL)
    exited = await stage.until("replica.exited", replica=replica.name)
    assert (exited["code"], exited["after_s"]) == (137, None)
    assert await stage.until("replica.unready", replica=replica.name)
    await eventually(lambda: replica.ready)
    await eventually(lambda: stage.serves(BLUE))
    assert (replica.restarts, app.latest.replicas) == (1, [replica])
    assert (replica.pid, replica.port) != (pid, port)
    events = [orjson.loads(line)["event"] for line in replica.log.read_bytes().splitlines()]
    assert events.count("proxy.started") == 2


async def test_a_hung_replica_is_unready_then_terminated_by_its_liveness_probe(stage_for: StageFactory) -> None:
    stage = await stage_for()
    liveness = {"type": "Liveness", "httpGet": {"path": "/healthz"}, "periodSeconds": 1, "failureThreshold": 4}
    app = await stage.app(probes=[liveness], grace=1)
    replica = app.latest.replicas[0]
    pid = replica.pid
    os.kill(pid, signal.SIGSTOP)
    await stage.until("replica.unready", replica=replica.name)
    await eventually(lambda: stage.serves(503))
    assert alive(pid)
    assert app.latest.health_state == "Unhealthy"
    assert (await stage.until("replica.sigterm", replica=replica.name))["reason"] == "liveness"
    assert await stage.until("probe.failed", probe="liveness", failures=4)
    assert (await stage.until("replica.exited", replica=replica.name))["code"] == 137
    await eventually(lambda: stage.serves(BLUE))
    assert replica.restarts == 1


async def test_a_replica_that_hangs_while_its_probe_ends_it_does_not_hold_up_the_end_of_the_stage(
    stage_for: StageFactory,
) -> None:
    stage = await stage_for()
    liveness = {"type": "Liveness", "httpGet": {"path": "/healthz"}, "periodSeconds": 1, "failureThreshold": 1}
    app = await stage.app(probes=[liveness], grace=600)
    os.kill(app.latest.replicas[0].pid, signal.SIGSTOP)
    await stage.until("replica.sigterm", reason="liveness")
    async with asyncio.timeout(BRISK.leaving_grace_s + 5):
        await stage.environment.__aexit__(None, None, None)
    assert stage.timeline.find("replica.exited")[-1]["code"] == 137


async def test_a_draining_replica_is_told_so_by_its_readiness_alone(
    stage_for: StageFactory, model_for: ModelFactory
) -> None:
    """A replica that says 503 gets no new calls and keeps those it has."""
    model = await model_for(key=SECRET)
    stage = await stage_for()
    # Calls end from the fourth second of a drain on; that it drains must be seen before.
    app = await stage.app(
        model=model.url, env={"RTPROXY_DRAIN_SECONDS": "30"}, readiness={"failureThreshold": 1, "timeoutSeconds": 5}
    )
    call = await stage.call()
    # By a signal that the platform knows nothing of.
    os.kill(app.latest.replicas[0].pid, signal.SIGTERM)
    await stage.until("replica.unready", revision=BLUE)
    await eventually(lambda: stage.serves(503))
    await call.send_json({"type": "session.update", "session": {"type": "realtime"}})
    assert (await call.receive_json(timeout=DEADLINE_S))["type"] == "session.updated"


async def test_an_environment_that_ends_leaves_no_process_and_no_port(
    tmp_path: Path, stage_for: StageFactory, model_for: ModelFactory
) -> None:
    model = await model_for(key=SECRET)
    stage = await stage_for()
    timeline = stage.timeline
    app = await stage.app(model=model.url, scale={"minReplicas": 2}, env={"RTPROXY_DRAIN_SECONDS": "60"})
    await app.update(properties("green", model.url, env=BROKEN))
    call = await stage.call()
    replicas = app.revisions[BLUE].replicas
    os.kill(replicas[0].pid, signal.SIGSTOP)
    port = int(stage.environment.ingress.rpartition(":")[2])
    began = asyncio.get_running_loop().time()
    await stage.environment.__aexit__(None, None, None)
    assert asyncio.get_running_loop().time() - began < BRISK.leaving_grace_s + 4
    assert (await call.receive(timeout=DEADLINE_S)).data in (1012, None)
    assert not any(alive(replica.pid) for replica in replicas)
    assert not any(str(tmp_path).encode() in read(path) for path in commands())
    for each in (port, *(replica.port for replica in replicas)):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", each)) != 0
    assert timeline.find("replica.exited", replica=replicas[0].name)[0]["code"] == 137
    assert {each["reason"] for each in timeline.find("replica.sigterm", revision=BLUE)} == {"stage stopping"}
    assert timeline.acts[-1]["act"] == "stage.stopped"


async def test_an_environment_that_ends_by_an_error_leaves_nothing_either(tmp_path: Path) -> None:
    timeline = Timeline(io.BytesIO())

    async def fail() -> None:
        async with Environment(tmp_path, timeline, timing=BRISK) as environment:
            await environment.put(NAME, properties())
            await timeline.until("replica.started")
            raise RuntimeError("of the test")

    with pytest.raises(RuntimeError, match="of the test"):
        await fail()
    assert not alive(timeline.find("replica.started")[0]["pid"])
    assert not any(str(tmp_path).encode() in read(path) for path in commands())


STAGE = """
import asyncio, sys
from pathlib import Path
from stage.platform import Environment
from stage.timeline import Timeline
from tests.stage.apps import NAME, properties
async def main():
    async with Environment(Path(sys.argv[1]), Timeline(sys.stdout.buffer)) as environment:
        app = await environment.put(NAME, properties(scale={"minReplicas": 2}))
        await app.settled()
        await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_a_killed_stage_takes_its_children_with_it(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STAGE, str(tmp_path), stdout=PIPE, limit=1 << 20
    )
    assert process.stdout is not None
    pids: list[int] = []
    async with asyncio.timeout(DEADLINE_S):
        async for line in process.stdout:
            act = orjson.loads(line)
            if act["act"] == "replica.started":
                pids.append(act["pid"])
            if act["act"] == "revision.ready":
                break
    envoys = [int(path.parent.name) for path in commands() if str(tmp_path).encode() + b"/ingress" in read(path)]
    assert (len(pids), len(envoys)) == (2, 1)
    process.kill()
    await process.communicate()
    await eventually(lambda: not any(alive(pid) for pid in (*pids, *envoys)))


def commands() -> list[Path]:
    """Of every process there is now."""
    return [path for path in Path("/proc").glob("[0-9]*/cmdline") if read(path)]


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
