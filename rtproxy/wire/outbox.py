"""The relay's own frames for one side, each between two frames of the other: where no frame ends, they wait for one."""

from typing import Protocol

from rtproxy.wire.flow import Flow
from rtproxy.wire.frames import head


class Owner(Protocol):
    """Who is told about an outbox, in calls of the flow."""

    def close_written(self) -> None:
        """The Close that had to wait is written, and nothing goes on behind it."""

    def message_done(self) -> None:
        """The message that had to wait is written, or will not be."""


class Outbox:
    """What we send beside ``flow``, to its sink: control frames between two frames, a message between two messages.

    A message may not come between the fragments of another (RFC 6455 section 5.4). ``waits``: control frames wait;
    ``message`` is the one that does.
    """

    __slots__ = ("_control", "_flow", "_inside_a_message", "_last", "_owner", "_to_boundary", "message")

    def __init__(self, flow: Flow, owner: Owner) -> None:
        self._flow, self._owner = flow, owner
        self._control = self.message = b""
        self._to_boundary = 0
        self._inside_a_message = self._last = False

    @property
    def waits(self) -> bool:
        """Whether control frames wait for the end of a frame."""
        return bool(self._control)

    def send(self, frame: bytes, *, last: bool = False) -> bool:
        """Sends a control frame: now (true), or where the frame that goes on now ends. Nothing follows the ``last``."""
        flow = self._flow
        if flow.reader.skip == 0:
            flow.sink.write(frame)
            if last:
                self.stop()
            return True
        self._last = self._last or last
        if not self._control:
            self._to_boundary = flow.reader.skip
            flow.out = self.pass_on
        self._control += frame
        return False

    def send_message(self, frame: bytes) -> None:
        """Sends a whole message, now or when the message that goes on now has ended. One may wait at a time."""
        flow = self._flow
        self._inside_a_message = flow.reader.fragmented
        if not self._inside_a_message and flow.reader.skip == 0:
            flow.sink.write(frame)
            return
        self.message = frame
        self._to_boundary = flow.reader.skip
        flow.out = self.pass_on

    def stop(self) -> None:
        """Nothing more goes to this side; what waits is forgotten, but for `waits`."""
        self._flow.drop()
        if self.message:
            self.message = b""
            self._owner.message_done()

    def pass_on(self, data: bytes) -> int:
        """The flow's ``out`` while something waits: ``data`` to the sink, and what waits where a frame ends in it."""
        flow, sink = self._flow, self._flow.sink
        start, end = 0, self._to_boundary
        while end <= len(data):
            # Here a frame ends, and unless fragments are to follow, a message.
            ours, self._control = self._control, b""
            message = b"" if self._inside_a_message else self.message
            if message:
                self.message = b""
            if message or ours:
                sink.write(data[start:end] + message + ours)
                start = end
            if message:
                self._owner.message_done()
            if self._last:
                self.stop()
                self._owner.close_written()
                return len(data)
            if not self.message:
                flow.straight()
                break
            if end == len(data):
                break
            first, at, length = head(data, end)
            if not first & 8:
                self._inside_a_message = first < 0x80
            end = at + length
        self._to_boundary = end - len(data)
        if start < len(data):
            sink.write(data[start:])
        return len(data)
