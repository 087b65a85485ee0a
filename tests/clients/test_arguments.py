"""The command line: every problem is named at once, and the key in none of them."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from clients.arguments import parse
from clients.target import Address, target
from tests.clients.conftest import KEY


def complaint(capsys: pytest.CaptureFixture[str], *argv: str, **environ: str) -> str:
    with pytest.raises(SystemExit) as left:
        parse(argv, environ)
    assert left.value.code == 2
    return capsys.readouterr().err


def test_every_problem_is_named_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    said = complaint(
        capsys,
        *("ftp://relay", "--connections", "five", "--duration", "0", "--ramp=-1", "--talk-every", "nan"),
        *("--connect-to", "relay", "--call-seconds=-1", "--kinds", "vad,mumble", "--tool-seconds=-1"),
        *("--ca-file", "/nowhere.pem", "--record", "/nowhere/r.jsonl", "--frob"),
    )

    for problem in (
        "--connections wants a whole number of at least 1, not 'five'",
        "--duration wants a number of at least 0.1, not '0'",
        "--ramp wants a number of at least 0, not '-1'",
        "--talk-every wants a number of at least 0, not 'nan'",
        "--connect-to wants the form HOST:PORT, with [ ] around an IPv6 address, not 'relay'",
        "--call-seconds wants a number of at least 0, not '-1'",
        "--kinds wants some of vad, push-to-talk, tools, silent, long, text, barge-in, mute,",
        "comma-separated, not 'mumble'",
        "--tool-seconds wants a number of at least 0, not '-1'",
        "unknown option --frob",
        "URL wants the form ws://host:port, wss://, http:// or https://",
        "--ca-file wants a PEM file with certificates",
        "--record cannot be written",
    ):
        assert problem in said


@pytest.mark.parametrize(
    "argv",
    [
        ("--kye", KEY, "ws://relay"),
        (f"--kye={KEY}", "ws://relay"),
        ("ws://relay", f"--key={KEY}\n"),
        (f"ws://user:{KEY}@relay",),
        (f"ws://relay/?api-key={KEY}",),
        (f"ws://relay/?secret={KEY}", "--key", KEY),
    ],
)
def test_a_misplaced_key_is_refused_and_not_quoted(capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]) -> None:
    assert KEY not in complaint(capsys, *argv)


def test_a_whole_number_too_large_for_a_float_is_a_bad_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--connections wants a whole number" in complaint(capsys, "ws://relay", "--connections", "1" * 400)


@pytest.mark.parametrize("host", ["a" * 64, "a" * 64 + ".example", "a..example"])
def test_a_host_that_no_resolver_takes_is_refused_before_anything_is_dialled(
    capsys: pytest.CaptureFixture[str], host: str
) -> None:
    assert "URL wants the form ws://host:port" in complaint(capsys, f"ws://{host}")
    assert "--connect-to wants the form HOST:PORT" in complaint(capsys, "ws://relay", "--connect-to", f"{host}:80")


def test_insecure_and_ca_file_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert "exclude each other" in complaint(capsys, "wss://relay", "--insecure", "--ca-file", "ca.pem")


async def test_a_bad_record_path_ends_with_2_before_anything_starts(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "clients.hold", "ws://127.0.0.1:9", "--record", str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"RTPROXY_KEY": KEY},
    )
    stdout, stderr = await process.communicate()

    assert (process.returncode, stdout) == (2, b"")
    assert b"--record cannot be written" in stderr


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("ws://relay:8080", "ws://relay:8080/v1/realtime?model=gpt-realtime"),
        ("http://relay:8080/", "ws://relay:8080/v1/realtime?model=gpt-realtime"),
        ("https://relay", "wss://relay/v1/realtime?model=gpt-realtime"),
        ("wss://relay/openai/v1/realtime", "wss://relay/openai/v1/realtime?model=gpt-realtime"),
        ("wss://relay/v1/realtime?model=other", "wss://relay/v1/realtime?model=other"),
        ("wss://relay/openai/realtime?deployment=d", "wss://relay/openai/realtime?deployment=d"),
        ("wss://relay?trace=1", "wss://relay/v1/realtime?trace=1&model=gpt-realtime"),
        ("wss://relay/ws", "wss://relay/ws"),
        ("wss://relay.example.:1/ws", "wss://relay.example.:1/ws"),
        ("wss://[fe80::1%25eth0]/ws", "wss://[fe80::1%25eth0]/ws"),
        ("wss://stra\u00dfe.example/ws", "wss://xn--strae-oqa.example/ws"),
    ],
)
def test_a_url_gets_path_and_model_where_it_has_none(given: str, meant: str) -> None:
    aim, problems = target(given, "gpt-realtime", None, "authorization", None, False)

    assert (str(aim.url), problems) == (meant, [])


@pytest.mark.parametrize(
    ("given", "meant"),
    [("relay:1", ("relay", 1)), ("127.0.0.1:65535", ("127.0.0.1", 65535)), ("[::1]:80", ("::1", 80))],
)
def test_an_address_is_a_host_and_a_port(given: str, meant: tuple[str, int]) -> None:
    assert Address.parse(given) == meant
    assert str(Address.parse(given)) == given


@pytest.mark.parametrize("text", ["", "relay", "relay:", ":80", "relay:0", "relay:65536", "::1:80", "u@h:1", "h:1/x"])
def test_anything_else_is_no_address(text: str) -> None:
    with pytest.raises(ValueError):
        Address.parse(text)


def test_the_key_goes_into_the_header_asked_for() -> None:
    assert parse(["ws://relay", "--key", KEY], {}).target.headers == {"Authorization": f"Bearer {KEY}"}
    assert parse(["ws://relay", "--key-header", "api-key"], {"RTPROXY_KEY": KEY}).target.headers == {"api-key": KEY}
    assert parse(["ws://relay"], {"RTPROXY_KEY": ""}).target.headers == {}


def test_a_plan_tells_everything_but_the_key() -> None:
    plan = parse(["ws://relay", "--key", KEY, "--max-rtt-p95-ms", "50", "--connect-to", "[::1]:80"], {})

    assert plan.as_recorded()["limits"] == {"max_cut": 0, "max_rtt_p95_ms": 50}
    assert plan.as_recorded()["authenticated"] is True
    assert (plan.as_recorded()["connect_to"], plan.as_recorded()["call_seconds"]) == ("[::1]:80", 0)
    assert KEY not in repr(plan) + str(plan.as_recorded())
