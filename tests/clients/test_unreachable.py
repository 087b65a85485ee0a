"""Targets that let no session in: exit 3, with the cause and the cure."""

import datetime
import ipaddress
import socket
import ssl
from pathlib import Path

import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from stage.rawpeer import RawServer
from tests.clients.conftest import KEY, HoldFactory, Model, ModelFactory


@pytest.fixture
def certificate(tmp_path: Path) -> str:
    """A PEM file with a certificate of 127.0.0.1, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stage")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = builder.add_extension(alternative, critical=False).sign(key, hashes.SHA256())
    path = tmp_path / "stage.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return str(path)


async def test_a_refused_port_ends_with_3(hold: HoldFactory) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))

        result = await (await hold(f"ws://127.0.0.1:{nobody.getsockname()[1]}")).result()

    assert (result.code, result.stdout) == (3, "")
    assert "is it running, and is the port right?" in result.stderr
    assert {refused["code"] for refused in result.all("refused")} == {"connection_refused"}


async def test_a_wrong_key_ends_with_3_and_names_where_the_key_goes(model: Model, hold: HoldFactory) -> None:
    wrong = KEY + "x"

    result = await (await hold(model.url, "--json", key=wrong)).result()

    assert (result.code, result.summary["exit_code"]) == (3, 3)
    assert "HTTP 401" in result.stderr
    assert "--key or RTPROXY_KEY" in result.stderr
    assert result.summary["refusals"][0]["status"] == 401
    assert KEY not in result.stdout + result.stderr + str(result.observations)


async def test_the_code_of_a_refusal_quotes_no_key_and_moves_no_terminal(hold: HoldFactory) -> None:
    said = {"error": {"type": "gateway", "code": f"\x1b[31mno {KEY}", "message": "no"}}
    async with RawServer() as relay:
        holding = await hold(f"ws://127.0.0.1:{relay.port}", "--connections", "1")
        await (await relay.request()).answer("403 Forbidden", body=orjson.dumps(said))

        result = await holding.result()

    assert result.code == 3
    assert result.only("refused")["code"] == " [31mno [key]"


async def test_an_answer_that_does_not_come_in_time_ends_with_3(model: Model, hold: HoldFactory) -> None:
    await model.fault("slow_handshake", seconds=30)

    result = await (await hold(model.url, "--duration", "0.2")).result()

    assert result.code == 3
    assert "no answer before the end of the hold" in result.stderr


async def test_an_unknown_certificate_ends_with_3_unless_it_is_trusted(
    model_for: ModelFactory, hold: HoldFactory, certificate: str
) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    model = await model_for(tls=tls)

    unknown = await hold(model.url, "--duration", "2")
    trusted = await hold(model.url, "--duration", "2", "--ca-file", certificate)
    insecure = await hold(model.url, "--duration", "2", "--insecure")

    refused = await unknown.result()
    assert refused.code == 3
    assert "--ca-file" in refused.stderr
    assert (await trusted.result()).code == 0
    assert (await insecure.result()).code == 0
