"""What repeated looks at a partition's ends tell: since when an offset can be read, and since when records are held back.

Brokers say how far a partition can be read, not since when; what a record says of its own time is its producer's word, and its
record is nothing that the operator has a right to read. So the answers are remembered with the time at which they were given.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from recsys_operator.state.observed import Mark

MOST_MARKS = 128
"""Thinning leaves about 70 marks of a month of looks each second."""
_COARSE = 0.25
"""An age may be told so much of itself too long."""


@dataclass(slots=True)
class OffsetsSeen:
    """The history of one partition, as far back as this process has looked; its size is bounded."""

    marks: list[Mark] = field(default_factory=list[Mark])
    held: Mark | None = None
    """The end of what can be read, while records stand behind it, and since when."""

    def see(self, now: datetime, *, stable: int, high: int) -> None:
        """Take one look.

        Args:
            now: when.
            stable: the first offset that cannot be read (the last stable offset: an open transaction begins there, or it is `high`).
            high: the first offset that no replica in sync may lack (the high watermark).
        """
        while self.marks and stable < self.marks[-1].offset:
            self.marks.pop()  # a look of another thread was later, or a new leader knows of less
        if not self.marks or stable > self.marks[-1].offset:
            self.marks.append(Mark(at=now, offset=stable))
        if len(self.marks) > MOST_MARKS:
            self.marks = thinned(self.marks, now)
        if high <= stable:
            self.held = None
        elif self.held is None or self.held.offset != stable:
            self.held = Mark(at=now, offset=stable)


def thinned(marks: Sequence[Mark], now: datetime) -> list[Mark]:
    """Make one of neighbours, of the time of the first and the offset of the last: no age becomes less than it is.

    The older they are, the more of them become one: an age that is told too long is so by a quarter at the most.
    """
    groups = [[marks[0]]]
    for mark, after in zip(marks[1:], [*marks[2:], Mark(at=now, offset=0)], strict=True):
        span, age = after.at - groups[-1][0].at, now - after.at
        if span <= _COARSE * age:
            groups[-1].append(mark)
        else:
            groups.append([mark])
    kept = [Mark(at=group[0].at, offset=group[-1].offset) for group in groups]
    return kept[-MOST_MARKS:]
