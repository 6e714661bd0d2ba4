"""A user's history as it is now: what the version learned from, and what was done since."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ray_apps.serving.online.recent import Deed

Indices = NDArray[np.int32]
Weights = NDArray[np.float32]


def blended(history: Indices, weights: Weights, deeds: Sequence[Deed], places: Mapping[str, int]) -> tuple[Indices, Weights, set[int]]:
    """Liked items (ascending, each once) with the strongest weight of both, and places of those that were dealt with and not liked.

    Args:
        history: items that the version's training knew of, ascending, shape (liked,).
        weights: how strongly, shape (liked,).
        deeds: what was done since; items that the version does not know are left out.
        places: item id → place.
    """
    known = {place: deed.weight for deed in deeds if (place := places.get(deed.item)) is not None}
    liked = sorted(place for place, weight in known.items() if weight)
    shunned = {place for place, weight in known.items() if not weight}
    if not liked:
        return history, weights, shunned
    fresh = np.array(liked, dtype=np.int32)
    strong = np.array([known[place] for place in liked], dtype=np.float32)
    at = np.searchsorted(history, fresh)
    again = np.zeros(fresh.size, dtype=np.bool_)
    inside = at < history.size
    again[inside] = history[at[inside]] == fresh[inside]
    stronger = weights.copy()
    stronger[at[again]] = np.maximum(stronger[at[again]], strong[again])
    return (
        np.insert(history, at[~again], fresh[~again]).astype(np.int32, copy=False),
        np.insert(stronger, at[~again], strong[~again]).astype(np.float32, copy=False),
        shunned,
    )
