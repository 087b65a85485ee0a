"""An origin that is listed lets its pages in however it is written; one that no browser sends ends the start."""

import asyncio
import re

import pytest
from hypothesis import given
from hypothesis import settings as given_so
from hypothesis import strategies as st

from rtproxy.origins import Origins, allowed_origin, origin
from rtproxy.settings import SettingsError, load
from stage.rawpeer import RawServer
from tests.conftest import DEADLINE_S, Caller, RelayFactory, error, settings_for
from tests.rtproxy.test_settings import relay as run_relay

TAKEN = [
    # what is listed, an origin that comes in, one that does not
    ("https://app.example.com", "https://app.example.com", "http://app.example.com"),
    ("https://App.Example.com:443", "https://app.example.com", "https://app.example.com:8443"),
    ("https://app.example.com", "https://app.example.com:443", "https://app.example.com:80"),
    ("http://a:80", "http://a", "https://a:80"),
    ("http://a:443", "http://a:443", "http://a"),
    ("http://localhost:03000", "http://localhost:3000", "http://localhost"),
    ("https://*.example.com", "https://app.example.com", "https://example.com"),
    ("https://*.example.com", "https://xn--bcher-kva.example.com", "https://a.b.example.com"),
    ("https://*.example.com", "https://a_b.example.com", "https://.example.com"),
    ("https://*.example.com", "https://a.example.com:443", "https://a.example.com:8443"),
    ("https://*.example.com:8443", "https://a.example.com:8443", "https://a.example.com"),
    ("https://*.example.com", "https://a.EXAMPLE.com", "https://aexample.com"),
    ("https://*.example.com", "https://a.example.com", "https://a.example.com.evil.example"),
    ("https://*.example.com", "https://a.example.com", "https://evil.example/.example.com"),
    ("https://*.example.com", "https://a.example.com", "https://evil.example#.example.com"),
    ("https://*.example.com", "https://a.example.com", "https://*.example.com"),
    ("https://bücher.example", "https://xn--bcher-kva.example", "https://bucher.example"),
    ("https://*.bücher.example", "https://a.xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    ("https://10.0.0.1:8443", "https://10.0.0.1:8443", "https://10.0.0.2:8443"),
    ("http://[::0001]:3000", "http://[::1]:3000", "http://[::2]:3000"),
    ("capacitor://localhost", "capacitor://localhost", "ionic://localhost"),
    ("tauri://localhost", "tauri://localhost", "https://localhost"),
    (
        "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
        "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
        "null",
    ),
    ("https://a.example,https://b.example", "https://b.example", "https://a.example,https://b.example"),
]


@pytest.mark.parametrize(("listed", "comes", "stays"), TAKEN)
async def test_pages_of_a_listed_origin_come_in_and_no_others(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, listed: str, comes: str, stays: str
) -> None:
    relay = await relay_for(upstream.port, RTPROXY_ALLOWED_ORIGINS=listed)
    client = await dial(relay.port, headers={"Origin": stays})
    assert (client.status, (await error(client))["code"]) == (403, "origin_not_allowed")
    connecting = asyncio.create_task(dial(relay.port, headers={"Origin": comes}))
    await (await asyncio.wait_for(upstream.request(), DEADLINE_S)).answer()
    assert (await connecting).status == 101


@pytest.mark.parametrize("listed", ["", "https://app.example.com", "https://*.example.com"])
async def test_what_is_no_browser_comes_in(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, listed: str
) -> None:
    relay = await relay_for(upstream.port, RTPROXY_ALLOWED_ORIGINS=listed)
    connecting = asyncio.create_task(dial(relay.port))
    await (await asyncio.wait_for(upstream.request(), DEADLINE_S)).answer()
    assert (await connecting).status == 101


@pytest.mark.parametrize(
    "sent",
    [
        "https://app.example.com\r\nOrigin: https://evil.example",
        "https://evil.example\r\nOrigin: https://app.example.com",
        "https://app.example.com/",
        "https://user@app.example.com",
        "https://app.example.com:",
        "https://app.example.com:0443x",
        "https://xn--app.example.com",
        "https://app.example.com:99999",
        "https://[::1",
        "app.example.com",
        "https://äpp.example.com",
        "null",
        f"https://{'a' * 8000}",
        f"https://{'a.' * 4000}",
    ],
)
async def test_what_no_browser_sends_comes_from_no_listed_origin(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, sent: str
) -> None:
    relay = await relay_for(upstream.port, RTPROXY_ALLOWED_ORIGINS="https://app.example.com")
    client = await dial(relay.port, headers={"Origin": sent})
    assert (client.status, (await error(client))["code"]) == (403, "origin_not_allowed")


NOT_SENT = [
    "app.example.com",
    "https://app.example.com/",
    "https://app.example.com/path",
    "https://app.example.com?x",
    "https://app.example.com#x",
    "https://hush:hush@app.example.com",
    "https://app.example.com:0",
    "https://app.example.com:65536",
    "https://app.example.com:99999",
    "https://app.example.com:",
    "https://app.example.com:http",
    "https://",
    "https:app.example.com",
    "https://app..example.com",
    f"https://{'n' * 64}.example.com",
    f"https://{'n.' * 200}com",
    "https://app example.com",
    "https://app%2eexample.com",
    "https://127.1",
    "https://0x7f000001",
    "https://[::1",
    "https://[fe80::1%25eth0]",
    "https://a\u200b.example",
    "*",
    "https://*",
    "https://*.com",
    "https://*.*.com",
    "https://a.*.example.com",
    "https://a*.example.com",
    "https://*.0.0.1",
    "https://*.example.com/",
    "chrome-extension://*",
    "chrome-extension://",
    "capacitor://localhost/",
    "wss://app.example.com",
    "file://",
    "file://localhost",
    "null",
    " , ",
]


@pytest.mark.parametrize("value", NOT_SENT)
def test_a_start_is_refused_when_no_browser_can_send_what_is_listed(value: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load(settings_for(1, RTPROXY_ALLOWED_ORIGINS=value))
    (told,) = raised.value.problems
    assert told.startswith("RTPROXY_ALLOWED_ORIGINS has '")
    assert "accepted: origins such as https://app.example.com" in told
    assert "hush" not in told


async def test_the_process_exits_2_and_names_every_entry_that_no_browser_sends() -> None:
    listed = "https://a.example,https://a.example/path,https://*.example.com,https://b.example:99999"
    code, out, err = await run_relay(**settings_for(1, RTPROXY_ALLOWED_ORIGINS=listed))
    assert (code, out) == (2, "")
    assert re.findall(r"RTPROXY_ALLOWED_ORIGINS has '([^']+)'", err) == [
        "https://a.example/path",
        "https://b.example:99999",
    ]


@given_so(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.text(max_size=80))
def test_any_text_is_an_origin_in_one_form_or_none(text: str) -> None:
    try:
        plain = origin(text)
    except ValueError:
        return
    assert origin(plain) == plain
    assert allowed_origin(plain) == plain
    assert Origins([plain]).allow([plain])


LABELS = st.text("abcxyz019-_", min_size=1, max_size=12)


@given_so(max_examples=300, deadline=None, derandomize=True, database=None)
@given(LABELS, st.lists(LABELS, min_size=2, max_size=3), st.sampled_from(["", ":443", ":8443"]))
def test_a_wildcard_stands_for_any_one_label(label: str, parents: list[str], port: str) -> None:
    parent = ".".join([*parents, "example"])
    origins = Origins([allowed_origin(f"https://*.{parent}{port}")])
    assert origins.allow([f"https://{label}.{parent}{port}"])
    assert not origins.allow([f"https://{parent}{port}"])
    assert not origins.allow([f"https://{label}.{label}.{parent}{port}"])
    assert not origins.allow([f"http://{label}.{parent}{port}"])
