"""A place in the list for an item that nobody has liked yet: by its chances alone it would hardly ever be seen, and so never be liked."""

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.interactions import Indices
from ray_apps.algorithms.recommender import Scores


def with_a_new_item(scores: Scores, history: Indices, new: NDArray[np.bool_], place: int) -> Scores:
    """Scores in which the best of the new items has that place of the list, where none stands there or before it.

    Args:
        scores: Of all items for one user, shape (n_items,).
        history: What the user has already, which is in no list.
        new: Which items are new, shape (n_items,).
        place: Counted from 1.
    """
    others = scores.copy()
    others[history] = -np.inf
    if others.size - history.size < place or not new.any():
        return scores
    candidates = np.flatnonzero(new)
    best = candidates[np.argmax(others[candidates])]
    bound = np.partition(others, -place)[-place]
    if others[best] >= bound or not np.isfinite(others[best]):
        return scores
    raised = scores.copy()
    raised[best] = np.nextafter(bound, np.float32(np.inf))
    return raised
