"""What newcomers could be given at most: lists that know what nobody can know, measured beside the models.

Both are one list for all, of what the newcomers of a window like. A ratio to popularity that neither reaches is not a matter of counting
better, or sooner; what is above them must come from what each newcomer said.
"""

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.interactions import Histories
from ray_apps.evaluation.onboarded import Onboarded

OTHERS = "limit: what the window's other newcomers like"
ALL = "limit: the same, having seen what is asked"


def limits(people: Onboarded, popularity: NDArray[np.integer]) -> dict[str, NDArray[np.float32]]:
    """Scores by name, shape (users, n_items): how many newcomers like an item, he who is asked about left out or not.

    Args:
        people: The newcomers of one window.
        popularity: Of each item before it, which decides between equals; shape (n_items,).
    """
    before = popularity / (1.0 + popularity.max(initial=0))
    own = _likes(people.told, popularity.size) + _likes(people.sought, popularity.size)
    together = own.sum(axis=0, keepdims=True)
    return {
        OTHERS: (together - own + before).astype(np.float32),
        ALL: np.broadcast_to(together + before, own.shape).astype(np.float32),
    }


def _likes(rows: Histories, n_items: int) -> NDArray[np.float64]:
    likes = np.zeros((len(rows), n_items))
    likes[np.repeat(np.arange(len(rows)), np.diff(rows.indptr)), rows.indices] = 1.0
    return likes
