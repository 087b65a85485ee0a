"""A short form of a JSON text: long strings of base64, which are nearly all of a long event, are cut. It does no I/O.

To parse a text of 16 MiB at once blocks the loop for tens of milliseconds; the sketch is short.

A block that consists only of base64 characters contains no quote. It is therefore inside one string from end to end, or
it is outside of all strings and part of a number with thousands of digits. Of such a block only the beginning is kept,
and a mark that is allowed in a string and nowhere else in JSON. So a text is valid JSON whenever its sketch is, and its
names and short values are unchanged.
"""

BLOCK = 4096
BEGINNING = 600
"""The bytes kept of a block: more than any type or event_id has."""
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=-_"
_MARK = b"~"


class Sketch:
    """Takes a text piece by piece. ``size``: the bytes that it keeps."""

    __slots__ = ("_block", "_in_base64", "_kept")

    def __init__(self) -> None:
        self._kept = bytearray()
        self._block = b""
        self._in_base64 = False

    @property
    def size(self) -> int:
        return len(self._kept) + len(self._block)

    def add(self, text: bytes) -> None:
        """Adds the next piece of the text."""
        text = self._block + text
        whole = len(text) - len(text) % BLOCK
        for at in range(0, whole, BLOCK):
            block = text[at : at + BLOCK]
            if block.translate(None, _BASE64):
                self._kept += block
                self._in_base64 = False
            elif not self._in_base64:
                self._kept += block[:BEGINNING] + _MARK
                self._in_base64 = True
        self._block = text[whole:]

    def text(self) -> bytes:
        """The sketch of all pieces so far."""
        return bytes(self._kept) + self._block
