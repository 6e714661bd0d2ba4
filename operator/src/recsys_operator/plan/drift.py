"""Drift: how unlike two profiles of events are."""

from math import log

from recsys_schemas.snapshot import EventProfile

_SMOOTHING = 0.5


def psi(before: EventProfile, now: EventProfile) -> float:
    """Population stability index of the items' buckets, less what chance alone gives on average; at least 0.

    PSI is the sum over buckets of (q - p) ln(q / p); without any change its mean is about (buckets - 1)(1/n + 1/m) for n and m events
    (Yurdakul & Naranjo, "Statistical properties of the population stability index", Journal of Risk Model Validation 14(4), 2020).
    """
    buckets = len(before.buckets)
    if buckets != len(now.buckets) or not before.events or not now.events:
        return 0.0
    total = 0.0
    for old, new in zip(before.buckets, now.buckets, strict=True):
        p = (old + _SMOOTHING) / (before.events + _SMOOTHING * buckets)
        q = (new + _SMOOTHING) / (now.events + _SMOOTHING * buckets)
        total += (q - p) * log(q / p)
    return max(0.0, total - (buckets - 1) * (1 / before.events + 1 / now.events))
