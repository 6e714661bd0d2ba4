"""How much of the answers came from a shortlist, and what a shortlist finds of the exact best."""

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from bench.serving.ways import Catalogue
from bench.serving_line import TOKENS
from ray_apps.algorithms import load_model
from ray_apps.algorithms.als import ALS, Trust
from ray_apps.algorithms.factored import Factored
from ray_apps.algorithms.interactions import Indices, Weights
from ray_apps.serving.near import measured
from ray_apps.serving.shortlist import ASKED, BEST, FROM_ITEMS, Shortlist, bytes_of, shortlist_of
from ray_apps.stores.objects import Store
from ray_apps.stores.registry import open_version
from recsys_schemas.metric_names import SERVE_REQUESTS

GROUPS, LIKED = 400, 50
"""Tastes among items, and items that a user likes."""


def answered(url: str) -> dict[str, float]:
    """Answers of a replica so far, by reason; `url` is the model's."""
    told = httpx.get(f"{url}/metrics", headers={"Authorization": f"Bearer {TOKENS['operator']}"}, timeout=30, trust_env=False)
    counts = dict[str, float]()
    for family in text_string_to_metric_families(told.raise_for_status().text):
        for sample in family.samples:
            if sample.name == SERVE_REQUESTS.name:
                reason = sample.labels["reason"]
                counts[reason] = counts.get(reason, 0) + sample.value
    return counts


def parts(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Part of each reason among the answers between two looks."""
    given = {reason: count - before.get(reason, 0) for reason, count in after.items()}
    return {f"part {reason}": round(count / max(sum(given.values()), 1), 3) for reason, count in given.items() if reason and count}


def recall(store: Store, cache: Path, catalogue: Catalogue) -> dict[str, dict[str, float]]:
    """What the shortlist that a replica makes finds: of this version, and of items that belong together; empty where it makes none."""
    version = open_version(store, catalogue.version, catalogue.digest, cache, load_model)
    if catalogue.items < FROM_ITEMS or not isinstance(version.model, Factored):
        return {}
    return {
        "shortlist, independent items": _timed(lambda model: measured(model, version), version.model),
        "shortlist, items in groups": _timed(lambda model: shortlist_of(model, model.items, alike(model.items)), grouped(catalogue)),
    }


def _timed(make: Callable[[Factored], Shortlist], model: Factored) -> dict[str, float]:
    began = time.process_time()
    made = make(model)
    return {
        f"recall@{BEST}": round(made.recall, 3),
        "items ranked": made.ranked,
        "ms": round(made.expected_ms, 2),
        "CPU s to make and measure": round(time.process_time() - began, 1),
        "MB": round(bytes_of(model.items) / 1e6, 1),
    }


def grouped(catalogue: Catalogue) -> ALS:
    """A model as a fit leaves it: items near one of GROUPS tastes, directions that differ in how much they say, norms by popularity."""
    drawn, shape = np.random.default_rng(5), (catalogue.items, catalogue.factors)
    tastes = drawn.normal(size=(GROUPS, catalogue.factors))
    vectors = tastes[drawn.integers(0, GROUPS, catalogue.items)] + 0.8 * drawn.normal(size=shape)
    vectors *= drawn.lognormal(-1, 0.8, size=(catalogue.items, 1)) / np.sqrt(1 + np.arange(catalogue.factors))
    gram = vectors.T @ vectors + 10 * np.eye(catalogue.factors)
    return ALS(vectors.astype(np.float32), np.linalg.inv(gram).astype(np.float64), Trust(alpha=2, damping=0, usual=1))


def alike(items: NDArray[np.float32]) -> list[tuple[Indices, Weights]]:
    """Histories of users who like what is like one item."""
    drawn = np.random.default_rng(9)
    histories: list[tuple[Indices, Weights]] = []
    for _ in range(ASKED):
        among = drawn.choice(len(items), min(20_000, len(items)), replace=False)
        near = among[np.argsort(items[among] @ -items[among[0]])[:LIKED]]
        histories.append((np.sort(near).astype(np.int32), np.ones(LIKED, dtype=np.float32)))
    return histories
