"""Every algorithm beside `implicit` on the same data and splits, one process each: `make bench-models [DATA=folder]`.

Three protocols. Time: what training itself does, on what it counts as liked; and once more with `historyHalfLife`, from the same fit.
Leave-one-out, as published tables have it: all ratings are positives with weight 1, one item of each user, drawn, is held out, all items
compete; five seeds on which nothing was chosen, and what a user has in an interval is the mean over them. It ends within --minutes: each
subject has its share, and what others leave of theirs; one that needs more is measured on fewer seeds, and its row says so.
"""

import argparse
import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.models.data import interactions, read
from bench.models.one import FRESH_SEEDS, METRICS, tell_figures
from bench.models.subjects import COSTLY, GRID_SIZE, SEED, TUNED, subjects
from ray_apps.algorithms.ensemble import PARTS
from ray_apps.algorithms.interactions import Interactions
from ray_apps.evaluation.confidence import bootstrap, difference
from ray_apps.evaluation.ranking import Value
from recsys_dev.figures import tell

MINUTES = 14.0
PROTOCOLS = {"leave_one_out": len(FRESH_SEEDS), "time": 1, "time_half_life": 1}
GRACE = 1.5
"""A subject that runs for so many times its share is ended: its next split took longer than any before."""


def run(name: str, seconds: float, data: tuple[Interactions, Interactions]) -> dict[str, Any]:
    """Figures of one subject; what was measured until it was ended, or why there is nothing."""
    context = multiprocessing.get_context("fork")  # nothing is loaded or read again, and the memory of each is its own
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=tell_figures, args=(name, seconds, data, theirs.send))
    child.start()
    theirs.close()
    ends, figures = time.monotonic() + GRACE * seconds, dict[str, Any]()
    try:
        while ours.poll(max(0.0, ends - time.monotonic())):
            figures = ours.recv()
    except EOFError:
        child.join()
    child.terminate()
    child.join()
    if child.exitcode and child.exitcode > 0:
        figures["failed"] = f"failed with {child.exitcode}: its words stand above"
    elif not figures:
        figures["failed"] = f"not one split within {GRACE * seconds:.0f} s"
    return figures


def everyone(names: list[str], minutes: float, data: tuple[Interactions, Interactions]) -> dict[str, dict[str, Any]]:
    """Figures by subject, within so many minutes; the quick ones first, so that what they leave goes to the others."""
    ends = time.monotonic() + 60 * minutes
    figures: dict[str, dict[str, Any]] = {}
    left = sorted(names, key=lambda name: COSTLY.get(name, 1))
    while left:
        name = left.pop(0)
        weight = COSTLY.get(name, 1)
        share = max(1.0, (ends - time.monotonic()) * weight / (weight + sum(COSTLY.get(each, 1) for each in left)) / (1 if left else GRACE))
        sys.stdout.write(f"{name}: at most {share:.0f} s ... ")
        sys.stdout.flush()
        began = time.monotonic()
        figures[name] = run(name, share, data)
        sys.stdout.write(f"{time.monotonic() - began:.0f} s\n")
    return {name: figures[name] for name in names}


def values(figures: dict[str, Any], protocol: str, metric: str, splits: int) -> Value:
    """For each user the mean over the first so many splits; all splits of one protocol have the same users."""
    return Value(per_user=np.mean([part["metrics"][metric] for part in figures[protocol][:splits]], axis=0))


def apart(one: dict[str, Any], other: dict[str, Any], protocol: str) -> str:
    """NDCG@10 of one less the other's with its interval, paired by user, on the splits that both have; empty when they share none."""
    splits = min(len(one.get(protocol, ())), len(other.get(protocol, ())))
    if one is other or not splits:
        return ""
    ours, theirs = (values(each, protocol, "ndcg@10", splits) for each in (one, other))
    found = difference(ours, theirs, SEED)
    return f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"


def quality(figures: dict[str, Any], against: dict[str, Any], protocol: str) -> dict[str, Any]:
    """A row of the table of one protocol."""
    parts = figures.get(protocol, [])
    if not parts:
        return dict.fromkeys((*METRICS, "its 95 %", "less tuned implicit"), "") | {"cut": figures.get("failed") or "out of time before it"}
    found = {metric: bootstrap(values(figures, protocol, metric, len(parts)), SEED) for metric in METRICS}
    told: dict[str, Any] = {name: f"{estimate.value:.3f}" for name, estimate in found.items()}
    told |= {
        "its 95 %": f"{found['ndcg@10'].low:.3f}-{found['ndcg@10'].high:.3f}",
        "less tuned implicit": apart(figures, against, protocol),
    }
    wanted = PROTOCOLS[protocol]
    cut = "" if len(parts) == wanted else f"{len(parts)} of {wanted} seeds"
    return told | {"cut": "; ".join(each for each in (cut, figures.get("failed", "")) if each)}


def costs(figures: dict[str, Any]) -> dict[str, Any]:
    """What one fit on all ratings cost, the median over the seeds, and the most memory that the subject ever had."""
    parts = figures.get("leave_one_out") or figures.get("time")
    if not parts:
        return {"fits": 0}
    named = {"train s": "train_s", "CPU s": "cpu_s", "ms/user": "ms_per_user", "MB": "mb"}
    told = {name: round(float(np.median([part[key] for part in parts])), 3) for name, key in named.items()}
    return {"fits": len(parts)} | told | {"peak MB": round(figures["peak_mb"])}


def main() -> None:
    """Measure the subjects one after another, and print a table for each protocol."""
    parser = argparse.ArgumentParser(prog="bench.models", description=__doc__)
    parser.add_argument("--only", nargs="*", help="subjects; by default all")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="in all; 14 by default")
    asked = parser.parse_args()
    folder = os.environ.get("DATA", "")
    known = read(Path(folder) if folder else None)
    began = time.monotonic()
    everything, liked = (interactions(known, everything=every) for every in (True, False))
    figures = everyone(asked.only or list(subjects()), asked.minutes, (everything, liked))
    best = figures.get(TUNED, {})
    for protocol, data in (("leave_one_out", everything), ("time", liked), ("time_half_life", liked)):
        title = f"{known.name}, {protocol.replace('_', ' ')}: {len(data):,} interactions, {data.n_users:,} users, {data.n_items:,} items"
        tell("models", title, {name: quality(each, best, protocol) for name, each in figures.items()})
    tell("models", f"{known.name}, costs", {name: costs(each) for name, each in figures.items()})
    if "Ensemble" in figures:
        parts = [name for name in PARTS if name in figures]
        told = {name: {each: apart(figures["Ensemble"], figures[name], each) for each in PROTOCOLS} for name in parts}
        tell("models", f"{known.name}, the ensemble's NDCG@10 less each part's", told)
    told: dict[str, Any] = {"minutes": round((time.monotonic() - began) / 60, 1)}
    if best.get("tuned"):
        told["tuned implicit"] = ", ".join(f"{name} {value:g}" for name, value in best["tuned"].items()) + f" of {GRID_SIZE}"
    tell("models", f"{known.name}, the run", told)


if __name__ == "__main__":
    main()
