"""Whoever asks at the same moment is scored together: one product of two matrices in place of one of a matrix and a vector for each.

A product with one vector takes as long as it takes to read the matrix; with several it is read once. Nobody is waited for: those are
scored together whose requests were there when the event loop looked.
"""

import asyncio
import time
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.factored import Factored
from ray_apps.serving.ranking import Scores

FROM_NUMBERS = 1 << 20
"""Below so many numbers the matrix stays near the core, and a product of its own is quicker than another turn of the loop."""
TOGETHER = 4
"""Fewer are scored one by one: the product of two matrices has costs of its own."""
MOST_TOGETHER, MOST_SCORES = 32, 1 << 22
"""Users in one product, and scores that it may make (16 MiB)."""

Vector = NDArray[np.float32]


class Scored(NamedTuple):
    """One user's scores, and their part of the CPU time of the product."""

    scores: Scores
    seconds: float


class Together:
    """Products of one version's items. Used on the event loop only."""

    def __init__(self, model: Factored) -> None:
        """Take the model whose items' vectors have shape (items, factors)."""
        self._model, self._items = model, model.items
        self._most = max(1, min(MOST_TOGETHER, MOST_SCORES // max(len(self._items), 1)))
        self._waiting: list[tuple[Vector, asyncio.Future[Scored]]] = []

    def user(self, history: NDArray[np.int32], weights: NDArray[np.float32]) -> Vector:
        """A user's vector, shape (factors,)."""
        return self._model.user_vector(history, weights).astype(np.float32)

    async def scores(self, user: Vector) -> Scored:
        """Scores of all items for a user's vector, shape (factors,)."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Scored] = loop.create_future()
        self._waiting.append((user, future))
        if len(self._waiting) == 1:
            loop.call_soon(self._turn)
        return await future

    def _turn(self) -> None:
        waiting, self._waiting = self._waiting, []
        asked = [each for each in waiting if not each[1].done()]
        for first in range(0, len(asked), self._most):
            self._score(asked[first : first + self._most])

    def _score(self, asked: list[tuple[Vector, asyncio.Future[Scored]]]) -> None:
        began = time.thread_time()
        try:
            scores = self._products([user for user, _ in asked])
        except Exception as error:  # noqa: BLE001 - each is told, and falls back
            for _, future in asked:
                future.set_exception(error)
            return
        seconds = (time.thread_time() - began) / len(asked)
        for (_, future), row in zip(asked, scores, strict=True):
            future.set_result(Scored(row, seconds))

    def _products(self, users: list[Vector]) -> list[Scores]:
        if len(users) < TOGETHER:
            return [self._items @ user for user in users]
        return list(np.stack(users) @ self._items.T)


def together_of(model: object) -> Together | None:
    """For a version that scores by items' vectors, if these are many; else None."""
    if isinstance(model, Factored) and model.items.size >= FROM_NUMBERS:
        return Together(model)
    return None
