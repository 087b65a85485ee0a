"""picows on both sides, on uvloop: a frame at a time, sent on inside the callback that brings it."""

import asyncio
import logging
import signal

import uvloop
from picows import (
    WSCloseCode,
    WSError,
    WSFrame,
    WSListener,
    WSTransport,
    WSUpgradeRequest,
    ws_connect,
    ws_create_server,
)

from bench.peers.relay import BACKLOG, MAX_MESSAGE, MODEL_HEADERS, Arguments, arguments


class Leg(WSListener):
    """One side of a call. A Close and its answer pass like every other frame; pings the library answers."""

    other: WSTransport | None = None

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        assert self.other is not None, "until the model has answered, the client is not read"
        self.other.send(frame.msg_type, frame.get_payload_as_memoryview(), frame.fin, frame.rsv1)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if self.other is not None:
            self.other.disconnect()

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.underlying_transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.underlying_transport.resume_reading()


class ClientLeg(Leg):
    """The client's side. picows accepts before anything can be awaited, so the client waits for the model unread."""

    def __init__(self, route: Arguments) -> None:
        self._route = route

    def on_ws_connected(self, transport: WSTransport) -> None:
        transport.underlying_transport.pause_reading()
        self._dialing = asyncio.create_task(self._dial(transport))

    async def _dial(self, client: WSTransport) -> None:
        # It knows the client from the start: the model's first frame may come with its 101.
        leg = Leg()
        leg.other = client
        try:
            self.other, _ = await ws_connect(
                lambda: leg,
                self._route.model_url,
                ssl_context=self._route.tls,
                extra_headers=MODEL_HEADERS,
                max_frame_size=MAX_MESSAGE,
            )
        except (OSError, WSError):
            client.send_close(WSCloseCode.INTERNAL_ERROR)
            client.disconnect()
            return
        if client.is_disconnected:
            self.other.disconnect()
        else:
            client.underlying_transport.resume_reading()


async def serve(route: Arguments) -> None:
    """Serves until SIGTERM."""

    def client_leg(_: WSUpgradeRequest) -> ClientLeg:
        return ClientLeg(route)

    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    server = await ws_create_server(client_leg, "127.0.0.1", route.port, max_frame_size=MAX_MESSAGE, backlog=BACKLOG)
    await stopped.wait()
    server.close()


def main() -> None:
    # The library warns of every buffer that is full.
    logging.getLogger("picows").setLevel(logging.ERROR)
    uvloop.run(serve(arguments()))


if __name__ == "__main__":
    main()
