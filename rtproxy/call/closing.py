"""How a session may end: who ended it, and which Close each leg gets. The only such table.

Codes are RFC 6455 section 7.4 and the IANA registry. 1005, 1006 and 1015 describe what was seen,
in logs only: they never go on the wire.
"""

from typing import NamedTuple

VANISHED = 1006
"""The leg ended without a Close."""


class Ending(NamedTuple):
    """One row of the table: ``ended_by``, a code a leg (None: nobody is left to tell), the Close's reason."""

    ended_by: str
    client_code: int | None
    upstream_code: int | None
    reason: str


ENDINGS = {
    "client.vanished": Ending("client", None, 1001, "client went away"),
    "upstream.vanished": Ending("upstream", 1011, None, "upstream went away"),
    "drain": Ending("drain", 1012, 1001, "revision draining, reconnect"),
    "call.long": Ending("limit", 1008, 1001, "the call has lasted as long as one may"),
    "client.revoked": Ending("limit", 1008, 1001, "the client's key was taken away"),
    "client.too_big": Ending("limit", 1009, 1001, "frame over 16 MiB"),
    "upstream.too_big": Ending("limit", 1011, 1009, "frame over 16 MiB"),
    "client.flood": Ending("limit", 1008, 1001, "too many small frames"),
    "upstream.flood": Ending("limit", 1011, 1008, "too many small frames"),
    "client.no_room": Ending("limit", 1013, 1001, "no room for a message of this length now"),
    "client.unfinished": Ending("limit", 1008, 1001, "a message took longer than 60 s"),
    "client.stalled": Ending("limit", 1008, 1001, "reader stalled for 30 s"),
    "upstream.stalled": Ending("limit", 1011, 1008, "reader stalled for 30 s"),
    "client.silent": Ending("heartbeat", 1011, 1001, "no answer to a ping"),
    "upstream.silent": Ending("heartbeat", 1011, 1011, "no answer to a ping"),
    "client.fault": Ending("error", 1002, 1001, "framing fault"),
    "upstream.fault": Ending("error", 1011, 1002, "framing fault"),
    "relay.failed": Ending("error", 1011, 1001, "relay failed"),
}
