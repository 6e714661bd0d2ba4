"""What is printed: plain tables for people, JSON for programs."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns as wide as their longest cell, three blanks apart; a cell of None shows as `-`."""
    cells = [[*heads], *([("-" if cell is None else str(cell)) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    return "\n".join("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells)


def tell(words: str) -> None:
    """Print for people."""
    sys.stdout.write(f"{words}\n")


def tell_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print for programs."""
    sys.stdout.write(f"{json.dumps(value, indent=2, default=str)}\n")


def size(count: int) -> str:
    """Bytes as people read them: `12.3 MiB`."""
    if count < 1024:
        return f"{count} B"
    amount = float(count)
    for unit in ("KiB", "MiB", "GiB"):
        amount /= 1024
        if amount < 1024:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1024:.1f} TiB"
