"""How much of the answers came from a shortlist, and what a shortlist finds of the exact best."""

from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from bench.serving.ways import Catalogue
from bench.serving_line import TOKENS
from ray_apps.algorithms import load_model
from ray_apps.algorithms.factored import Factored
from ray_apps.serving.near import measured
from ray_apps.serving.shortlist import BEST, FROM_ITEMS
from ray_apps.stores.objects import Store
from ray_apps.stores.registry import open_version
from recsys_schemas.metric_names import SERVE_REQUESTS


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


def recall(store: Store, cache: Path, catalogue: Catalogue) -> dict[str, float]:
    """What the shortlist that a replica makes of this version finds; empty where it makes none."""
    version = open_version(store, catalogue.version, catalogue.digest, cache, load_model)
    if catalogue.items < FROM_ITEMS or not isinstance(version.model, Factored):
        return {}
    made = measured(version.model, version)
    return {f"recall@{BEST}": round(made.recall, 3), "cells looked at": made.looked_at, "ms": round(made.expected_ms, 2)}
