"""What every algorithm can do: learn from interactions, and score all items for a user from that user's history alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.hyperparameters import Hyperparameters, Parameter
from ray_apps.algorithms.interactions import Histories, Indices, Interactions, Weights

Arrays = Mapping[str, NDArray[np.generic]]
"""A model's own arrays by name ([a-z_]+); they may be read-only memory maps."""
Scores = NDArray[np.float32]
"""One score per item, higher is better, comparable within one user only."""


def _tell_nobody(done: int, of: int) -> None:
    del done, of


def _show_nobody(done: int, of: int, model: "Callable[[], Recommender]") -> None:
    del done, of, model


class Crew(Protocol):
    """Other workers that share a fit."""

    def factorise(
        self,
        interactions: Interactions,
        values: Mapping[str, float],
        seed: int,
        fitting: "Fitting",
        start: NDArray[np.float32] | None,
    ) -> Arrays:
        """The arrays of an IALS with these checked hyperparameters: the bytes that one process would give."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitting:
    """What a fit may use, and whom it tells how far it is."""

    threads: int = 1
    """Threads, as many as the CPUs that its worker asks for. The arrays do not depend on it."""
    gpu: bool = False
    """Whether the worker reserves a GPU; algorithms without a kernel for it pass it over."""
    tell: Callable[[int, int], None] = _tell_nobody
    """Called after each step (an epoch, a sweep) with the steps done and the steps in all."""
    show: Callable[[int, int, "Callable[[], Recommender]"], None] = _show_nobody
    """Called after each step with the steps done, the steps in all, and what makes the model as it stands then: it costs nothing unless
    it is called, and changes nothing of the fit. Algorithms without steps pass it over."""
    start: Arrays | None = None
    """Arrays of an earlier model of the same algorithm, its items in this catalogue's order: where learning may go on from (warm start).
    Algorithms without steps pass it over."""
    crew: Crew | None = None
    """Workers to share the work with; None: there are none. Algorithms that cannot share work pass it over."""


ALONE = Fitting()
"""One thread, from the beginning, in silence."""


class Recommender(Protocol):
    """A fitted model. Users are known to it by what they liked (fold-in), so the newest events count and new users are no exception."""

    name: ClassVar[str]
    """The algorithm's name, as in a RecommenderModel."""
    parameters: ClassVar[Mapping[str, Parameter]]
    """The hyperparameters that it takes."""

    @classmethod
    def fit(cls, interactions: Interactions, hyperparameters: Hyperparameters, seed: int, fitting: Fitting = ALONE) -> Self:
        """Learn. The same interactions, hyperparameters, seed, start and library versions give the same arrays, bit for bit.

        Raises:
            HyperparameterError: a hyperparameter is unknown or out of range.
        """
        ...

    def scores(self, history: Indices, weights: Weights) -> Scores:
        """Scores of all items for one user, shape (n_items,).

        Args:
            history: Items that the user liked, ascending, no repeats, shape (liked,); it may be empty.
            weights: How strongly, shape (liked,).
        """
        ...

    def scores_many(self, histories: Histories) -> Scores:
        """The same for several users at once, shape (users, n_items)."""
        ...

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Everything that scoring needs: `from_arrays` makes the same model of it."""
        ...

    @classmethod
    def from_arrays(cls, arrays: Arrays, n_items: int) -> Self:
        """A fitted model from its arrays.

        Raises:
            ValueError: an array is missing, or its shape or type does not fit `n_items`.
        """
        ...


def required(arrays: Arrays, name: str, kind: str, shape: tuple[int | None, ...]) -> NDArray[np.generic]:
    """One array of a model, checked. `kind` is a numpy kind letter (f, i); None in `shape` stands for any length.

    Raises:
        ValueError: it is missing, or its shape or type differs.
    """
    if name not in arrays:
        raise ValueError(f"model array {name!r} is missing; there are: {', '.join(sorted(arrays)) or 'none'}")
    array = arrays[name]
    fits = array.ndim == len(shape) and all(want is None or want == have for want, have in zip(shape, array.shape, strict=True))
    if array.dtype.kind != kind or not fits:
        wanted = "x".join("any" if want is None else str(want) for want in shape) or "scalar"
        raise ValueError(f"model array {name!r}: {array.dtype} of shape {array.shape}; kind {kind} of shape {wanted} was expected")
    return array
