"""A deployment that has no tokens left for some of its responses; its sockets stay open all the same."""


class Throttle:
    """Strikes a share of the responses of all calls, evenly: 0.25 is every fourth."""

    def __init__(self, share: float) -> None:
        self._share, self._due = share, 0.0

    def strikes(self) -> bool:
        self._due += self._share
        if self._due < 1 - 1e-9:
            return False
        self._due -= 1
        return True
