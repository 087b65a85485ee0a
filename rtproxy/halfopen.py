"""Callers who never come to their request: each would hold a socket and up to 1 MiB of headers for ever."""

import asyncio
import time
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

HANDSHAKE_S = 15.0
"""Whoever has not said a whole request by then is hung up on."""
HEARD: web.AppKey[set[object]] = web.AppKey("heard")


@web.middleware
async def heard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Remembers which connections have said a request."""
    request.app[HEARD].add(request.protocol)
    return await handler(request)


class Runner(web.AppRunner):
    """Serves an app that has the middleware `heard`, and hangs up on those who take longer than HANDSHAKE_S."""

    async def setup(self) -> None:
        await super().setup()
        self._showing_out = asyncio.create_task(self._show_out())

    async def cleanup(self) -> None:
        self._showing_out.cancel()
        await super().cleanup()

    async def _show_out(self) -> None:
        assert self.server is not None
        have_asked = self.app[HEARD]
        since: dict[Any, float] = {}
        while True:
            await asyncio.sleep(HANDSHAKE_S / 4)
            now = time.monotonic()
            since = {each: since.get(each, now) for each in self.server.connections}
            have_asked.intersection_update(since)
            for each in since.keys() - have_asked:
                if now - since[each] >= HANDSHAKE_S:
                    each.force_close()
