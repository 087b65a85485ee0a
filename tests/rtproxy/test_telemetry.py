"""A call is one span, told to a real OTLP receiver by a relay in a process of its own; and what that never costs."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pytest

from rtproxy import __version__
from rtproxy.settings import SettingsError, load
from stage.rawpeer import CLOSE, TEXT, RawPeer, RawServer, close_payload
from stage.replica import Replica, ReplicaError
from tests.conftest import DEADLINE_S, KEY, Caller, RelayFactory, ReplicaFactory, settings_for
from tests.otlp import Collector, Span

FLUSH_S = 2.0
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{CALLER}-01"
CREATED = b'{"type":"session.created","session":{"id":"sess_1"}}'
TURN = (
    b'{"type":"input_audio_buffer.speech_started"}',
    b'{"type":"input_audio_buffer.speech_stopped"}',
    b'{"type":"response.created"}',
    b'{"type":"response.done","response":{"usage":{"input_tokens":120,"output_tokens":45},"output":[{"type":"said"}]}}',
)


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with Collector() as collector:
        yield collector


def soon(collector: Collector, **more: str) -> dict[str, str]:
    """Settings of a relay that exports what it has as soon as it has it."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "20",
        "OTEL_METRIC_EXPORT_INTERVAL": "50",
    } | more


class Call(NamedTuple):
    client: RawPeer
    model: RawPeer

    @property
    def session(self) -> str:
        return self.client.headers["x-rtproxy-session"]

    async def hears(self, *events: bytes) -> None:
        """The model says ``events``, and the client has them."""
        for event in events:
            await self.model.send(TEXT, event)
            assert (await self.client.read_until(TEXT)).payload == event

    async def ends(self, code: int = 1000) -> None:
        await self.client.send(CLOSE, close_payload(code))
        await self.model.read_until(CLOSE)
        await self.model.send(CLOSE, close_payload(code))


async def calling(port: int, upstream: RawServer, dial: Caller, **headers: str) -> Call:
    connecting = asyncio.create_task(dial(port, headers=headers))
    model = await upstream.request()
    await model.answer(headers={"apim-request-id": "request-7"})
    return Call(await connecting, model)


async def whole_call(relay: Replica, upstream: RawServer, dial: Caller, collector: Collector, **headers: str) -> Span:
    call = await calling(relay.port, upstream, dial, **headers)
    await call.ends()
    return await collector.span(session=call.session)


# Off, missing, wrong.


def shadow(path: Path, code: str) -> str:
    """A PYTHONPATH on which the packages of the extra are nothing but ``code``."""
    for package in ("opentelemetry", "grpc", "google"):
        (path / package).mkdir()
        (path / package / "__init__.py").write_text(code)
    return str(path)


@pytest.mark.parametrize(
    "off",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_METRICS_EXPORTER": "none",
        },
    ],
)
async def test_nothing_of_opentelemetry_is_imported_when_it_is_off(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller, tmp_path: Path, off: dict[str, str]
) -> None:
    poison = shadow(tmp_path, "raise SystemExit('imported')")
    relay = await replica_for(upstream.port, PYTHONPATH=poison, RTPROXY_DRAIN_SECONDS="1", **off)
    assert (await relay.event("proxy.started"))["telemetry"] == "off"
    await (await calling(relay.port, upstream, dial)).ends()
    await relay.event("connection.closed", ended_by="client")
    relay.signal(signal.SIGTERM)
    assert await relay.exited() == 0
    assert relay.stderr == b""


async def test_a_relay_without_the_extra_carries_calls_although_the_platform_names_an_endpoint(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller, tmp_path: Path
) -> None:
    endpoint = "http://127.0.0.1:1"
    relay = await replica_for(upstream.port, PYTHONPATH=shadow(tmp_path, ""), OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
    assert (await relay.event("proxy.started"))["telemetry"] == "missing"
    await (await calling(relay.port, upstream, dial)).ends()
    await relay.event("connection.closed", ended_by="client")


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "grpc"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json", "grpc"),
        ("OTEL_TRACES_EXPORTER", "console", "otlp or none"),
    ],
)
def test_what_the_relay_cannot_do_is_told_once_and_only_where_an_endpoint_asks_for_it(
    name: str, value: str, accepted: str
) -> None:
    environ = settings_for(1) | {name: value}
    assert load(environ).telemetry == frozenset()
    with pytest.raises(SettingsError) as raised:
        load(environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})
    assert raised.value.problems == [f"{name} is {value!r}; accepted: {accepted}"]


def test_an_endpoint_of_one_signal_turns_that_signal_on() -> None:
    for signal_ in ("traces", "metrics"):
        environ = settings_for(1) | {f"OTEL_EXPORTER_OTLP_{signal_.upper()}_ENDPOINT": "http://127.0.0.1:1"}
        assert load(environ).telemetry == {signal_}


@pytest.mark.parametrize(
    "name", ["OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"]
)
async def test_a_variable_that_the_sdk_does_not_take_stops_the_start(replica_for: ReplicaFactory, name: str) -> None:
    with pytest.raises(ReplicaError, match=r"1 setting to mend:\n  OTEL_.*soon.*accepted: "):
        await replica_for(1, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1", **{name: "soon"})


# Trace context.


async def passed_on(port: int, upstream: RawServer, dial: Caller, **headers: str) -> dict[str, str]:
    """What of the client's ``headers`` the model saw, and any trace context."""
    call = await calling(port, upstream, dial, **headers)
    return {k: v for k, v in call.model.headers.items() if k in {"traceparent", "tracestate", "baggage", *headers}}


@pytest.mark.parametrize(
    "context",
    [
        {"traceparent": PARENT},
        {"traceparent": PARENT, "tracestate": "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"},
        {"traceparent": f"cc-{TRACE}-{CALLER}-00-of-the-future"},
    ],
)
async def test_a_trace_context_passes_on_as_it_came_when_telemetry_is_off(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, context: dict[str, str]
) -> None:
    relay = await relay_for(upstream.port)
    assert await passed_on(relay.port, upstream, dial, **context) == context


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "00",
        f"00-{TRACE.upper()}-{CALLER}-01",
        f"00-{'0' * 32}-{CALLER}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{CALLER}-01",
        f"{PARENT}-more",
        f"{PARENT}\r\nTraceparent: {PARENT}",
    ],
)
async def test_a_malformed_trace_context_goes_no_further(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, traceparent: str
) -> None:
    relay = await relay_for(upstream.port)
    assert await passed_on(relay.port, upstream, dial, traceparent=traceparent, tracestate="a=b") == {}


async def test_nothing_but_the_trace_context_goes_with_it(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller
) -> None:
    relay = await relay_for(upstream.port)
    more = {"tracestate": "a" * 513, "baggage": "user=alice", "b3": "1"}
    assert await passed_on(relay.port, upstream, dial, traceparent=PARENT, **more) == {"traceparent": PARENT}


async def test_the_clients_trace_goes_on_through_our_span_to_the_model(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller, collector: Collector
) -> None:
    relay = await replica_for(upstream.port, **soon(collector))
    call = await calling(relay.port, upstream, dial, traceparent=PARENT, tracestate="rojo=1")
    await call.ends()
    span = await collector.span(session=call.session)
    assert (span.trace_id, span.parent_id, span.state) == (TRACE, CALLER, "rojo=1")
    assert call.model.headers["traceparent"] == f"00-{TRACE}-{span.span_id}-01"
    assert call.model.headers["tracestate"] == "rojo=1"


async def test_a_call_without_a_sound_context_begins_a_trace_of_its_own(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller, collector: Collector
) -> None:
    relay = await replica_for(upstream.port, **soon(collector))
    call = await calling(relay.port, upstream, dial, traceparent=PARENT.replace("00-", "ff-", 1))
    await call.ends()
    span = await collector.span(session=call.session)
    assert (span.parent_id, span.trace_id != TRACE) == ("", True)
    told, _, flags = call.model.headers["traceparent"].rpartition("-")
    assert (told, int(flags, 16) & 1) == (f"00-{span.trace_id}-{span.span_id}", 1)


async def test_a_caller_that_does_not_sample_gets_no_span_and_the_model_hears_so(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller, collector: Collector
) -> None:
    relay = await replica_for(upstream.port, **soon(collector))
    call = await calling(relay.port, upstream, dial, traceparent=f"00-{TRACE}-{CALLER}-00")
    await call.hears(CREATED, *TURN)
    await call.ends()
    await relay.event("connection.closed")
    assert call.model.headers["traceparent"].startswith(f"00-{TRACE}-")
    assert call.model.headers["traceparent"].endswith("-00")
    await whole_call(relay, upstream, dial, collector)
    assert len(collector.spans) == 1


# The span.


async def test_a_call_is_one_span_with_what_its_summary_says(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller, collector: Collector
) -> None:
    relay = await replica_for(upstream.port, **soon(collector))
    call = await calling(relay.port, upstream, dial)
    await call.hears(CREATED, *TURN)
    await call.ends()
    span = await collector.span(session=call.session)
    closed = await relay.event("connection.closed")
    told = {
        f"rtproxy.{name}": closed[name] for name in ("session", "client", "ended_by", "client_code", "upstream_code")
    }
    told |= {
        f"rtproxy.{way}": closed[way] for way in ("frames_up", "frames_down", "bytes_up", "bytes_down", "responses")
    }
    kinds = ("in_text", "in_audio", "in_cached", "out_text", "out_audio")
    told |= {f"rtproxy.tokens_{kind}": 0 for kind in kinds}
    told |= {"rtproxy.transcription_tokens": 0, "rtproxy.transcription_s": 0}
    told |= {"rtproxy.duration_s": closed["duration_s"], "rtproxy.turn": "quiet", "rtproxy.events_refused": 0}
    told |= {"rtproxy.revision": "app--blue", "rtproxy.replica": "app--blue-1", "rtproxy.request_id": "request-7"}
    told |= {"http.request.method": "GET", "http.route": "/v1/realtime", "http.response.status_code": 101}
    told |= {"gen_ai.provider.name": "azure.ai.openai", "gen_ai.request.model": "gpt-realtime"}
    told |= {"gen_ai.usage.input_tokens": 120, "gen_ai.usage.output_tokens": 45, "gen_ai.conversation.id": "sess_1"}
    dialed = (await relay.event("upstream.connected"))["dial_ms"]
    assert span.attributes.pop("rtproxy.dial_ms") == dialed
    assert dialed <= span.attributes.pop("rtproxy.first_frame_ms") < 1000 * DEADLINE_S
    assert span.attributes == told
    assert (span.name, span.kind, span.error) == ("call", "SERVER", None)
    assert span.duration_s == pytest.approx(closed["duration_s"], abs=0.1)
    assert len(collector.spans) == 1


async def test_the_events_of_a_span_are_the_dial_the_first_frame_and_the_turns(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller, collector: Collector
) -> None:
    relay = await replica_for(upstream.port, **soon(collector))
    call = await calling(relay.port, upstream, dial)
    await call.hears(CREATED, *TURN, b'{"type":"error","error":{"code":"bad"}}', *TURN)
    await call.ends()
    span = await collector.span(session=call.session)
    turn = [event.split(b'"')[3].decode() for event in TURN]
    opening = ["upstream.connected", "client.connected", "first_frame", "session.created"]
    assert [name for name, _ in span.events] == [*opening, *turn, "error", *turn]
    assert span.events[0][1].keys() == {"rtproxy.dial_ms", "rtproxy.request_id"}
    assert dict(span.events)["error"] == {"rtproxy.upstream_error": "bad"}
    used = {"gen_ai.usage.input_tokens": 120, "gen_ai.usage.output_tokens": 45}
    assert [fields for name, fields in span.events if name == "response.done"] == [used, used]


async def test_a_model_that_vanished_is_an_error_and_one_that_said_goodbye_is_none(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller, collector: Collector
) -> None:
    relay = await replica_for(upstream.port, **soon(collector))
    vanishing = await calling(relay.port, upstream, dial)
    vanishing.model.reset()
    span = await collector.span(session=vanishing.session)
    assert (span.error, span.attributes["error.type"]) == ("upstream.vanished",) * 2
    leaving = await calling(relay.port, upstream, dial)
    await leaving.model.send(CLOSE, close_payload(1000))
    await leaving.client.read_until(CLOSE)
    await leaving.client.send(CLOSE, close_payload(1000))
    span = await collector.span(session=leaving.session)
    assert (span.error, span.attributes["rtproxy.ended_by"]) == (None, "upstream")


async def test_a_framing_fault_is_an_error(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller, collector: Collector
) -> None:
    relay = await replica_for(upstream.port, **soon(collector))
    call = await calling(relay.port, upstream, dial)
    await call.client.send(TEXT, b"x", rsv=4)
    span = await collector.span(session=call.session)
    assert (span.error, span.attributes["rtproxy.client_code"]) == ("error", 1002)


async def test_a_dial_that_failed_is_a_span_with_the_status_the_client_got(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller, collector: Collector
) -> None:
    relay = await replica_for(upstream.port, **soon(collector))
    connecting = asyncio.create_task(dial(relay.port, headers={"traceparent": PARENT}))
    await (await upstream.request()).answer("429 Too Many Requests")
    assert (await connecting).status == 429
    span = await collector.span(client="alice")
    assert (span.attributes["http.response.status_code"], span.error) == (429, "rate_limit_exceeded")
    assert span.parent_id == CALLER


async def test_a_stranger_makes_no_span(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller, collector: Collector
) -> None:
    relay = await replica_for(upstream.port, **soon(collector))
    assert (await dial(relay.port, headers={"api-key": "wrong", "traceparent": PARENT})).status == 401
    await whole_call(relay, upstream, dial, collector)
    assert len(collector.spans) == 1
    await collector.value(1, "rtproxy.refusals", status="401", code="invalid_api_key")


async def test_a_span_holds_no_secret_and_nothing_of_what_was_said(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller, collector: Collector
) -> None:
    relay = await replica_for(upstream.port, **soon(collector, OTEL_EXPORTER_OTLP_HEADERS="x-key=of-the-collector"))
    call = await calling(relay.port, upstream, dial, cookie="a-cookie")
    said = b'{"type":"response.done","response":{"output":[{"content":[{"transcript":"a-word"}]}]}}'
    await call.hears(b'{"type":"error","error":{"code":"bad","message":"a-word"}}', said)
    await call.client.send(TEXT, b'{"type":"session.update","session":{"instructions":"a-word"}}')
    await call.ends()
    span = await collector.span(session=call.session)
    assert collector.headers["x-key"] == "of-the-collector"
    for secret in (KEY, "model-key", "a-cookie", "a-word", "of-the-collector", "sec-websocket"):
        assert secret not in repr(span)


async def test_the_resource_is_this_replica_and_the_environment_has_the_last_word(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller, collector: Collector
) -> None:
    relay = await replica_for(upstream.port, **soon(collector, CONTAINER_APP_NAME="app"))
    own = {
        "service.name": "rtproxy",
        "service.version": __version__,
        "service.instance.id": "app--blue-1",
        "rtproxy.app": "app",
        "rtproxy.revision": "app--blue",
    }
    assert own.items() <= (await whole_call(relay, upstream, dial, collector)).resource.items()
    named = soon(collector, OTEL_SERVICE_NAME="voice", OTEL_RESOURCE_ATTRIBUTES="rtproxy.app=other,team=a")
    relay = await replica_for(upstream.port, **named)
    told = (await whole_call(relay, upstream, dial, collector)).resource
    assert (told["service.name"], told["rtproxy.app"], told["team"]) == ("voice", "other", "a")


# The figures.


async def test_the_figures_are_those_of_a_scrape(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller, collector: Collector
) -> None:
    relay = await replica_for(upstream.port, **soon(collector))
    await dial(relay.port, headers={"api-key": "wrong"})
    first, second = [await calling(relay.port, upstream, dial) for _ in range(2)]
    await first.hears(CREATED, *TURN)
    await second.hears(*TURN[:1])
    await first.ends()
    await relay.event("connection.closed")
    await collector.value(1, "rtproxy.sessions_ended", ended_by="client")
    async with aiohttp.request("GET", f"{relay.url}/metrics") as response:
        scraped = {line for line in (await response.text()).splitlines() if not line.startswith("#")}

    def exposed() -> set[str]:
        lines = set()
        for (name, labels), value in collector.series.items():
            counter = name not in ("rtproxy.sessions", "rtproxy.draining", "rtproxy.tasks")
            pairs = ",".join(f'{k}="{v}"' for k, v in sorted(labels))
            series = name.replace(".", "_") + ("_total" if counter else "") + (f"{{{pairs}}}" if pairs else "")
            lines.add(f"{series} {float(value)}")
        return lines

    # Who asks for a page is a task, too.
    differing = exposed() ^ scraped
    assert {line.partition(" ")[0] for line in differing} <= {"rtproxy_tasks"}
    assert any(line.startswith("rtproxy_tasks ") for line in exposed())
    assert 'rtproxy_sessions{turn="speaking"} 1.0' in scraped


async def test_one_signal_can_be_left_out(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller, collector: Collector
) -> None:
    relay = await replica_for(upstream.port, **soon(collector, OTEL_TRACES_EXPORTER="none", RTPROXY_DRAIN_SECONDS="1"))
    assert await passed_on(relay.port, upstream, dial, traceparent=PARENT) == {"traceparent": PARENT}
    relay.signal(signal.SIGTERM)
    assert await relay.exited() == 0
    assert (collector.spans, ("rtproxy.draining", frozenset[tuple[str, str]]()) in collector.series) == ([], True)


# The end of the relay, and a collector that is not there.


async def test_what_is_left_is_sent_when_the_drain_is_over(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller, collector: Collector
) -> None:
    slow = {"OTEL_BSP_SCHEDULE_DELAY": "600000", "OTEL_METRIC_EXPORT_INTERVAL": "600000"}
    relay = await replica_for(upstream.port, **soon(collector, **slow), RTPROXY_DRAIN_SECONDS="1")
    call = await calling(relay.port, upstream, dial)
    relay.signal(signal.SIGTERM)
    assert (await call.client.read_until(CLOSE)).code == 1012
    await call.ends(1012)
    assert await relay.exited() == 0
    (span,) = collector.spans
    assert (span.attributes["rtproxy.ended_by"], span.error) == ("drain", None)
    assert collector.series["rtproxy.sessions_ended", frozenset({("ended_by", "drain")})] == 1
    assert collector.series["rtproxy.draining", frozenset()] == 1
    assert relay.stderr == b""


@pytest.mark.parametrize("mute", [True, False], ids=["takes no word", "refuses"])
async def test_a_collector_that_is_not_there_costs_a_line_and_two_seconds_at_most(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller, mute: bool
) -> None:
    async with RawServer() as silent:
        exporting = {"OTEL_BSP_SCHEDULE_DELAY": "10", "OTEL_METRIC_EXPORT_INTERVAL": "200"}
        exporting["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{silent.port if mute else 1}"
        relay = await replica_for(upstream.port, **exporting, RTPROXY_DRAIN_SECONDS="1")
        for _ in range(20):
            call = await calling(relay.port, upstream, dial)
            await call.hears(CREATED, *TURN)
            await call.ends()
        relay.signal(signal.SIGTERM)
        await relay.event("drain.completed")
        drained = time.monotonic()
        assert await asyncio.wait_for(relay.exited(), DEADLINE_S) == 0
        assert time.monotonic() - drained < FLUSH_S + 1.5
    assert [event["code"] for event in relay.events if event["event"] == "proxy.stopped"] == [0]
    assert relay.stderr.count(b"\n") <= 1
    assert relay.stderr == b"" or relay.stderr.startswith(b"rtproxy: telemetry: ")


async def test_a_malformed_header_of_the_collector_is_not_quoted(
    replica_for: ReplicaFactory, upstream: RawServer, collector: Collector
) -> None:
    relay = await replica_for(
        upstream.port, **soon(collector, OTEL_EXPORTER_OTLP_HEADERS="key of-the-collector"), RTPROXY_DRAIN_SECONDS="1"
    )
    relay.signal(signal.SIGTERM)
    assert await relay.exited() == 0
    assert relay.stderr == b"rtproxy: telemetry: OTEL_EXPORTER_OTLP_HEADERS is malformed\n"
