"""--connect-to: another address is dialled for the same URL."""

import ssl
from collections.abc import AsyncIterator

import pytest
import trustme

from stage.rawpeer import RawServer
from tests.clients.conftest import HoldFactory, Model

FOREIGN = "app--green.stage.localhost"


@pytest.mark.parametrize("url", [f"http://{FOREIGN}:8080", "ws://192.0.2.1"])
async def test_the_address_is_dialled_whatever_the_url_says(model: Model, hold: HoldFactory, url: str) -> None:
    there = model.url.removeprefix("http://")

    result = await (await hold(url, "--connect-to", there, "--duration", "0.5")).result()

    assert result.code == 0, result.stderr
    assert result.only("hold.started")["arguments"]["connect_to"] == there
    assert len(await model.sessions()) == 2


@pytest.fixture
async def secured() -> AsyncIterator[tuple[RawServer, list[str], trustme.CA]]:
    """A server with a certificate for FOREIGN or localhost, and the names that were asked for in SNI."""
    authority, names = trustme.CA(), list[str]()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(FOREIGN, "localhost").configure_cert(tls)
    tls.sni_callback = lambda _, name, __: names.append(name or "none")
    async with RawServer(tls) as server:
        yield server, names, authority


@pytest.mark.parametrize(("there", "sni"), [("127.0.0.1", FOREIGN), ("localhost", "localhost")])
async def test_host_stays_the_urls_and_tls_is_with_the_name_that_is_dialled_if_it_is_one(
    secured: tuple[RawServer, list[str], trustme.CA], hold: HoldFactory, there: str, sni: str
) -> None:
    server, names, authority = secured
    with authority.cert_pem.tempfile() as pem:
        options = ("--connect-to", f"{there}:{server.port}", "--ca-file", pem, "--connections", "1")
        holding = await hold(f"https://{FOREIGN}:8443", *options)
        request = await server.request()
        await request.answer("503 Service Unavailable")
        result = await holding.result()

    assert request.headers["host"] == f"{FOREIGN}:8443"
    assert names == [sni]
    assert result.only("refused")["status"] == 503


async def test_the_default_port_is_not_named_in_host(hold: HoldFactory) -> None:
    async with RawServer() as server:
        holding = await hold(f"http://{FOREIGN}", "--connect-to", f"127.0.0.1:{server.port}", "--connections", "1")
        request = await server.request()
        await request.answer("503 Service Unavailable")
        await holding.result()

    assert request.headers["host"] == FOREIGN
