"""A user's history as it is now: what the version learned from, and what was done since."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.recency import faded
from ray_apps.serving.online.recent import Deed

Indices = NDArray[np.int32]
Weights = NDArray[np.float32]


def blended(
    history: Indices, weights: Weights, deeds: Sequence[Deed], places: Mapping[str, int], half_life: float | None = None
) -> tuple[Indices, Weights, set[int]]:
    """Liked items (ascending, each once) with the strongest weight of both, faded by what came after, and places of those not liked.

    Args:
        history: items that the version's training knew of, ascending, shape (liked,).
        weights: how strongly and how lately, as of then, shape (liked,).
        deeds: what was done since, newest last; items that the version does not know are left out.
        places: item id → place.
        half_life: likes after which an older one counts half, as the version was measured with; None: all count alike.
    """
    known = {place: deed.weight for deed in deeds if (place := places.get(deed.item)) is not None}
    liked = sorted(place for place, weight in known.items() if weight)
    shunned = {place for place, weight in known.items() if not weight}
    if not liked:
        return history, weights, shunned
    fresh, strong = np.array(liked, dtype=np.int32), np.array([known[place] for place in liked], dtype=np.float32)
    if half_life is not None:
        later = {place: number for number, place in enumerate(place for place, weight in reversed(known.items()) if weight)}
        strong = faded(strong, np.array([later[place] for place in liked]), half_life)
        weights = faded(weights, fresh.size, half_life)
    items, strengths = np.concatenate((history, fresh)), np.concatenate((weights, strong))
    order = items.argsort(kind="stable")
    items, strengths = items[order], strengths[order]
    again = np.flatnonzero(items[1:] == items[:-1])
    if again.size:
        strengths[again] = np.maximum(strengths[again], strengths[again + 1])
        items, strengths = np.delete(items, again + 1), np.delete(strengths, again + 1)
    return items, strengths, shunned
