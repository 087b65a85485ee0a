"""The settings: what is accepted, what each is when absent, and how wrong ones are told, all at once."""

import asyncio
import dataclasses
import os
import re
import socket
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from pathlib import Path

import pytest
from yarl import URL

from rtproxy.proxies import Proxies
from rtproxy.settings import HELP, Settings, SettingsError, load
from tests.conftest import DEADLINE_S

LEAST = {
    "AZURE_OPENAI_ENDPOINT": "https://name.openai.azure.com",
    "AZURE_OPENAI_DEPLOYMENT": "gpt-realtime",
    "RTPROXY_CLIENT_KEYS": "alice:client-key-of-alice",
}
VARIABLES = re.findall(r"^  ([A-Z_]+) ", HELP, re.MULTILINE)


def problem(name: str, value: str) -> str:
    """The one problem of a start where ``name`` is ``value``."""
    with pytest.raises(SettingsError) as raised:
        load(LEAST | {name: value})
    (found,) = raised.value.problems
    assert name in found
    assert "accepted: " in found
    return str(found)


def test_every_setting_that_may_be_absent_has_the_default_of_the_plan() -> None:
    assert load(LEAST) == Settings(
        endpoint=URL("https://name.openai.azure.com"),
        deployment="gpt-realtime",
        api_key=None,
        api_version=None,
        token_scope="https://cognitiveservices.azure.com/.default",
        host="0.0.0.0",
        port=8080,
        client_keys={"alice": "client-key-of-alice"},
        client_keys_file=None,
        oidc_issuer=None,
        oidc_audience=frozenset(),
        oidc_scope=None,
        allow_anonymous=False,
        allowed_origins=frozenset(),
        client_events=frozenset(),
        https_proxy=Proxies(),
        max_sessions=1000,
        max_client_sessions=None,
        max_client_starts=None,
        max_call_s=None,
        drain_s=25,
        heartbeat_s=25,
        app=None,
        revision="local",
        replica=socket.gethostname(),
        telemetry=frozenset(),
    )


@pytest.mark.parametrize(
    ("name", "value", "field", "read"),
    [
        ("AZURE_OPENAI_ENDPOINT", "https://name.openai.azure.com/", "endpoint", URL("https://name.openai.azure.com/")),
        ("AZURE_OPENAI_ENDPOINT", "http://127.0.0.1:9000", "endpoint", URL("http://127.0.0.1:9000")),
        ("AZURE_OPENAI_ENDPOINT", "http://localhost:9000", "endpoint", URL("http://localhost:9000")),
        ("AZURE_OPENAI_ENDPOINT", "http://[::1]:9000", "endpoint", URL("http://[::1]:9000")),
        ("AZURE_OPENAI_DEPLOYMENT", " my-gpt ", "deployment", "my-gpt"),
        ("AZURE_OPENAI_API_KEY", "model-key", "api_key", "model-key"),
        ("AZURE_OPENAI_API_VERSION", "2025-04-01-preview", "api_version", "2025-04-01-preview"),
        ("AZURE_OPENAI_TOKEN_SCOPE", "https://other.example/.default", "token_scope", "https://other.example/.default"),
        ("PORT", "0", "port", 0),
        ("PORT", "65535", "port", 65535),
        ("RTPROXY_HOST", "127.0.0.1", "host", "127.0.0.1"),
        (
            "RTPROXY_CLIENT_KEYS",
            "a:0123456789abcdef, b:2:3456789abcdef0,",
            "client_keys",
            {"a": "0123456789abcdef", "b": "2:3456789abcdef0"},
        ),
        ("RTPROXY_ALLOW_ANONYMOUS", "true", "allow_anonymous", True),
        ("RTPROXY_ALLOW_ANONYMOUS", "False", "allow_anonymous", False),
        (
            "RTPROXY_ALLOWED_ORIGINS",
            "https://A.example, http://b:8",
            "allowed_origins",
            {"https://a.example", "http://b:8"},
        ),
        ("RTPROXY_CLIENT_EVENTS", " response.create,a_b.c ,", "client_events", {"response.create", "a_b.c"}),
        ("RTPROXY_MAX_SESSIONS", "1", "max_sessions", 1),
        ("RTPROXY_DRAIN_SECONDS", "0.5", "drain_s", 0.5),
        ("RTPROXY_HEARTBEAT_SECONDS", "3600", "heartbeat_s", 3600),
        ("RTPROXY_MAX_CLIENT_SESSIONS", "5", "max_client_sessions", 5),
        ("RTPROXY_MAX_CLIENT_STARTS", "60", "max_client_starts", 60),
        ("RTPROXY_MAX_CALL_SECONDS", "1800", "max_call_s", 1800),
        ("RTPROXY_OIDC_AUDIENCE", "api://voice, 1234", "oidc_audience", {"api://voice", "1234"}),
        ("RTPROXY_OIDC_SCOPE", "Calls.Start", "oidc_scope", "Calls.Start"),
        ("CONTAINER_APP_NAME", "app", "app", "app"),
        ("CONTAINER_APP_REVISION", "app--blue", "revision", "app--blue"),
        ("CONTAINER_APP_REPLICA_NAME", "app--blue-1", "replica", "app--blue-1"),
    ],
)
def test_a_value_of_the_accepted_form_is_read(name: str, value: str, field: str, read: object) -> None:
    assert getattr(load(LEAST | {name: value}), field) == read


@pytest.mark.parametrize("name", [n for n in VARIABLES if n not in LEAST])
def test_an_empty_value_is_an_absent_one(name: str) -> None:
    assert load(LEAST | {name: ""}) == load(LEAST)


@pytest.mark.parametrize("name", LEAST)
@pytest.mark.parametrize("value", ["", "  "])
def test_a_start_is_refused_when_a_variable_it_cannot_do_without_is_empty(name: str, value: str) -> None:
    assert f"{name} is not set" in problem(name, value)


def test_nobody_needs_a_key_when_everybody_is_let_in() -> None:
    assert load(LEAST | {"RTPROXY_CLIENT_KEYS": "", "RTPROXY_ALLOW_ANONYMOUS": "true"}).client_keys == {}


def test_nobody_needs_a_key_in_the_environment_when_a_file_has_one_or_an_issuer_vouches(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("alice:client-key-of-alice\n")
    file = {"RTPROXY_CLIENT_KEYS": "", "RTPROXY_CLIENT_KEYS_FILE": str(tmp_path / "keys")}
    assert load(LEAST | file).client_keys_file == tmp_path / "keys"
    issuer = {"RTPROXY_OIDC_ISSUER": "https://sts.windows.net/t/", "RTPROXY_OIDC_AUDIENCE": "api://voice"}
    assert load(LEAST | {"RTPROXY_CLIENT_KEYS": ""} | issuer).oidc_issuer == "https://sts.windows.net/t/"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "cannot be read: No such file"),
        (b"\xff\xfe", "cannot be read: it is not text"),
        (b"carol:client-key-of-carol\ndave", "entry 2 is not a pair"),
        (b"carol:client-key-of-carol\ncarol:another-key-of-carol", "entry 2 repeats"),
        (b"alice:another-key-of-alice", "entry 1 repeats"),
        (b"carol:client-key-of-alice", "entry 1 repeats"),
    ],
)
def test_a_file_of_keys_is_refused_when_it_is_not_one(tmp_path: Path, text: bytes | None, told: str) -> None:
    file = tmp_path / "keys"
    if text is not None:
        file.write_bytes(text)
    assert told in problem("RTPROXY_CLIENT_KEYS_FILE", str(file))


@pytest.mark.parametrize("value", ["a..b", f"{'n' * 64}.local"])
def test_a_host_is_refused_that_is_no_name(value: str) -> None:
    assert "accepted: an address of this machine" in problem("RTPROXY_HOST", value)


@pytest.mark.parametrize("value", ["::", "::1", "fe80::1%eth0", "localhost"])
def test_an_address_or_a_name_is_a_host(value: str) -> None:
    assert load(LEAST | {"RTPROXY_HOST": value}).host == value


@pytest.mark.parametrize("value", ["login.example.com", "http://login.example.com", "https://u:p@x", "https://x/?a=b"])
def test_an_issuer_is_refused_that_somebody_on_the_way_could_pose_as(value: str) -> None:
    with pytest.raises(SettingsError, match="RTPROXY_OIDC_ISSUER is not an issuer; accepted: https://"):
        load(LEAST | {"RTPROXY_OIDC_ISSUER": value, "RTPROXY_OIDC_AUDIENCE": "api://voice"})


def test_an_issuer_is_refused_without_an_audience() -> None:
    with pytest.raises(SettingsError, match="RTPROXY_OIDC_AUDIENCE is not set; accepted: "):
        load(LEAST | {"RTPROXY_OIDC_ISSUER": "https://login.example.com"})


@pytest.mark.parametrize(
    "value",
    [
        "name.openai.azure.com",
        "wss://name.openai.azure.com",
        "http://name.openai.azure.com",
        "http://10.0.0.1:9000",
        "https://name.openai.azure.com/openai/v1",
        "https://name.openai.azure.com/?api-version=1",
        "https://name.openai.azure.com/#part",
        "https://user@name.openai.azure.com",
        "https://",
        "https://[::1",
        "https://name:port",
        "https://name:0",
        "https://name:65536",
        "https://name..azure.com",
        f"https://{'n' * 64}.openai.azure.com",
    ],
)
def test_an_endpoint_is_refused_when_it_is_not_the_root_of_one(value: str) -> None:
    assert "https://NAME.openai.azure.com" in problem("AZURE_OPENAI_ENDPOINT", value)


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("PORT", "http", "a whole number from 0 to 65535"),
        ("PORT", "80.5", "a whole number from 0 to 65535"),
        ("PORT", "65536", "a whole number from 0 to 65535"),
        ("PORT", "-1", "a whole number from 0 to 65535"),
        ("RTPROXY_MAX_SESSIONS", "0", "a whole number from 1 to 1000000"),
        ("RTPROXY_MAX_SESSIONS", "9" * 400, "a whole number from 1 to 1000000"),
        ("RTPROXY_MAX_SESSIONS", "9" * 5000, "a whole number from 1 to 1000000"),
        ("RTPROXY_MAX_CLIENT_SESSIONS", "0", "a whole number from 1 to 1000000"),
        ("RTPROXY_MAX_CLIENT_STARTS", "1.5", "a whole number from 1 to 10000"),
        ("RTPROXY_MAX_CALL_SECONDS", "-1", "a number from 0.1 to 86400"),
        ("RTPROXY_DRAIN_SECONDS", "25s", "a number from 0.1 to 3600"),
        ("RTPROXY_DRAIN_SECONDS", "nan", "a number from 0.1 to 3600"),
        ("RTPROXY_DRAIN_SECONDS", "0", "a number from 0.1 to 3600"),
        ("RTPROXY_HEARTBEAT_SECONDS", "inf", "a number from 0.1 to 3600"),
        ("RTPROXY_ALLOW_ANONYMOUS", "yes", "true or false"),
        ("RTPROXY_ALLOWED_ORIGINS", "app.example.com", "https://app.example.com"),
        ("RTPROXY_ALLOWED_ORIGINS", "https://a.example/path", "https://app.example.com"),
        ("AZURE_OPENAI_API_VERSION", "v1", "a date, such as 2025-04-01-preview; for GA none"),
        ("AZURE_OPENAI_API_VERSION", "2025-04-01&a=b", "a date, such as 2025-04-01-preview; for GA none"),
        ("RTPROXY_CLIENT_EVENTS", "response.create,*", "input_audio_buffer.append"),
        ("RTPROXY_CLIENT_EVENTS", "Response.Create", "input_audio_buffer.append"),
        ("RTPROXY_CLIENT_EVENTS", "response.create.", "input_audio_buffer.append"),
        ("RTPROXY_CLIENT_EVENTS", "response.create response.cancel", "input_audio_buffer.append"),
        ("RTPROXY_CLIENT_EVENTS", " , ", "input_audio_buffer.append"),
    ],
)
def test_a_value_of_another_form_is_told_with_the_accepted_one(name: str, value: str, accepted: str) -> None:
    assert accepted in problem(name, value)


@pytest.mark.parametrize("entry", ["alice", "alice:", ":secret", "alice:sec ret", "alice:sécret", "a/b:secret"])
def test_a_client_key_is_refused_by_its_place_when_it_is_no_pair(entry: str) -> None:
    told = problem("RTPROXY_CLIENT_KEYS", f"bob:a-sound-key-of-bob,{entry}")
    assert "entry 2" in told
    assert "name:key,name:key" in told


@pytest.mark.parametrize("key", ["a", "hush-15-of-them"])
def test_a_client_key_of_fewer_than_16_characters_is_refused_by_its_place(key: str) -> None:
    told = problem("RTPROXY_CLIENT_KEYS", f"bob:a-sound-key-of-bob,weak:{key}")
    assert "entry 2 has a short key; accepted: 16 characters or more" in told


@pytest.mark.parametrize("entry", ["bob:another-key-of-bob", "alice:a-sound-key-of-bob"])
def test_a_client_key_is_refused_when_its_name_or_key_is_taken(entry: str) -> None:
    assert "entry 2 repeats" in problem("RTPROXY_CLIENT_KEYS", f"bob:a-sound-key-of-bob,{entry}")


@pytest.mark.parametrize("value", ["with space", "line\nbreak", "schlüssel"])
def test_a_model_key_is_refused_when_no_header_carries_it(value: str) -> None:
    assert "printable ASCII" in problem("AZURE_OPENAI_API_KEY", value)


def test_every_problem_is_told_at_once() -> None:
    wrong = {
        "AZURE_OPENAI_ENDPOINT": "ftp://x",
        "AZURE_OPENAI_DEPLOYMENT": "",
        "AZURE_OPENAI_API_KEY": "a b",
        "PORT": "x",
        "RTPROXY_CLIENT_KEYS": "alice",
        "RTPROXY_ALLOW_ANONYMOUS": "maybe",
        "RTPROXY_ALLOWED_ORIGINS": "x",
        "RTPROXY_CLIENT_EVENTS": "X",
        "RTPROXY_MAX_SESSIONS": "x",
        "RTPROXY_DRAIN_SECONDS": "x",
        "RTPROXY_HEARTBEAT_SECONDS": "x",
    }
    with pytest.raises(SettingsError) as raised:
        load(wrong)
    assert sorted(told.split()[0].rstrip(":") for told in raised.value.problems) == sorted(wrong)


def test_no_secret_is_told_when_it_is_wrong() -> None:
    with pytest.raises(SettingsError) as raised:
        load(LEAST | {"AZURE_OPENAI_API_KEY": "hush hush", "RTPROXY_CLIENT_KEYS": "alice:hush hush,hush,b:hush,b:hush"})
    assert "hush" not in str(raised.value)
    assert len(raised.value.problems) == 5


def test_no_secret_shows_in_the_repr_of_settings() -> None:
    settings = load(LEAST | {"AZURE_OPENAI_API_KEY": "hush-model", "RTPROXY_CLIENT_KEYS": "alice:hush-client-key-0"})
    assert "gpt-realtime" in repr(settings)
    assert "hush" not in repr(settings)


def test_settings_do_not_change_once_they_are_read() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load(LEAST).port = 1  # type: ignore[misc]


async def relay(*arguments: str, **settings: str) -> tuple[int | None, str, str]:
    """Runs ``python -m rtproxy`` to its end: exit code, stdout, stderr."""
    environ: Mapping[str, str] = {"PATH": os.environ.get("PATH", "")} | settings
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rtproxy", *arguments, env=environ, stdout=PIPE, stderr=PIPE
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode, out.decode(), err.decode()


async def test_the_process_exits_2_and_names_every_missing_variable_when_nothing_is_set() -> None:
    code, out, err = await relay()
    assert (code, out) == (2, "")
    assert all(name in err for name in LEAST)
    assert "RTPROXY_ALLOW_ANONYMOUS=true" in err
    assert "Traceback" not in err


async def test_the_process_exits_2_and_tells_no_secret_when_settings_are_wrong() -> None:
    wrong = LEAST | {"PORT": "http", "AZURE_OPENAI_API_KEY": "hush hush", "RTPROXY_CLIENT_KEYS": "hush"}
    code, out, err = await relay(**wrong)
    assert (code, out) == (2, "")
    assert "3 settings to mend" in err
    assert "PORT is 'http'" in err
    assert "hush" not in err
    assert "Traceback" not in err


async def test_help_lists_every_variable() -> None:
    code, out, _ = await relay("--help")
    assert code == 0
    assert HELP in out
    named = set(re.findall(r"(?:AZURE_OPENAI|RTPROXY)_[A-Z_]+|PORT", out))
    assert named == set(VARIABLES)
    assert len(VARIABLES) == len(HELP.splitlines())


async def test_the_process_exits_1_with_one_line_when_its_port_is_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = await relay(
            **LEAST, AZURE_OPENAI_API_KEY="model-key", RTPROXY_HOST="127.0.0.1", PORT=str(port)
        )
    assert (code, out) == (1, "")
    assert err.startswith(f"rtproxy: cannot listen on 127.0.0.1:{port}: ")
    assert err.count("\n") == 1


async def test_the_process_exits_1_with_one_line_when_its_address_is_none_of_the_host() -> None:
    code, out, err = await relay(**LEAST, AZURE_OPENAI_API_KEY="model-key", RTPROXY_HOST="192.0.2.1", PORT="0")
    assert (code, out) == (1, "")
    assert err.startswith("rtproxy: cannot listen on 192.0.2.1:0: ")
    assert err.count("\n") == 1
