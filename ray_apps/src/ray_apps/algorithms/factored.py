"""What models of items' vectors share: a user's vector comes from the history, and its product with an item's is the score."""

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.interactions import Histories, Indices, Weights
from ray_apps.algorithms.recommender import Scores


class Factored:
    """Scores by items' vectors; the rest of a model says how a user's is found."""

    _items: NDArray[np.float32]
    """Shape (n_items, factors)."""

    @property
    def items(self) -> NDArray[np.float32]:
        """Items' vectors, shape (n_items, factors)."""
        return self._items

    def user_vector(self, history: Indices, weights: Weights) -> NDArray[np.float64]:
        """A user's vector, shape (factors,)."""
        raise NotImplementedError

    def scores(self, history: Indices, weights: Weights) -> Scores:
        """Estimated preferences, about 0 to 1, shape (n_items,)."""
        return self._items @ self.user_vector(history, weights).astype(np.float32)

    def scores_many(self, histories: Histories) -> Scores:
        """The same for several users, shape (users, n_items)."""
        users = np.empty((len(histories), self._items.shape[1]), dtype=np.float32)
        for row in range(len(histories)):
            users[row] = self.user_vector(*histories.of(row))
        return users @ self._items.T
