"""A record as the client would show it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as the client would show it."""

    place: tuple[str, int, int]
    data: bytes | None
    at: int = 1_700_000_000_000
    by: bytes | None = b"u"

    def topic(self) -> str:
        return self.place[0]

    def partition(self) -> int:
        return self.place[1]

    def offset(self) -> int:
        return self.place[2]

    def timestamp(self) -> tuple[int, int]:
        return 1, self.at

    def key(self) -> bytes | None:
        return self.by

    def value(self) -> bytes | None:
        return self.data
