"""What users of a run asked and got, answer by answer: a log that `make bench-rollout` plays again."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from recsys_dev.errors import Unmet


class Answered(NamedTuple):
    """One answer. Requests that got none are counted, and not replayed."""

    at: float
    """Seconds of a clock that never goes back, when it was asked."""
    user: str
    variant: str
    """Which arm answered."""
    watched: bool
    """Whether its user watched something of it."""
    ms: float
    """How long it took."""


_SCHEMA = pa.schema([("at", pa.float64()), ("user", pa.string()), ("variant", pa.string()), ("watched", pa.bool_()), ("ms", pa.float64())])


def write(path: Path, answers: Iterable[Answered]) -> int:
    """Write them as Parquet, in the order of their asking, seconds from the first; returns how many."""
    ordered = sorted(answers)
    first = ordered[0].at if ordered else 0.0
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [each._replace(at=each.at - first)._asdict() for each in ordered]
    pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), path)
    return len(ordered)


def read(path: Path) -> pa.Table:
    """What `write` wrote.

    Raises:
        Unmet: there is no such file, or it is another one.
    """
    mend = "Record one: make demo KEEP=0 writes build/reports/demo-answers.parquet."
    if not path.is_file():
        raise Unmet("the recorded log", str(path), mend)
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise Unmet("the recorded log", f"{path}: {error}", mend) from error
    if table.schema != _SCHEMA:
        raise Unmet("the recorded log", f"{path}, with {', '.join(table.schema.names)}", mend)
    return table
