"""Figures that a command measured: a table on the screen, and the same in build/reports."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

REPORTS = Path(__file__).resolve().parents[3] / "build" / "reports"


def tell(report: str, part: str, figures: Mapping[str, Any], *, folder: Path = REPORTS) -> Path:
    """Print the figures of one part of a report, and put them into `{report}.json` beside those of its other parts.

    Args:
        report: name of the report, such as `bench`.
        part: what was measured; what the report said of it before is replaced.
        figures: values by name, or for several subjects their values by name.
        folder: where reports lie.

    Returns:
        The report's file.
    """
    Console().print(_table(part, figures))
    file = folder / f"{report}.json"
    try:
        known = json.loads(file.read_text())
    except (OSError, ValueError):
        known = {}
    machine = {
        "cores": os.cpu_count(),
        "load_average_1m": round(os.getloadavg()[0], 2),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    known[part] = {"machine": machine, "figures": figures}
    folder.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(known, indent=2, default=str) + "\n")
    fresh.replace(file)
    return file


def _table(part: str, figures: Mapping[str, Any]) -> Table:
    table = Table(title=part, title_justify="left")
    nested = bool(figures) and all(isinstance(value, Mapping) for value in figures.values())
    if not nested:
        table.add_column("figure")
        table.add_column("value", justify="right")
        for name, value in figures.items():
            table.add_row(_words(name), _shown(value))
        return table
    columns = list(dict.fromkeys(name for values in figures.values() for name in values))
    table.add_column("")
    for name in columns:
        table.add_column(_words(name), justify="right")
    for subject, values in figures.items():
        table.add_row(_words(subject), *(_shown(values[name]) if name in values else "" for name in columns))
    return table


def _words(name: str) -> str:
    return name.replace("_", " ")


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
