"""The algorithms, by the names that a RecommenderModel uses."""

from collections.abc import Mapping
from types import MappingProxyType

from ray_apps.algorithms.als import ALS
from ray_apps.algorithms.bpr import BPR
from ray_apps.algorithms.ease import EASE
from ray_apps.algorithms.ensemble import Ensemble
from ray_apps.algorithms.hybrid import Hybrid
from ray_apps.algorithms.ials import IALS
from ray_apps.algorithms.item_knn import ItemItem
from ray_apps.algorithms.next_item import NextItem
from ray_apps.algorithms.popularity import Popularity
from ray_apps.algorithms.recent_popularity import RecentPopularity
from ray_apps.algorithms.recommender import Arrays, Recommender
from ray_apps.algorithms.two_tower import TwoTower

Algorithms = Mapping[str, type[Recommender]]
"""Name → class."""

ALGORITHMS: Algorithms = MappingProxyType(
    {each.name: each for each in (Popularity, RecentPopularity, ItemItem, NextItem, ALS, IALS, BPR, EASE, Ensemble, TwoTower, Hybrid)}
)


def load_model(algorithm: str, arrays: Arrays, n_items: int) -> Recommender:
    """A fitted model from its arrays: hand this to `stores.registry.open_version`.

    Raises:
        ValueError: the algorithm is unknown, or the arrays do not fit it.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm: {algorithm!r} is unknown; use one of {', '.join(sorted(ALGORITHMS))}")
    return ALGORITHMS[algorithm].from_arrays(arrays, n_items)
