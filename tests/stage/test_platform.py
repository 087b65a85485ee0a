"""Revisions and their replicas: modes, weights, labels, secrets, deactivation."""

import os
import signal
from datetime import datetime, timedelta
from pathlib import Path

import aiohttp
import orjson
import pytest

from tests.stage.apps import DEADLINE_S, NAME, SECRET, StageFactory, alive, environ, eventually, properties, share
from tests.stage.conftest import ModelFactory

BLUE, GREEN = f"{NAME}--blue", f"{NAME}--green"


async def test_an_app_runs_relays_that_know_their_place(stage_for: StageFactory, tmp_path: Path) -> None:
    stage = await stage_for(injected={"IDENTITY_ENDPOINT": "http://127.0.0.1:9/msi"})
    app = await stage.app(scale={"minReplicas": 2})
    assert (app.provisioning_state, app.latest.name, app.latest_ready) == ("Succeeded", BLUE, app.latest)
    assert app.fqdn == f"{NAME}.stage.localhost"
    revision = app.latest
    assert (revision.health_state, revision.running_state, revision.provisioning_state) == (
        "Healthy",
        "Running",
        "Provisioned",
    )
    assert len(revision.replicas) == 2
    seen = {str((await stage.get())["replica"]) for _ in range(4)}  # type: ignore[index]
    assert seen == {replica.name for replica in revision.replicas}
    for replica in revision.replicas:
        prefix, hashed, short = replica.name.rsplit("-", 2)
        assert (prefix, len(hashed), len(short)) == (BLUE, 10, 5)
        given = environ(replica.pid)
        assert given["PORT"] == str(replica.port)
        assert given["CONTAINER_APP_NAME"] == NAME
        assert given["CONTAINER_APP_REVISION"] == BLUE
        assert given["CONTAINER_APP_REPLICA_NAME"] == replica.name
        assert given["CONTAINER_APP_HOSTNAME"] == f"{BLUE}.stage.localhost"
        assert given["CONTAINER_APP_ENV_DNS_SUFFIX"] == "stage.localhost"
        assert given["CONTAINER_APP_PORT"] == str(replica.port)
        assert given["IDENTITY_ENDPOINT"] == "http://127.0.0.1:9/msi"
        assert given["AZURE_OPENAI_API_KEY"] == SECRET
        assert "HOME" not in given
        started = orjson.loads(replica.log.read_bytes().splitlines()[0])
        assert (started["event"], started["replica"]) == ("proxy.started", replica.name)
        assert replica.log == tmp_path / "replicas" / f"{replica.name}.jsonl"
        assert replica.errors.read_text() == ""
    assert SECRET not in stage.stream.getvalue().decode()


async def test_only_a_changed_template_makes_a_revision(stage_for: StageFactory) -> None:
    stage = await stage_for()
    app = await stage.app(traffic=share(blue=100))
    changed = properties("blue", traffic=share(blue=100))
    changed["configuration"]["secrets"].append({"name": "another", "value": "value"})
    await app.update(changed)
    assert list(app.revisions) == [BLUE]
    await app.update(properties(None, traffic=share(blue=100)))
    assert list(app.revisions) == [BLUE]
    await app.update(properties(None, traffic=share(blue=100), env={"RTPROXY_MAX_SESSIONS": "7"}))
    prefix, _, suffix = app.latest.name.partition("--")
    assert (prefix, len(suffix), len(app.revisions)) == (NAME, 7, 2)
    await app.update(properties("green", traffic=share(blue=100), env={"RTPROXY_MAX_SESSIONS": "7"}))
    assert list(app.revisions)[::2] == [BLUE, GREEN]
    await stage.settled(app)
    assert [each.active for each in app.revisions.values()] == [True, True, True]


async def test_weights_move_new_calls_and_a_revision_without_any_keeps_its_addresses(
    stage_for: StageFactory, model_for: ModelFactory
) -> None:
    model = await model_for(key=SECRET)
    stage = await stage_for()
    app = await stage.app(model=model.url, traffic=share(blue=100))
    calls = [await stage.call() for _ in range(10)]
    labelled = [*share(blue=100), {"revisionName": GREEN, "weight": 0, "label": "candidate"}]
    await app.update(properties("green", model.url, traffic=labelled))
    await stage.settled(app)
    assert await stage.revision() == BLUE
    assert await stage.revision(GREEN) == await stage.revision(f"{NAME}---candidate") == GREEN
    await app.update(properties("green", model.url, traffic=share(blue=0, green=100)))
    assert {await stage.revision() for _ in range(10)} == {GREEN}
    assert await stage.revision(BLUE) == BLUE
    assert await stage.revision(f"{NAME}---candidate") == 404
    assert [each.weight for each in app.revisions.values()] == [0, 100]
    assert stage.timeline.find("traffic.set")[-1]["weights"] == {BLUE: 0, GREEN: 100}
    for call in calls:
        await call.send_json({"type": "session.update", "session": {"type": "realtime"}})
        assert (await call.receive_json(timeout=DEADLINE_S))["type"] == "session.updated"
        await call.close()


async def test_the_latest_revision_gets_its_weight_when_it_is_ready(stage_for: StageFactory) -> None:
    stage = await stage_for()
    latest = [{"latestRevision": True, "weight": 100}]
    app = await stage.app(traffic=latest)
    await app.update(properties("green", traffic=latest))
    assert app.latest.name == GREEN
    assert app.provisioning_state == "InProgress"
    assert app.latest_ready is app.revisions[BLUE]
    assert await stage.revision() == BLUE
    await stage.settled(app)
    assert app.latest_ready is app.latest
    assert await stage.revision() == GREEN
    assert app.revisions[BLUE].active


async def test_single_mode_moves_to_the_new_revision_when_it_is_ready_and_then_ends_the_old_one(
    stage_for: StageFactory, model_for: ModelFactory
) -> None:
    model = await model_for(key=SECRET)
    stage = await stage_for(single_mode_wait_s=1.0)
    app = await stage.app(model=model.url, mode="Single", affinity="sticky", scale={"minReplicas": 2})
    call = await stage.call()
    assert call._response.headers["Set-Cookie"].startswith("acaAffinity=")
    await app.update(properties("green", model.url, mode="Single", affinity="sticky"))
    await stage.settled(app)
    assert len(app.latest.replicas) == 2  # as big as the one it follows
    assert await stage.revision() == GREEN
    assert app.revisions[BLUE].active
    await stage.until("revision.deactivated", revision=BLUE)
    assert (await call.receive(timeout=DEADLINE_S)).data == 1012
    ready, sigterm = await stage.until("revision.ready", revision=GREEN), await stage.until("replica.sigterm")
    assert ready["ts"] < sigterm["ts"]
    assert (await stage.until("replica.exited", replica=sigterm["replica"]))["code"] == 0


async def test_there_is_no_affinity_in_multiple_mode(stage_for: StageFactory) -> None:
    stage = await stage_for()
    await stage.app(affinity="sticky", scale={"minReplicas": 2})
    async with stage.http.get(f"{stage.environment.gateway_url}/healthz") as answer:
        assert answer.status == 200
        assert "Set-Cookie" not in answer.headers


async def test_deactivation_ends_calls_by_the_relays_own_drain_and_the_timeline_tells_it(
    stage_for: StageFactory, model_for: ModelFactory
) -> None:
    model = await model_for(key=SECRET)
    stage = await stage_for()
    app = await stage.app(model=model.url, traffic=share(blue=100))
    calls = [await stage.call() for _ in range(3)]
    blue = app.revisions[BLUE]
    replica = blue.replicas[0]
    await app.update(properties("green", model.url, traffic=share(blue=0, green=100)))
    await stage.settled(app)
    await app.deactivate(BLUE)
    assert await stage.revision(BLUE) == 404
    assert (blue.active, blue.running_state, blue.provisioning_state) == (False, "Stopped", "Deprovisioning")
    assert blue.replicas == [replica]
    for call in calls:
        assert (await call.receive(timeout=DEADLINE_S)).data == 1012
    exited = await stage.until("replica.exited", replica=replica.name)
    assert exited["code"] == 0
    assert 0 < exited["after_s"] < 30
    acts = [each["act"] for each in stage.timeline.acts if BLUE in (each.get("revision"), each.get("app"))]
    assert [each for each in acts if each not in ("probe.failed", "traffic.set")] == [
        *("revision.created", "revision.scaled", "replica.started", "replica.ready", "revision.ready"),
        *("revision.deactivated", "revision.scaled", "replica.sigterm", "replica.unready", "replica.exited"),
    ]
    assert (await stage.until("replica.sigterm", revision=BLUE))["reason"] == "deactivated"
    assert [orjson.loads(line) for line in stage.stream.getvalue().splitlines()] == stage.timeline.acts
    await app.activate(BLUE)
    await stage.settled(app)
    assert await stage.revision(BLUE) == BLUE
    assert (blue.active, blue.health_state, blue.provisioning_state) == (True, "Healthy", "Provisioned")


async def test_a_deactivated_revision_gets_nothing_though_its_weight_stays_listed(stage_for: StageFactory) -> None:
    stage = await stage_for()
    app = await stage.app(traffic=share(blue=100))
    await app.update(properties("green", traffic=share(blue=50, green=50)))
    await stage.settled(app)
    await app.deactivate(BLUE)
    assert {await stage.revision() for _ in range(20)} == {GREEN}
    assert app.traffic == share(blue=50, green=50)
    await app.update(properties("green", traffic=share(blue=0, green=100)))
    await app.deactivate(GREEN)
    assert await stage.revision() == 404


async def test_a_restart_gives_new_replicas_the_secrets_of_now_before_the_old_ones_go(stage_for: StageFactory) -> None:
    stage = await stage_for()
    app = await stage.app()
    old = app.latest.replicas[0]
    changed = properties()
    changed["configuration"]["secrets"][0]["value"] = "another-secret"
    await app.update(changed)
    assert app.latest.replicas == [old]
    await app.restart(BLUE)
    assert (await stage.until("replica.sigterm", replica=old.name))["reason"] == "restart"
    new = next(each for each in app.latest.replicas if each is not old)
    assert new.ready
    assert environ(new.pid)["AZURE_OPENAI_API_KEY"] == "another-secret"
    await stage.until("replica.exited", replica=old.name)
    assert await stage.revision() == BLUE


async def test_a_deleted_app_is_gone_with_all_its_replicas(stage_for: StageFactory) -> None:
    stage = await stage_for()
    app = await stage.app()
    pid = app.latest.replicas[0].pid
    await stage.environment.delete(NAME)
    assert stage.environment.apps == {}
    assert not alive(pid)
    assert await stage.revision() == 404


async def test_what_ignores_sigterm_is_killed_at_the_end_of_its_grace_period(
    stage_for: StageFactory, model_for: ModelFactory
) -> None:
    model = await model_for(key=SECRET)
    stage = await stage_for()
    app = await stage.app(model=model.url, grace=1)
    call = await stage.call()
    replica = app.latest.replicas[0]
    os.kill(replica.pid, signal.SIGSTOP)
    await app.deactivate(BLUE)
    killed = await stage.until("replica.sigkill", replica=replica.name)
    exited = await stage.until("replica.exited", replica=replica.name)
    assert exited["code"] == 137
    assert killed["after_s"] == pytest.approx(1, abs=0.5)
    assert (await call.receive(timeout=DEADLINE_S)).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
    assert call.close_code == 1006


async def test_no_grace_is_a_kill_at_once(stage_for: StageFactory) -> None:
    stage = await stage_for()
    app = await stage.app(grace=0)
    replica = app.latest.replicas[0]
    await app.deactivate(BLUE)
    assert (await stage.until("replica.exited", replica=replica.name))["code"] == 137
    assert b"signal.received" not in replica.log.read_bytes()


async def test_new_calls_still_come_for_a_moment_after_sigterm(stage_for: StageFactory) -> None:
    stage = await stage_for(endpoint_removal_delay_s=1.5)
    # Without a call a relay ends after a quarter of its drain, 3 s at most: it must outlast its place in the ingress.
    app = await stage.app(scale={"minReplicas": 2}, env={"RTPROXY_DRAIN_SECONDS": "12"})
    victim = app.latest.replicas[-1]

    async def left_out() -> bool:
        return victim.name not in {(await stage.get())["replica"] for _ in range(6)}  # type: ignore[index]

    victim.stop("scaled in")
    sigterm = await stage.until("replica.sigterm", replica=victim.name)
    assert not await left_out()
    unready = await stage.until("replica.unready", replica=victim.name)
    assert datetime.fromisoformat(unready["ts"]) - datetime.fromisoformat(sigterm["ts"]) > timedelta(seconds=1.4)
    await eventually(left_out)
    assert not stage.timeline.find("replica.exited", replica=victim.name), "it would still answer"
