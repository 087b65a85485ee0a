"""What a handshake asks for goes on to the model or is refused by its name: nothing is dropped, no value is quoted."""

import asyncio
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import settings as given_so
from hypothesis import strategies as st
from yarl import URL

from rtproxy.door.parameters import (
    GA_PATH,
    KNOWN,
    NAME_CHARACTERS,
    PREVIEW_PATH,
    SAFETY_IDENTIFIER,
    Parameters,
    parameters_of,
)
from rtproxy.model.dial import _request
from rtproxy.refusal import Refused
from rtproxy.settings import Settings, load
from stage.rawpeer import RawServer
from tests.conftest import DEADLINE_S, KEY, Caller, Relay, RelayFactory, error, settings_for

VERSION = "2025-04-01-preview"
PREVIEW = {"AZURE_OPENAI_API_VERSION": VERSION}
PREVIEW_QUERY = f"api-version={VERSION}&deployment=gpt-realtime"


async def asked(upstream: RawServer, dial: Caller, relay: Relay, path: str, **headers: str) -> tuple[str, Mapping]:
    """What the model is asked by a call that is let in: the target, and the headers."""
    connecting = asyncio.create_task(dial(relay.port, path, headers=headers))
    model = await asyncio.wait_for(upstream.request(), DEADLINE_S)
    await model.answer()
    assert (await connecting).status == 101
    return model.request_line.split()[1], model.headers


async def refused(dial: Caller, relay: Relay, path: str, **headers: str) -> tuple[int, str, str]:
    """Status, code and message of a refusal."""
    client = await dial(relay.port, path, headers=headers)
    told = await error(client)
    return client.status, told["code"], told["message"]


@pytest.mark.parametrize(
    ("query", "dialed"),
    [
        ("", "?model=gpt-realtime"),
        ("?", "?model=gpt-realtime"),
        ("?model=gpt-realtime", "?model=gpt-realtime"),
        ("?api-version=v1", "?model=gpt-realtime"),
        ("?intent=realtime", "?model=gpt-realtime&intent=realtime"),
        ("?intent=transcription", "?intent=transcription"),
        ("?model=gpt-realtime&intent=transcription", "?model=gpt-realtime&intent=transcription"),
        ("?intent=transcription&model=", "?intent=transcription"),
        ("?call_id=rtc_u1-9.~c", "?call_id=rtc_u1-9.~c"),
        ("?model=gpt-realtime&call_id=rtc_1", "?model=gpt-realtime&call_id=rtc_1"),
        ("?%69ntent=%74ranscription", "?intent=transcription"),
    ],
)
async def test_what_a_ga_client_asks_for_is_asked_of_the_model(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, query: str, dialed: str
) -> None:
    relay = await relay_for(upstream.port)
    target, _ = await asked(upstream, dial, relay, f"/v1/realtime{query}")
    assert target == f"{GA_PATH}{dialed}"


@pytest.mark.parametrize(
    ("path", "more"),
    [
        (f"{PREVIEW_PATH}?{PREVIEW_QUERY}", ""),
        (f"{PREVIEW_PATH}?deployment=gpt-realtime", ""),
        ("/v1/realtime", ""),
        ("/ws?model=gpt-realtime", ""),
        (f"/v1/realtime?model=gpt-realtime&api-version={VERSION}", ""),
        (f"{PREVIEW_PATH}?{PREVIEW_QUERY}&intent=transcription", "&intent=transcription"),
    ],
)
async def test_what_a_preview_client_asks_for_is_asked_of_the_model(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, path: str, more: str
) -> None:
    relay = await relay_for(upstream.port, **PREVIEW)
    target, _ = await asked(upstream, dial, relay, path)
    assert target == f"{PREVIEW_PATH}?{PREVIEW_QUERY}{more}"


@pytest.mark.parametrize(
    "headers", [{"OpenAI-Beta": "realtime=v1"}, {"Sec-WebSocket-Protocol": "realtime, openai-beta.realtime-v1"}]
)
async def test_an_openai_client_of_the_beta_is_a_preview_client(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, headers: dict[str, str]
) -> None:
    relay = await relay_for(upstream.port, **PREVIEW)
    target, _ = await asked(upstream, dial, relay, "/v1/realtime?model=gpt-realtime", **headers)
    assert target == f"{PREVIEW_PATH}?{PREVIEW_QUERY}"


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({}, f"{PREVIEW_PATH}?{PREVIEW_QUERY}"),
        ({}, f"/v1/realtime?{PREVIEW_QUERY}"),
        ({}, f"/v1/realtime?model=gpt-realtime&api-version={VERSION}"),
        ({}, f"{PREVIEW_PATH}?deployment=gpt-realtime"),
        ({}, f"{PREVIEW_PATH}/?deployment=gpt-realtime"),
        ({}, "/ws?api-version=2024-10-01"),
        ({}, "/ws?api-version="),
        (PREVIEW, GA_PATH),
        (PREVIEW, f"{GA_PATH}/?model=gpt-realtime"),
        (PREVIEW, "/v1/realtime?model=gpt-realtime"),
        (PREVIEW, f"{PREVIEW_PATH}?deployment=gpt-realtime&api-version=v1"),
        (PREVIEW, f"{PREVIEW_PATH}?deployment=gpt-realtime&api-version=2024-10-01-preview"),
        (PREVIEW, f"{PREVIEW_PATH}?{PREVIEW_QUERY}&call_id=rtc_1"),
    ],
)
async def test_a_client_of_the_other_protocol_is_400_with_the_setting_that_decides(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, settings: dict[str, str], path: str
) -> None:
    relay = await relay_for(upstream.port, **settings)
    status, code, message = await refused(dial, relay, path)
    assert (status, code) == (400, "wrong_api_version")
    assert "AZURE_OPENAI_API_VERSION" in message
    assert "2024-10-01" not in message
    assert (await relay.event("client.refused"))["code"] == code


@pytest.mark.parametrize(
    ("query", "code", "named"),
    [
        ("intent=nonsense", "invalid_parameter", "intent"),
        ("intent=", "invalid_parameter", "intent"),
        ("intent=Transcription", "invalid_parameter", "intent"),
        ("intent=realtime%0d%0aapi-key:%20x", "invalid_parameter", "intent"),
        ("call_id=", "invalid_parameter", "call_id"),
        ("call_id=a%26model%3Db", "invalid_parameter", "call_id"),
        ("call_id=a%0d%0ab", "invalid_parameter", "call_id"),
        ("call_id=%C3%A4", "invalid_parameter", "call_id"),
        (f"call_id={'a' * 129}", "invalid_parameter", "call_id"),
        ("model=gpt-realtime&model=gpt-realtime", "repeated_parameter", "model"),
        ("model=gpt-realtime&model=other", "repeated_parameter", "model"),
        ("intent=realtime&intent=transcription", "repeated_parameter", "intent"),
        ("call_id=a&call_id=b", "repeated_parameter", "call_id"),
        ("intent=realtime&%69ntent=realtime", "repeated_parameter", "intent"),
        ("temperature=0.2", "unknown_parameter", "'temperature'"),
        ("Intent=transcription", "unknown_parameter", "'Intent'"),
        (f"api-key={KEY}", "unknown_parameter", "'api-key'"),
        (f"model=gpt-realtime&access_token={KEY}", "unknown_parameter", "'access_token'"),
        (f"a%0d%0ab={KEY}", "unknown_parameter", r"'a\r\nb'"),
        (f"caf%C3%A9={KEY}", "unknown_parameter", "'caf?'"),
        (f"{'n' * 300}={KEY}", "unknown_parameter", f"'{'n' * NAME_CHARACTERS}'"),
        (KEY, "unknown_parameter", "A parameter without a value"),
        (f"model=gpt-realtime&{KEY}", "unknown_parameter", "A parameter without a value"),
    ],
)
async def test_what_cannot_be_carried_is_400_with_its_name_and_without_its_value(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, query: str, code: str, named: str
) -> None:
    relay = await relay_for(upstream.port)
    status, said, message = await refused(dial, relay, f"/v1/realtime?{query}")
    assert (status, said) == (400, code)
    assert named in message
    assert len(message) < 200
    assert message.isprintable()
    told = await relay.event("client.refused")
    assert (told["status"], told["code"], told["path"]) == (400, code, "/v1/realtime")
    assert KEY not in message + relay.log


async def test_a_stranger_learns_nothing_about_what_may_be_asked_for(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller
) -> None:
    relay = await relay_for(upstream.port)
    for query in ("intent=nonsense", f"api-version={VERSION}", "model=other", "unknown=1"):
        status, code, _ = await refused(dial, relay, f"/v1/realtime?{query}", **{"api-key": ""})
        assert (status, code) == (401, "missing_api_key")


async def test_a_call_that_asks_for_what_cannot_be_carried_is_no_start_of_its_client(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller
) -> None:
    relay = await relay_for(upstream.port, RTPROXY_MAX_CLIENT_STARTS="1")
    for _ in range(2):
        assert (await refused(dial, relay, "/v1/realtime?unknown=1"))[0] == 400
    await asked(upstream, dial, relay, "/v1/realtime")


@pytest.mark.parametrize("path", ["/ws", "/v1/realtime", GA_PATH, PREVIEW_PATH])
async def test_a_slash_behind_a_route_changes_nothing(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, path: str
) -> None:
    relay = await relay_for(upstream.port)
    target, _ = await asked(upstream, dial, relay, f"{path}/?model=gpt-realtime")
    assert target == f"{GA_PATH}?model=gpt-realtime"
    assert (await relay.event("client.connected"))["path"] == path


@pytest.mark.parametrize("value", ["user-7", "user 7 <hash> \u007e", "h" * 128])
async def test_a_safety_identifier_goes_on_to_the_model_and_into_no_log(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, value: str
) -> None:
    relay = await relay_for(upstream.port)
    _, headers = await asked(upstream, dial, relay, "/v1/realtime", **{SAFETY_IDENTIFIER.lower(): value})
    assert headers[SAFETY_IDENTIFIER.lower()] == value
    await relay.event("client.connected")
    assert f'"{value}' not in relay.log


@pytest.mark.parametrize("value", ["h" * 129, "schlüssel", "tab\there", "two\r\nOpenAI-Safety-Identifier: lines"])
async def test_a_safety_identifier_that_no_model_would_take_is_400_and_is_not_quoted(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, value: str
) -> None:
    relay = await relay_for(upstream.port)
    status, code, message = await refused(dial, relay, "/v1/realtime", **{SAFETY_IDENTIFIER: value})
    assert (status, code) == (400, "invalid_safety_identifier")
    assert SAFETY_IDENTIFIER in message
    assert value[:5] not in message + relay.log


ACCOUNTS = "openai-organization.org-1, realtime, openai-project.proj_1, OpenAI-Project.proj_2"


async def test_the_model_is_offered_and_the_client_answered_no_name_of_an_account(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller
) -> None:
    relay = await relay_for(upstream.port)
    for taken, offered in ((ACCOUNTS, "realtime"), ("openai-organization.org-1", None)):
        connecting = asyncio.create_task(dial(relay.port, headers={"Sec-WebSocket-Protocol": taken}))
        model = await asyncio.wait_for(upstream.request(), DEADLINE_S)
        assert model.headers.get("sec-websocket-protocol") == offered
        await model.answer(headers={"Sec-WebSocket-Protocol": "openai-organization.org-1"})
        assert (await connecting).headers.get("sec-websocket-protocol") == offered


# Any query, any identifier.

GA_RELAY, PREVIEW_RELAY = load(settings_for(1)), load(settings_for(1, **PREVIEW))
VALUES = st.one_of(
    st.sampled_from(["", "gpt-realtime", "v1", VERSION, "transcription", "realtime", "rtc_1"]),
    st.text(max_size=150),
)
PAIRS = st.lists(st.tuples(st.sampled_from(KNOWN), VALUES), max_size=4)
QUERIES = st.one_of(
    PAIRS.map(lambda pairs: "&".join(f"{name}={quote(value, errors='replace')}" for name, value in pairs)),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#"), max_size=60),
)
HEADERS = st.one_of(st.just(None), st.text(st.characters(min_codepoint=0x20, max_codepoint=0x2FF), max_size=140))


def carried(request: web.Request, settings: Settings) -> Parameters | Refused:
    try:
        return parameters_of(request, settings)
    except Refused as refusal:
        return refusal


@given_so(max_examples=300, deadline=None, derandomize=True, database=None)
@given(path=st.sampled_from([GA_PATH, PREVIEW_PATH, "/v1/realtime", "/ws"]), query=QUERIES, identifier=HEADERS)
def test_any_query_is_carried_as_it_was_said_or_refused(path: str, query: str, identifier: str | None) -> None:
    headers = {} if identifier is None else {SAFETY_IDENTIFIER: identifier}
    request = make_mocked_request("GET", f"{path}?{query}", headers=headers)
    for settings in (GA_RELAY, PREVIEW_RELAY):
        parameters = carried(request, settings)
        if isinstance(parameters, Refused):
            assert parameters.status in (400, 404)
            assert parameters.message.isprintable()
            assert parameters.message.isascii()
            assert len(parameters.message) < 260
            continue
        said = dict(request.query)
        assert set(said) <= set(KNOWN)
        for name in ("intent", "call_id"):
            assert parameters.query.get(name) == said.get(name)
        assert parameters.headers == ({SAFETY_IDENTIFIER: identifier} if identifier else {})
        head = _request(URL("https://model.example/openai/realtime") % parameters.query, parameters.headers).decode()
        line, _, *fields = head.removesuffix("\r\n\r\n").split("\r\n")
        target = re.fullmatch(r"GET /openai/realtime(?:\?([!-~]*))? HTTP/1\.1", line)
        assert target
        assert parse_qsl(target[1] or "", keep_blank_values=True) == list(parameters.query.items())
        assert fields == [f"{name}: {value}" for name, value in parameters.headers.items()]
