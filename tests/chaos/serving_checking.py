"""Whether answers are what the version that they name gives: recomputed from the files, by sorting everything."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ray_apps.algorithms import load_model
from ray_apps.stores.objects import open_store
from ray_apps.stores.registry import open_version
from recsys_dev.loadgen import trouble

SHOWN = 5
REFUSED = 429
TIE = 1e-4
"""Scores nearer than this may change places: another product of the same numbers rounds otherwise."""


@dataclass(slots=True)
class Checked:
    """What was found in the answers."""

    answers: int = 0
    by_version: Counter[str] = field(default_factory=Counter[str])
    reasons: Counter[str] = field(default_factory=Counter[str])
    failed: Counter[str] = field(default_factory=Counter[str])
    shed: int = 0
    """Refused for load, and told when to come again: whoever survives on a busy machine may have too much to do."""
    mixed: list[str] = field(default_factory=list[str])


class Truth:
    """The versions as they lie in the store."""

    def __init__(self, storage_uri: str, digests: dict[str, str], cache: Path) -> None:
        store = open_store(storage_uri)
        self._versions = {name: open_version(store, name, digest, cache, load_model) for name, digest in digests.items()}
        self._names = {name: list(version.item_ids) for name, version in self._versions.items()}
        self.scores = lru_cache(maxsize=20_000)(self._scores)

    def _scores(self, version: str, user: str) -> tuple[dict[str, float], list[float]]:
        """Scores of a user's items in a version, and those of the best ones in order."""
        loaded = self._versions[version]
        history, weights = loaded.history(user)
        scores = loaded.model.scores(history, weights).astype(np.float64)
        scores[history] = -np.inf
        best = np.argsort(-scores, kind="stable")[:150]
        return {self._names[version][i]: float(scores[i]) for i in best.tolist()}, [float(scores[i]) for i in best.tolist()]

    def fault(self, told: dict[str, Any]) -> str:
        """What is wrong with a personal answer; empty when nothing is."""
        version = told["model_version"]
        if version not in self._versions:
            return f"{version} is no version"
        known, best = self.scores(version, told["user_id"])
        for place, item in enumerate(told["items"]):
            true = known.get(item["item_id"])
            if true is None or abs(true - best[place]) > TIE or abs(true - item["score"]) > TIE:
                return f"{told['user_id']}: {item['item_id']} in place {place} is not what {version} gives"
        return ""


def checked(truth: Truth, lines: Iterable[str]) -> Checked:
    """Look at every answer that the load generator wrote down."""
    found = Checked()
    for line in lines:
        answer = json.loads(line)
        found.answers += 1
        if answer.get("status") == REFUSED and answer.get("retry_after"):
            found.shed += 1
            continue
        if why := trouble(answer):
            found.failed[why] += 1
            continue
        told = json.loads(answer["body"])
        found.by_version[told["model_version"]] += 1
        found.reasons[told["reason"]] += 1
        if told["reason"] in {"personal", "cached"} and (fault := truth.fault(told)):
            found.mixed.append(fault)
    return found
