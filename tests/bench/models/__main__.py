"""Every algorithm beside `implicit` on the same data and splits, one process each: `make bench-models [DATA=folder]`.

Two protocols. Leave-one-out, as published tables have it: all ratings are positives with weight 1, one item of each user, drawn, is held
out, all items compete; five seeds on which nothing was chosen. Time: what training itself does, on what it counts as liked.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.models.data import interactions, read
from bench.models.subjects import subjects
from recsys_dev.figures import tell

LIMIT_S = 3_600
"""One subject may take so long; what takes longer is told and left out."""


def run(name: str, folder: str) -> dict[str, Any]:
    """Figures of one subject."""
    command = [sys.executable, "-m", "bench.models.one", name, *([folder] if folder else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no word"])[-1]}
    return json.loads(done.stdout)


def _line(figures: dict[str, Any], protocol: str) -> dict[str, Any]:
    if "failed" in figures:
        return {"failed": figures["failed"]}
    part = figures[protocol]
    told = {name: f"{value:.3f} [{low:.3f}, {high:.3f}]" for name, (value, low, high) in part["metrics"].items()}
    costs = {"train s": part["train_s"], "CPU s": part["cpu_s"], "ms/user": part["ms_per_user"], "MB": part["mb"]}
    return told | {name: round(value, 3) for name, value in costs.items()} | {"peak MB": round(figures["peak_mb"])}


def main() -> None:
    """Measure the subjects one after another, and print a table for each protocol."""
    parser = argparse.ArgumentParser(prog="bench.models", description=__doc__)
    parser.add_argument("--only", nargs="*", help="subjects; by default all")
    asked = parser.parse_args().only or list(subjects())
    folder = os.environ.get("DATA", "")
    known = read(Path(folder) if folder else None)
    figures: dict[str, dict[str, Any]] = {}
    for name in asked:
        sys.stdout.write(f"{name} ...\n")
        sys.stdout.flush()
        figures[name] = run(name, folder)
    for protocol, everything in (("leave_one_out", True), ("time", False)):
        data = interactions(known, everything=everything)
        title = f"{known.name}, {protocol.replace('_', ' ')}: {len(data):,} interactions, {data.n_users:,} users, {data.n_items:,} items"
        tell("bench-models", title, {name: _line(each, protocol) for name, each in figures.items()})
    chosen = {name: str(each["tuned"]) for name, each in figures.items() if each.get("tuned")}
    if chosen:
        tell("bench-models", f"{known.name}, tuned on a split of its own", chosen)


if __name__ == "__main__":
    main()
