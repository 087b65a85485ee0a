"""Replaces aiohttp's own error responses: to unknown paths, to wrong methods, and to requests that are not valid HTTP.

aiohttp's responses quote the request, which may contain a key.
"""

from collections.abc import Callable

from aiohttp import hdrs, web

from rtproxy.refusal import Refused, defect

TOO_LARGE = 431
"""The status of a request head that is too large (RFC 6585 section 5)."""
REFUSE: web.AppKey[Callable[[Refused], web.Response]] = web.AppKey("refuse")
"""Logs and counts the refusal of a request that is not a call, without its path, and makes the response."""


class Answering(web.RequestHandler):
    """aiohttp's handler of a connection, which leaves every refusal to ``refuse``."""

    __slots__ = ("refuse",)

    refuse: Callable[[Refused], web.Response]

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, UnicodeEncodeError) and hdrs.EXPECT in request.headers:
            return self.refuse(_unexpected())  # aiohttp quotes the value, and fails when it is not text
        super().handle_error(request, status, exc, message)  # logs a defect, and raises when a response has begun
        answer = self.refuse(_too_large() if status == TOO_LARGE else _no_http() if status < 500 else defect())
        answer.force_close()
        return answer

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        if isinstance(resp, web.HTTPException):
            resp = self.refuse(_of(resp))
        return await super().finish_response(request, resp, start_time)


def _of(answer: web.HTTPException) -> Refused:
    match answer:
        case web.HTTPNotFound():
            there = (
                "This path does not exist. WebSocket calls go to /v1/realtime, /openai/v1/realtime or /openai/realtime."
            )
            return Refused(404, "invalid_request_error", "not_found", there)
        case web.HTTPMethodNotAllowed():
            allowed = answer.headers[hdrs.ALLOW]
            only = f"This path allows only {allowed}."
            return Refused(405, "invalid_request_error", "method_not_allowed", only, headers={hdrs.ALLOW: allowed})
        case web.HTTPExpectationFailed():
            return _unexpected()
    return defect()


def _unexpected() -> Refused:
    return Refused(
        417,
        "invalid_request_error",
        "expectation_failed",
        "The only accepted value of the header Expect is 100-continue.",
    )


def _too_large() -> Refused:
    text = "The request line and the headers together are longer than 32 KiB."
    return Refused(TOO_LARGE, "invalid_request_error", "headers_too_large", text)


def _no_http() -> Refused:
    text = "This is not an HTTP/1.1 request, or one of its lines is longer than 8190 bytes."
    return Refused(400, "invalid_request_error", "bad_request", text)
