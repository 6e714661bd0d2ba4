"""Whoever asks at the same moment is answered together, each step for all of them: vectors, one product of two matrices, the best of each.

A product with one vector takes as long as it takes to read the matrix; with several it is read once. And a matrix that goes by leaves
nothing else near the core: between it and the rest of an answer the same code took twice to three times as long. Nobody is waited for:
those are in it whose requests were there when the event loop looked (docs/adr/0062).
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.factored import Factored
from ray_apps.algorithms.welcoming import Welcoming
from ray_apps.serving.ranking import ArmFailure, Scores

TOGETHER = 4
"""Fewer vectors are multiplied one by one: the product of two matrices has costs of its own."""
MOST_TOGETHER, MOST_SCORES = 16, 1 << 22
"""Users in one turn, after which others have theirs, and scores that it may make (16 MiB)."""

Vector = NDArray[np.float32]
T = TypeVar("T")


class _Asked(NamedTuple):
    """One user who waits."""

    history: NDArray[np.int32]
    weights: NDArray[np.float32]
    best: Callable[[Scores], Any]
    future: asyncio.Future[Any]


class Together:
    """Turns of one version. Used on the event loop only."""

    def __init__(self, model: Factored, took: Callable[[float], None]) -> None:
        """Take the model whose items' vectors have shape (items, factors), and who is told what CPU time each user took, milliseconds."""
        self._model, self._items, self._took = model, model.items, took
        self._most = max(1, min(MOST_TOGETHER, MOST_SCORES // max(len(self._items), 1)))
        self._waiting: list[_Asked] = []

    async def best(self, history: NDArray[np.int32], weights: NDArray[np.float32], best: Callable[[Scores], T]) -> T:
        """What `best` makes of the scores of all items for a user with this history.

        Raises:
            ArmFailure: the version, or `best`, raised.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._waiting.append(_Asked(history, weights, best, future))
        if len(self._waiting) == 1:
            loop.call_soon(self._turn)
        return await future

    def _turn(self) -> None:
        waiting = [each for each in self._waiting if not each.future.done()]
        asked, self._waiting = waiting[: self._most], waiting[self._most :]
        began = time.thread_time()
        try:
            self._answer(asked)
        finally:
            if self._waiting:  # behind those who have been answered just now
                asyncio.get_running_loop().call_soon(self._turn)
        each_ms = (time.thread_time() - began) * 1000 / max(len(asked), 1)
        for _ in asked:
            self._took(each_ms)

    def _answer(self, asked: list[_Asked]) -> None:
        known: list[_Asked] = []
        users: list[Vector] = []
        for each in asked:
            try:
                users.append(self._model.user_vector(each.history, each.weights).astype(np.float32))
            except Exception as error:  # noqa: BLE001 - this one is told, and falls back
                each.future.set_exception(_failure(error))
            else:
                known.append(each)
        if not known:
            return
        try:
            scores = self._products(users)
        except Exception as error:  # noqa: BLE001 - each is told
            for each in known:
                each.future.set_exception(_failure(error))
            return
        for each, row in zip(known, scores, strict=True):
            try:
                each.future.set_result(each.best(row))
            except Exception as error:  # noqa: BLE001 - as above
                each.future.set_exception(_failure(error))

    def _products(self, users: list[Vector]) -> list[Scores]:
        if len(users) < TOGETHER:
            return [self._items @ user for user in users]
        return list(np.stack(users) @ self._items.T)


def _failure(error: Exception) -> ArmFailure:
    return error if isinstance(error, ArmFailure) else ArmFailure(f"{type(error).__name__}: {error}")


def together_of(model: object, took: Callable[[float], None]) -> Together | None:
    """For a version that scores everybody by items' vectors; else None."""
    return Together(model, took) if isinstance(model, Factored) and not isinstance(model, Welcoming) else None
