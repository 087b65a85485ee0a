"""The base of the image is named by what its registry says it is, and by nothing else."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import parse_qs, urlsplit

import pytest

import noxfile

ROOT = Path(__file__).parents[1]
CONTAINERFILE = (ROOT / "Containerfile").read_text()
INDEX = json.dumps({"schemaVersion": 2, "manifests": [{"digest": "sha256:of-one-platform"}]}).encode()
DIGEST = f"sha256:{hashlib.sha256(INDEX).hexdigest()}"


class Registry(BaseHTTPRequestHandler):
    """Has one tag, for whoever fetched a token."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        here = f"http://{self.headers['Host']}"
        if url.path == "/token":
            asked = parse_qs(url.query)
            assert asked == {"service": ["registry"], "scope": ["repository:library/python:pull"]}
            self.answer(200, json.dumps({"token": "for-python"}).encode())
        elif self.headers.get("Authorization") != "Bearer for-python":
            self.answer(401, b"{}", f'Bearer realm="{here}/token",service="registry",scope="ignored"')
        elif url.path == "/v2/library/python/manifests/3.13-slim":
            assert "application/vnd.oci.image.index.v1+json" in self.headers["Accept"]
            self.answer(200, INDEX)
        else:
            self.answer(404 if url.path.endswith("/none") else 200, b"{}")

    def answer(self, status: int, body: bytes, challenge: str = "") -> None:
        self.send_response(status)
        if challenge:
            self.send_header("WWW-Authenticate", challenge)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def registry() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_digest_is_the_hash_of_what_the_registry_sends(registry: str) -> None:
    assert noxfile.digest(f"{registry}/library/python:3.13-slim") == DIGEST


def test_it_is_written_behind_the_tag_and_in_the_place_of_an_older_one(registry: str) -> None:
    line = f"FROM {registry}/library/python:3.13-slim"
    for before in (line, f"{line}@sha256:{'0' * 64}"):
        changed = noxfile.with_digest(f"ARG BASE=pinned\n{before} AS pinned\nFROM ${{BASE}} AS build\n")
        assert changed == f"ARG BASE=pinned\n{line}@{DIGEST} AS pinned\nFROM ${{BASE}} AS build\n"


def test_where_the_registry_has_no_index_or_no_such_tag_nothing_is_written(registry: str) -> None:
    with pytest.raises(ValueError, match="has no index of images"):
        noxfile.with_digest(f"FROM {registry}/library/python:one-platform AS pinned\n")
    with pytest.raises(HTTPError):
        noxfile.with_digest(f"FROM {registry}/library/python:none AS pinned\n")


def test_where_no_registry_answers_nothing_is_written() -> None:
    with pytest.raises(URLError):
        noxfile.with_digest("FROM 127.0.0.1:9/library/python:3.13-slim AS pinned\n")


def test_the_base_stands_where_the_session_and_dependabot_look_for_it() -> None:
    """Dependabot reads no ARG: https://github.com/dependabot/dependabot-core/issues/2057"""
    (base,) = re.findall(r"^FROM (\S+) AS pinned$", CONTAINERFILE, re.M)
    assert re.fullmatch(r"docker\.io/library/python:3\.\d+-slim-[a-z]+(@sha256:[0-9a-f]{64})?", base)
    assert re.findall(r"^ARG BASE=(.*)$", CONTAINERFILE, re.M) == ["pinned"]
    others = re.findall(r"^FROM (\S+)", CONTAINERFILE, re.M)
    assert set(others) <= {base, "${BASE}", "build"}


def test_every_debian_package_of_the_image_has_a_version() -> None:
    joined = CONTAINERFILE.replace("\\\n", " ")
    (packages,) = re.findall(r"apt-get install ((?:--\S+ )*)(.*?) +&&", joined)
    versions = dict(re.findall(r"^ARG ([A-Z]+)=(\d\S+)$", CONTAINERFILE, re.M))
    for each in packages[1].split():
        variable = re.fullmatch(r'"[a-z0-9.+-]+=\$\{([A-Z]+)\}"', each)
        assert variable is not None, each
        assert variable[1] in versions
