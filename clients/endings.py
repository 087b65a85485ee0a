"""How a session can end, and what goes on the wire for it."""

from typing import NamedTuple

from clients.observations import ClosedBy

NO_STATUS = 1005
ABNORMAL = 1006
# RFC 6455 7.4.1: these stand for what was not on the wire, so we never put them there.
NEVER_SENT = (1004, NO_STATUS, ABNORMAL, 1015)


class Ending(NamedTuple):
    code: int
    reason: str
    closed_by: ClosedBy


DROPPED = Ending(ABNORMAL, "", "dropped")
SILENT = Ending(ABNORMAL, "nothing heard over three pings", "dropped")
NO_GOODBYE = Ending(ABNORMAL, "our Close was not answered", "dropped")
GOODBYE = "hold completed"


def by_close_frame(code: int, reason: str | None) -> Ending:
    """aiohttp tells a Close frame without a code as 0."""
    return Ending(code or NO_STATUS, reason or "", "remote")


def by_us(answered_code: int | None) -> Ending:
    """The code of the answer; 1006 when the connection ended instead, which is rude but not a cut."""
    return Ending(NO_STATUS if answered_code == 0 else answered_code or ABNORMAL, GOODBYE, "local")


def answer_to(code: int) -> int:
    return 1000 if code in NEVER_SENT else code
