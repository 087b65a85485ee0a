"""An HTTP response instead of the 101, with OpenAI's error object."""

from collections.abc import Mapping

from aiohttp import hdrs, web

RETRY_AFTER_FULL_S = 5
RETRY_AFTER_DRAINING_S = 1
"""After this time the balancer knows of the drain, and sends the client to another replica."""


class Refused(Exception):
    """A response instead of the 101. ``code`` is one of a closed list; ``message`` has cause and remedy, no secret."""

    client: str | None = None
    """The client that was refused, if it is known."""

    def __init__(
        self,
        status: int,
        kind: str,
        code: str,
        message: str,
        *,
        retry_after: str | None = None,
        headers: Mapping[str, str] = {},
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.code, self.message = status, kind, code, message
        self.retry_after = retry_after
        self.headers = headers

    def response(self) -> web.Response:
        """The response, with OpenAI's error object."""
        error = {"type": self.kind, "code": self.code, "message": self.message}
        response = web.json_response({"error": error}, status=self.status, headers=self.headers)
        if self.retry_after is not None:
            response.headers[hdrs.RETRY_AFTER] = self.retry_after
        if self.status == 401:  # RFC 9110 section 11.6.1 requires it
            response.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
        if self.status == 426:
            response.headers[hdrs.UPGRADE] = "websocket"
            response.headers[hdrs.SEC_WEBSOCKET_VERSION] = "13"
        return response


def draining() -> Refused:
    """The response to a call that arrives when a drain admits no more."""
    retry = str(RETRY_AFTER_DRAINING_S)
    return Refused(503, "server_error", "draining", "This revision is draining: reconnect.", retry_after=retry)


def full() -> Refused:
    """The response to a call that exceeds the capacity of the replica."""
    retry = str(RETRY_AFTER_FULL_S)
    return Refused(503, "server_error", "at_capacity", "The relay is at its capacity: try again.", retry_after=retry)


def bad_request(code: str, message: str) -> Refused:
    """The response to a call with a parameter or header that is not allowed."""
    return Refused(400, "invalid_request_error", code, message)


def defect() -> Refused:
    """The response to a call that failed because of a defect of the relay."""
    return Refused(500, "server_error", "internal_error", "The relay failed; its log has the reason.")


def unauthorized(code: str, message: str) -> Refused:
    """The response to a call whose credential is not valid."""
    return Refused(401, "invalid_request_error", code, message)


def too_many(client: str, code: str, message: str, retry_after_s: int) -> Refused:
    """The response to a client that has reached one of its limits."""
    refused = Refused(429, "rate_limit_error", code, message, retry_after=str(retry_after_s))
    refused.client = client
    return refused
