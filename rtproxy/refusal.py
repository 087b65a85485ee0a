"""An HTTP answer instead of the 101, in OpenAI's error envelope."""

from collections.abc import Mapping

from aiohttp import hdrs, web

RETRY_AFTER_FULL_S = 5
RETRY_AFTER_DRAINING_S = 1
"""By then a balancer has learnt, and another replica answers."""


class Refused(Exception):
    """An answer instead of the 101. ``code`` is one of a closed list; ``message`` names cause and cure, no secret."""

    client: str | None = None
    """Who was refused, where that is known."""

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
        """The answer in OpenAI's error envelope."""
        error = {"type": self.kind, "code": self.code, "message": self.message}
        response = web.json_response({"error": error}, status=self.status, headers=self.headers)
        if self.retry_after is not None:
            response.headers[hdrs.RETRY_AFTER] = self.retry_after
        if self.status == 401:  # RFC 9110 section 11.6.1 wants it
            response.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
        if self.status == 426:
            response.headers[hdrs.UPGRADE] = "websocket"
            response.headers[hdrs.SEC_WEBSOCKET_VERSION] = "13"
        return response


def draining() -> Refused:
    """What a call hears that comes after the lame seconds of a drain."""
    retry = str(RETRY_AFTER_DRAINING_S)
    return Refused(503, "server_error", "draining", "This revision is draining: reconnect.", retry_after=retry)


def full() -> Refused:
    """What a call hears for which there is no room."""
    retry = str(RETRY_AFTER_FULL_S)
    return Refused(503, "server_error", "at_capacity", "Every place is taken: try again.", retry_after=retry)


def mistaken(code: str, message: str) -> Refused:
    """What a call hears that asks for what cannot be carried."""
    return Refused(400, "invalid_request_error", code, message)


def defect() -> Refused:
    """What a call hears that a defect of ours cost."""
    return Refused(500, "server_error", "internal_error", "The relay failed; its log says why.")


def unknown(code: str, message: str) -> Refused:
    """What a call hears whose credential lets nobody in."""
    return Refused(401, "invalid_request_error", code, message)


def too_many(client: str, code: str, message: str, retry_after_s: int) -> Refused:
    """What a client hears that has had its share."""
    refused = Refused(429, "rate_limit_error", code, message, retry_after=str(retry_after_s))
    refused.client = client
    return refused
