"""The bodies of requests."""

import json
from typing import Any

from aiohttp import web

from stage.platform import Rejected


async def read(request: web.Request) -> dict[str, Any]:
    """The JSON object in the body; no body is an empty one."""
    text = await request.text()
    return parse(text) if text.strip() else {}


def parse(text: str) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except ValueError as fault:
        raise Rejected("InvalidRequestContent", f"The request content is not JSON: {fault}.") from None
    if not isinstance(body, dict):
        raise Rejected("InvalidRequestContent", "The request content must be a JSON object.")
    return body
