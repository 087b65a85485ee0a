"""Whatever comes as a request: each answer is the relay's own, in the envelope, and has no word of the request.

``nox -s fuzz`` sets HYPOTHESIS_PROFILE=long: 100,000 requests.
"""

import asyncio
import io
import logging
import os
import re
import socket
import threading
from collections.abc import Iterator
from typing import NamedTuple

import orjson
import pytest
import uvloop
from aiohttp import web
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rtproxy.app import make_app
from rtproxy.door import halfopen
from rtproxy.door.halfopen import Runner
from rtproxy.log import Log
from rtproxy.settings import load
from tests.conftest import settings_for

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
SECRET = b"hush-key-of-a-client"
LAST = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
"""Behind each: what came before is answered when this is, or never."""
OWN_PAGES = (b"/healthz", b"/readyz", b"/status", b"/metrics")
QUIET_S = 0.25
"""Who is answered no further within this time is not going to be."""

NASTY = st.sampled_from(
    [
        b"\0", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"\t", b":", b"\x7f", b"\x80", b"\xff", b"\xc3\xa9",
        b"\xe2\x80\xa8", b",", b";",
    ]
)  # fmt: skip
WORDS = st.one_of(
    st.just(SECRET), st.binary(max_size=12), st.sampled_from([b"1", b"chunked", b"close", b"-1", b"0x10"])
)
METHODS = st.one_of(
    st.sampled_from([b"GET", b"POST", b"PUT", b"OPTIONS", b"CONNECT", b"PRI", SECRET]), st.binary(max_size=8)
)
PATHS = st.one_of(
    st.sampled_from([b"/v1/realtime", b"/ws", b"/openai/realtime", b"*", b"/", b"", *OWN_PAGES]),
    st.builds(lambda word: b"/v1/" + word, WORDS),
    st.builds(lambda word: b"/v1/realtime?" + word + b"=" + SECRET, WORDS),
    st.builds(lambda word: b"http://" + word + b"/ws", WORDS),
)
VERSIONS = st.one_of(
    st.just(b"HTTP/1.1"),
    st.sampled_from([b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9", b"http/1.1", b""]),
    st.binary(max_size=9),
)
NAMES = st.one_of(
    st.sampled_from(
        [
            b"Host", b"api-key", b"Authorization", b"Upgrade", b"Connection", b"Sec-WebSocket-Key", b"Origin",
            b"Expect", b"Sec-WebSocket-Version", b"Sec-WebSocket-Protocol", b"Content-Length", b"Transfer-Encoding",
            b"Content-Encoding", b"OpenAI-Safety-Identifier", b"traceparent", b"Cookie", SECRET,
        ]
    ),
    st.binary(max_size=8),
)  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(
        [
            SECRET, b"Bearer " + SECRET, b"websocket", b"Upgrade", b"13", b"dGhlIHNhbXBsZSBub25jZQ==", b"100-continue",
            b"realtime, openai-insecure-api-key." + SECRET, b"eyJhbGciOiJIUzI1NiJ9." + SECRET + b".x", SECRET * 500,
            b"5", b"ek_eyJhbGciOiJSUzI1NiIsImtpZCI6WzFdfQ.e30.",
        ]
    ),
    WORDS,
)  # fmt: skip
HEADERS = st.builds(
    lambda name, colon, value: name + colon + value, NAMES, st.sampled_from([b": ", b":", b" : ", b""]), VALUES
)
ENDS = st.sampled_from([b"\r\n"] * 8 + [b"\n", b"\r", b"\r\n ", b"\0\r\n"])
SOUND = [
    b"Host: x",
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
]


def _written(
    line: tuple[bytes, bytes, bytes], sound: bool, headers: list[bytes], ends: list[bytes], behind: bytes
) -> bytes:
    lines = [b" ".join(line), *(SOUND if sound else SOUND[:1]), b"api-key: " + SECRET, *headers]
    said = b"".join(each + (ends[number % len(ends)] if ends else b"\r\n") for number, each in enumerate(lines))
    return said + b"\r\n" + behind


class Change(NamedTuple):
    """A malformation: ``put`` in the place of ``cut`` bytes, at this share of the whole."""

    at: float
    cut: int
    put: bytes

    def __call__(self, said: bytes) -> bytes:
        begins = int(self.at * len(said))
        return said[:begins] + self.put + said[begins + self.cut :]


WRITTEN = st.builds(
    _written,
    st.tuples(METHODS, PATHS, VERSIONS),
    st.booleans(),
    st.lists(HEADERS, max_size=6),
    st.one_of(st.just([]), st.lists(ENDS, min_size=1, max_size=5)),
    st.one_of(st.just(b""), st.binary(max_size=40), st.just(b"5\r\nhello\r\n0\r\n\r\n")),
)
CHANGES = st.lists(st.builds(Change, st.floats(0, 1), st.integers(0, 6), NASTY | st.binary(max_size=6)), max_size=3)
REQUESTS = st.one_of(
    st.builds(lambda said, changes: _changed(said, changes), WRITTEN, CHANGES),
    st.binary(max_size=200),
    st.builds(
        lambda size, byte: LAST[:-2] + b"X: " + byte * size,
        st.sampled_from([8190, 9000, 40_000, 300_000]),
        NASTY | st.just(b"a"),
    ),
)


def _changed(said: bytes, changes: list[Change]) -> bytes:
    for change in changes:
        said = change(said)
    return said


class Relay:
    """A relay on a loop of its own, in a thread: hypothesis calls from outside of any."""

    def __init__(self) -> None:
        self.port = 0
        self.log = io.BytesIO()
        self._loop = uvloop.new_event_loop()
        self._stands, self._end = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))

    def __enter__(self) -> "Relay":
        self._thread.start()
        assert self._stands.wait(20)
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        self._loop.close()

    async def _run(self) -> None:
        app = make_app(load(settings_for(1)), Log("app--blue", "app--blue-1", self.log))
        runner = Runner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        self._stands.set()
        await self._end.wait()
        await runner.cleanup()


@pytest.fixture(scope="module")
def relay() -> Iterator[Relay]:
    with pytest.MonkeyPatch.context() as patch, Relay() as relay:
        patch.setattr(halfopen, "HANDSHAKE_S", 1.0)
        patch.setattr(logging.getLogger("aiohttp.server"), "disabled", True)  # as the process of a relay has it
        yield relay


def heard(port: int, said: bytes) -> bytes:
    """All that a relay answers, up to its end of the connection."""
    answers = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        try:
            sock.sendall(said + LAST)
            sock.settimeout(QUIET_S)
            while data := sock.recv(1 << 16):
                answers += data
        except (ConnectionError, TimeoutError):
            pass
    return answers


_HEAD = re.compile(rb"HTTP/1\.[01] (\d{3}) [A-Za-z -]+\r\n((?:[A-Za-z-]+: [^\r\n]*\r\n)*)\r\n")


def judge(answers: bytes) -> list[int]:
    """The statuses of ``answers``, each of which is the relay's own."""
    statuses = []
    while answers:
        if answers.startswith(b"HTTP/1.1 100 Continue\r\n\r\n"):
            answers = answers[len(b"HTTP/1.1 100 Continue\r\n\r\n") :]
            continue
        head = _HEAD.match(answers)
        assert head is not None, answers[:300]
        status, headers = int(head[1]), head[2]
        assert b"\r\nServer: rtproxy\r\n" in b"\r\n" + headers
        length = re.search(rb"Content-Length: (\d+)\r\n", headers)
        assert length is not None
        body, answers = answers[head.end() : head.end() + int(length[1])], answers[head.end() + int(length[1]) :]
        statuses.append(status)
        if status != 200:
            told = orjson.loads(body)
            assert list(told) == ["error"]
            assert list(told["error"]) == ["type", "code", "message"]
            assert status >= 400
    return statuses


@example(b"GET /ws HTTP/1.1\r\nHost: x\r\napi-key: " + SECRET + b"\0\r\n\r\n")
@example(b"GET /ws HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + SECRET + b"\x01\r\n\r\n")
@example(b"GET /ws HTTP/1.1\r\nHost: x\r\n api-key: " + SECRET + b"\r\n\r\n")
@example(b"GET /ws HTTP/1.1\r\nHost: x\r\napi-key: " + SECRET * 1000 + b"\r\n\r\n")
@example(b"GET /ws HTTP/1.1\r\nHost: x\r\nExpect: " + SECRET + b"\xff\r\n\r\n")
@example(b"GET /ws HTTP/2.0\r\nHost: x\r\n\r\n")
@settings(
    max_examples=100_000 if LONG else 400,
    deadline=None,
    database=None,
    derandomize=not LONG,
    suppress_health_check=list(HealthCheck),
)
@given(said=REQUESTS)
def test_each_answer_to_a_malformed_request_is_in_the_envelope_and_quotes_nothing_of_it(
    relay: Relay, said: bytes
) -> None:
    answers = heard(relay.port, said)
    for word in (SECRET[:8], b"aiohttp", b"ython/"):
        assert word not in answers
    judge(answers)


def test_no_malformed_request_left_a_word_in_the_log(relay: Relay) -> None:
    for said in (SECRET + b" / HTTP/1.1\r\n\r\n", b"GET /" + SECRET + b" HTTP/1.1\r\nHost: x\r\n\r\n"):
        judge(heard(relay.port, said))
    assert b"client.refused" in relay.log.getvalue()
    assert SECRET[:8] not in relay.log.getvalue()
