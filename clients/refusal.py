"""Why a dial gave no session: as an exception, and as words with a cure for whoever reads the exit message."""

import aiohttp
import orjson


def printable(sent: str) -> str:
    """One line, whatever was sent: it is shown on terminals, and a header that is no UTF-8 fits no record."""
    return "".join(letter if letter.isprintable() else " " for letter in sent)


class Refusal(Exception):
    """`status` is None when no HTTP answer came. `code` is the envelope's, or one of CODES when there is no status."""

    def __init__(self, status: int | None, code: str | None, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = None if code is None else printable(code)
        self.message = printable(message)
        self.retry_after_s = retry_after_s


# The first that fits counts: the later are bases of the earlier.
CODES: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ClientConnectorDNSError, "unknown_host"),
    (aiohttp.ClientConnectorCertificateError, "certificate"),
    (aiohttp.ClientConnectorSSLError, "tls"),
    (aiohttp.ClientConnectorError, "unreachable"),
    (aiohttp.WSServerHandshakeError, "not_a_websocket"),
    (aiohttp.ClientResponseError, "not_http"),
    (TimeoutError, "timeout"),
    (aiohttp.ClientError, "connection_lost"),
    (OSError, "connection_lost"),
)

CURES: dict[int | str | None, str] = {
    "unknown_host": "check the host name",
    "certificate": "name its authority with --ca-file, or use --insecure for a stage",
    "tls": "check that the port speaks TLS; a plain one wants ws://",
    "connection_refused": "is it running, and is the port right?",
    "unreachable": "check the host, the port and the network between",
    "not_a_websocket": "check the path: something answered there that is no WebSocket",
    "not_a_relay": "check the URL: what answers there is no relay, or has none behind it",
    "not_http": "a port with TLS wants wss://",
    "timeout": "check the network between, and whether the relay can reach its model",
    "connection_lost": "a port with TLS wants wss://; else see the relay's log",
    400: "see the message; --model names the deployment",
    401: "give the key that the relay expects with --key or RTPROXY_KEY (see --key-header)",
    403: "the relay is there and says no: check its allowed origins and networks",
    404: "check the path of the URL and --model",
    426: "something on the way takes away the Upgrade header: let it pass WebSockets",
    429: "the model's quota is used up: fewer --connections, or wait",
    502: "the relay is up, its model is not: check the relay's endpoint and credentials",
    503: "draining, full, or no replica ready: try again, or fewer --connections",
    504: "the relay is up, its model does not answer: check the relay's endpoint",
    None: "see the message",
}


def from_exception(error: Exception) -> Refusal:
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, ConnectionRefusedError):
        return Refusal(None, "connection_refused", _words(error))
    code = next(code for kind, code in CODES if isinstance(error, kind))
    return Refusal(None, code, _words(error) or "the connection ended during the handshake")


def _words(error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return f"cannot trust {error.host}:{error.port}: {error.certificate_error}"
        case aiohttp.ClientConnectorError():
            return f"cannot connect to {error.host}:{error.port}: {error.os_error.strerror or error.os_error}"
        case aiohttp.ClientResponseError():
            return error.message
    return str(error)


def from_response(response: aiohttp.ClientResponse, body: bytes) -> Refusal:
    """Reads OpenAI's error envelope; a body of another shape leaves `code` None and the status line as message."""
    try:
        error = orjson.loads(body)["error"]
        code, message = error.get("code"), error.get("message")
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        code = message = None
    return Refusal(
        response.status,
        None if code is None else str(code),
        str(message or response.reason or "no reason given"),
        _seconds(response.headers.get("Retry-After")),
    )


def _seconds(retry_after: str | None) -> float | None:
    """The form in seconds only; the HTTP date form is not used by relays."""
    return float(retry_after) if retry_after and retry_after.isdecimal() else None


def cause_and_cure(status: int | None, code: str | None, message: str) -> str:
    """For a target that never let a session in."""
    answer = f"HTTP {status}: " if status else ""
    return f"{answer}{message}\n  cure: {CURES.get(status or code, CURES[None])}"
