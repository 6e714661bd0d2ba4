"""What is said of many rollouts: when they were decided, how many times sooner than by each rule, how near to what can be."""

import numpy as np

from bench.rollout.limits import least_seconds
from bench.rollout.logs import Log
from bench.rollout.thresholds import Threshold

OURS = "this operator"
Times = dict[str, list[int | None]]
"""Rule → when each rollout was rolled back."""


def times(seconds: list[int | None]) -> dict[str, str]:
    """Median and 95th percentile, and how many were decided at all."""
    known = np.array([np.inf if second is None else float(second) for second in seconds])
    median, late = (float(np.quantile(known, part, method="higher")) for part in (0.5, 0.95))
    decided = int(np.isfinite(known).sum())
    told = {"median s": f"{median:.0f}" if np.isfinite(median) else "never", "p95 s": f"{late:.0f}" if np.isfinite(late) else "never"}
    return told | {"decided": f"{decided} of {known.size}"}


def harmed(log: Log, seconds: list[int | None]) -> str:
    """The median number of failed answers that users of the candidate had until then."""
    at = [log.seconds if second is None else second for second in seconds]
    met = [int(log.candidate.errors[number, second - 1]) for number, second in enumerate(at)]
    return f"{'' if None not in seconds else '>= '}{np.median(met):.0f}"


def sooner(found: dict[str, Times], seconds: dict[str, int], rules: tuple[Threshold, ...]) -> dict[str, dict[str, str]]:
    """How many times sooner than each rule, by the medians; where it never sees the harm, at least by the length of the log."""
    rows: dict[str, dict[str, str]] = {}
    for name, times_of in found.items():
        if len(times_of) == 1:
            continue
        known = {rule: sorted(seconds[name] + 1 if one is None else one for one in all_of) for rule, all_of in times_of.items()}
        median = {rule: all_of[len(all_of) // 2] for rule, all_of in known.items()}
        rows[name] = {
            rule.name: f"{'> ' if median[rule.name] > seconds[name] else ''}{min(median[rule.name], seconds[name]) / median[OURS]:.1f}"
            for rule in rules
        }
    return rows


def over_the_least(found: dict[str, Times], errors: dict[str, float], alpha: float, rate: float) -> dict[str, dict[str, str]]:
    """Mean time to know beside the least that any rule needs at so many false aborts; of those harms that were always found."""
    rows: dict[str, dict[str, str]] = {}
    for name, factor in errors.items():
        seconds = [second for second in found[name][OURS] if second is not None]
        if len(seconds) == len(found[name][OURS]):
            mean, least = float(np.mean(seconds)), least_seconds(factor, alpha, rate=rate)
            rows[name] = {"mean s": f"{mean:.1f}", "least s of any rule": f"{least:.1f}", "over the least": f"{mean / least:.2f}"}
    return rows
