"""Reading the model's events by the head of their text."""

import pytest

from clients.events import type_of


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (b'{"type":"response.output_audio.delta","delta":"AAAA', b"response.output_audio.delta"),
        (b'{ "event_id" : "event_1", "type" : "response.done", "response": {}}', b"response.done"),
        (b'{"session":{"type":"realtime"},"type":"session.created"}', b"session.created"),
        (b'{"session":{"type":"realtime"}}', b"None"),
        (b'{"session":{"type":"real', b"None"),
        (b"[]", b"None"),
    ],
)
def test_the_type_is_that_of_the_event_and_of_nothing_in_it(text: bytes, kind: bytes) -> None:
    assert type_of(text) == kind
