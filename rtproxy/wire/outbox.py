"""The relay's own frames to one side.

They are sent between two frames of the other side, and wait while a frame is incomplete.
"""

from typing import Protocol

from rtproxy.wire.flow import Flow
from rtproxy.wire.frames import head


class Owner(Protocol):
    """Receives the events of an outbox, in calls of the flow."""

    def close_written(self) -> None:
        """A Close that had to wait is written. Nothing is sent after it."""

    def message_done(self) -> None:
        """A message that had to wait is written, or was discarded."""


class Outbox:
    """Sends the relay's own frames to the sink of ``flow``: control frames between frames, a message between messages.

    A message must not be sent between the fragments of another (RFC 6455 section 5.4). ``control_waits``: control
    frames wait. ``message``: the message that waits.
    """

    __slots__ = ("_close_waits", "_flow", "_inside_a_message", "_owner", "_pending_control", "_to_boundary", "message")

    def __init__(self, flow: Flow, owner: Owner) -> None:
        self._flow, self._owner = flow, owner
        self._pending_control = self.message = b""
        self._to_boundary = 0
        self._inside_a_message = self._close_waits = False

    @property
    def control_waits(self) -> bool:
        """Whether control frames wait for the end of a frame."""
        return bool(self._pending_control)

    def send(self, frame: bytes, *, last: bool = False) -> bool:
        """Sends a control frame, and returns true; or false when it waits for the end of the current frame.

        Nothing is sent after the ``last`` one.
        """
        flow = self._flow
        if flow.reader.skip == 0:
            flow.sink.write(frame)
            if last:
                self.stop()
            return True
        self._close_waits = self._close_waits or last
        if not self._pending_control:
            self._to_boundary = flow.reader.skip
            flow.forward = self.pass_on
        self._pending_control += frame
        return False

    def send_message(self, frame: bytes) -> None:
        """Sends a whole message, now or when the current message has ended. Only one message may wait."""
        flow = self._flow
        self._inside_a_message = flow.reader.fragmented
        if not self._inside_a_message and flow.reader.skip == 0:
            flow.sink.write(frame)
            return
        self.message = frame
        self._to_boundary = flow.reader.skip
        flow.forward = self.pass_on

    def stop(self) -> None:
        """Sends nothing more to this side. Frames that wait are discarded, but `control_waits` keeps its value."""
        self._flow.drop()
        if self.message:
            self.message = b""
            self._owner.message_done()

    def pass_on(self, data: bytes) -> int:
        """Replaces the flow's ``forward`` while frames wait: writes ``data``, and those frames where a frame ends."""
        flow, sink = self._flow, self._flow.sink
        start, end = 0, self._to_boundary
        while end <= len(data):
            # A frame ends here, and unless it is a fragment, a message ends too.
            control, self._pending_control = self._pending_control, b""
            message = b"" if self._inside_a_message else self.message
            if message:
                self.message = b""
            if message or control:
                sink.write(data[start:end] + message + control)
                start = end
            if message:
                self._owner.message_done()
            if self._close_waits:
                self.stop()
                self._owner.close_written()
                return len(data)
            if not self.message:
                flow.forward_to_sink()
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
