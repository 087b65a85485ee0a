"""How the platform says no."""


class Rejected(Exception):
    """A change that was refused before anything changed; becomes an ARM error."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
