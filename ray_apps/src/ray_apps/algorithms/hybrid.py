"""Hybrid: what those with the same taste like, as far as user and item are known; what is like it by content and liked these days, beyond.

An item that n users liked speaks for itself with n / (n + k), the well-known items that are most like it for the rest (see `neighbours`).
A user with a short history is mostly given `onboarding`'s list, by the content of what they liked; from how many likes on the collaborative
scores decide is learned within training, on users that are left out of it, and for newcomers apart (see `beliefs`, `welcoming`). Such a
user's list also has a place for an item that nobody has liked yet (see `first_likes`): the others' lists are what they are known to like.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.als import ALS
from ray_apps.algorithms.beliefs import CAUTIOUS, CAUTIOUS_OF_NEWCOMERS, FAMILIAR, PREFIXES, at_prefixes, belief, beliefs_of
from ray_apps.algorithms.content import needed
from ray_apps.algorithms.ease import EASE
from ray_apps.algorithms.first_likes import with_a_new_item
from ray_apps.algorithms.hyperparameters import Hyperparameters, Parameter, Value, checked
from ray_apps.algorithms.interactions import Histories, Indices, Interactions, Weights
from ray_apps.algorithms.neighbours import Neighbours, neighbours_of
from ray_apps.algorithms.onboarding import HALF_LIFE_DAYS, TASTE, profile_of, similarity, with_prior
from ray_apps.algorithms.recent_popularity import recent_popularity
from ray_apps.algorithms.recommender import ALONE, Arrays, Fitting, Recommender, Scores, required
from ray_apps.stores.content import Content, content_of_rows

PART = "part_"
PARTS: tuple[type[Recommender], ...] = (EASE, ALS)
"""What may be the collaborative part, by the number that a version carries; both are tried, and of equal ones the first is taken."""
MOST_FOR_EASE = 10_000
"""With more items liked, EASE's matrix (400 MB) is not worth its memory, and ALS is taken untried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the hybrid knows beside its collaborative part."""

    content: Content
    near: Neighbours
    """Who speaks for whom."""
    wanted: NDArray[np.float64]
    """Popularity with its prior, shape (n_items,)."""
    beliefs: NDArray[np.float64]
    """Share of the collaborative scores after so many likes, shape (PREFIXES,)."""
    newcomers: NDArray[np.float64]
    """The same for users of whom training knew nothing, shape (PREFIXES,)."""
    new: NDArray[np.bool_]
    """Items that nobody has liked and of which something is known, shape (n_items,)."""
    place: int
    """Of the best new one in the list of a user with a short history, if any; 0: where it comes by itself."""


class Hybrid:
    """Collaborative where user and item are known, content where they are not."""

    name: ClassVar[str] = "Hybrid"
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "itemShrinkage": Parameter(default=1.0, low=0.0, high=10_000.0),
        "neighbours": Parameter(default=20, low=1, high=10_000),
        "halfLifeDays": Parameter(default=HALF_LIFE_DAYS, low=0.01, high=36_500.0),
        "newItemPlace": Parameter(default=10, low=0, high=1_000),
    }

    def __init__(self, part: Recommender, known: Known) -> None:
        """Take the collaborative part and what is known beside it."""
        self._part, self._known = part, known

    @classmethod
    def fit(cls, interactions: Interactions, hyperparameters: Hyperparameters, seed: int, fitting: Fitting = ALONE) -> Self:
        """Fit the collaborative part, find neighbours by content, and choose it and how soon a user is believed.

        Raises:
            HyperparameterError: a hyperparameter is unknown or out of range.
            ContentNeeded: nothing is known of the items.
        """
        values = checked(cls.name, cls.parameters, hyperparameters)
        needed(interactions.content, cls.name)
        few = np.count_nonzero(interactions.popularity()) <= MOST_FOR_EASE
        quiet = Fitting(threads=fitting.threads)
        tried = {
            part: beliefs_of(interactions, seed, lambda shown, part=part: cls._fitted(shown, values, seed, quiet, part).both)
            for part in (PARTS if few else (ALS,))
        }
        part = max(tried, key=lambda each: tried[each].gained)
        whole = cls._fitted(interactions, values, seed, fitting, part)
        known = replace(whole._known, beliefs=tried[part].regulars, newcomers=tried[part].newcomers)  # noqa: SLF001 — its own
        return cls(whole._part, known)  # noqa: SLF001

    @classmethod
    def _fitted(cls, interactions: Interactions, values: Mapping[str, Value], seed: int, fitting: Fitting, kind: type[Recommender]) -> Self:
        content = needed(interactions.content, cls.name)
        popularity = interactions.popularity()
        near = neighbours_of(content, popularity, shrinkage=float(values["itemShrinkage"]), most=int(values["neighbours"]))
        wanted = with_prior(recent_popularity(interactions, float(values["halfLifeDays"])), content)
        new = (popularity == 0) & (np.diff(content.indptr) > 0)
        place = int(values["newItemPlace"])
        known = Known(content=content, near=near, wanted=wanted, beliefs=CAUTIOUS, newcomers=CAUTIOUS_OF_NEWCOMERS, new=new, place=place)
        steps = replace(fitting, show=lambda done, of, part: fitting.show(done, of, lambda: cls(part(), known)))
        return cls(kind.fit(interactions, {}, seed, steps), known)

    def for_newcomers(self) -> "Hybrid":
        """The same for users of whom training knew nothing: content is believed longer."""
        return Hybrid(self._part, replace(self._known, beliefs=self._known.newcomers))

    def both(self, history: Indices, weights: Weights) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Collaborative scores and those by content and popularity, each at most 1, both of shape (n_items,)."""
        return self._shared(history, weights, self._part.scores(history, weights))

    def _shared(self, history: Indices, weights: Weights, own: Scores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        known = self._known
        alike = similarity(known.content, profile_of(known.content, (), history, weights, {}))
        return _at_most_one(known.near.blended(own)), _at_most_one(known.wanted * np.exp(TASTE * alike))

    def _blended(self, history: Indices, weights: Weights, own: Scores) -> Scores:
        believed = belief(self._known.beliefs, history.size)
        collaborative, content = self._shared(history, weights, own)
        blended = (believed * collaborative + (1 - believed) * content).astype(np.float32)
        if self._known.place and 0 < history.size < FAMILIAR:
            return with_a_new_item(blended, history, self._known.new, self._known.place)
        return blended

    def scores(self, history: Indices, weights: Weights) -> Scores:
        """Blended scores, about 1 at most, shape (n_items,)."""
        return self._blended(history, weights, self._part.scores(history, weights))

    def scores_many(self, histories: Histories) -> Scores:
        """The same for several users, shape (users, n_items)."""
        own = self._part.scores_many(histories)
        rows = [self._blended(*histories.of(row), own[row]) for row in range(len(histories))]
        return np.stack(rows) if rows else np.empty((0, self._known.wanted.size), dtype=np.float32)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Its part's with the prefix `part_`, nameless content, neighbours, float64 `wanted`, `beliefs`, `newcomers`; `new`, `place`."""
        own = {f"{PART}{name}": array for name, array in self._part.arrays().items()}
        known = self._known
        content = {f"content_{name}": getattr(known.content, name) for name in ("indptr", "indices", "weights")}
        numbers = {
            "wanted": known.wanted,
            "beliefs": known.beliefs,
            "newcomers": known.newcomers,
            "features": np.array(len(known.content.features)),
        }
        numbers |= {"collaborative": np.array(PARTS.index(type(self._part))), "place": np.array(known.place)}
        numbers["new"] = known.new.astype(np.uint8)
        return own | content | known.near.arrays() | numbers

    @classmethod
    def from_arrays(cls, arrays: Arrays, n_items: int) -> Self:
        """The model from its arrays.

        Raises:
            ValueError: an array is missing or does not fit.
        """
        own = {name.removeprefix(PART): array for name, array in arrays.items() if name.startswith(PART)}
        wanted = np.asarray(required(arrays, "wanted", "f", (n_items,)), dtype=np.float64)
        if not np.isfinite(wanted).all():
            raise ValueError("model array 'wanted': finite numbers were expected")
        beliefs = _shares(arrays, "beliefs")
        newcomers = _shares(arrays, "newcomers") if "newcomers" in arrays else beliefs  # a version from before they were told apart
        near = Neighbours.from_arrays(arrays, n_items)
        number = int(np.asarray(required(arrays, "collaborative", "i", ())))
        if not 0 <= number < len(PARTS):
            raise ValueError(f"model array 'collaborative': {number} is no part; 0 to {len(PARTS) - 1} were expected")
        if "new" not in arrays:  # a version from before new items had a place
            arrays = {**arrays, "new": np.zeros(n_items, dtype=np.uint8), "place": np.array(0)}
        new = np.asarray(required(arrays, "new", "u", (n_items,))) != 0
        place = int(np.asarray(required(arrays, "place", "i", ())))
        known = Known(
            content=_content(arrays, n_items), near=near, wanted=wanted, beliefs=beliefs, newcomers=newcomers, new=new, place=place
        )
        return cls(PARTS[number].from_arrays(own, n_items), known)


def _shares(arrays: Arrays, name: str) -> NDArray[np.float64]:
    shares = at_prefixes(np.asarray(required(arrays, name, "f", (None,)), dtype=np.float64))
    if shares.size != len(PREFIXES):
        raise ValueError(f"model array {name!r}: {shares.size} shares; {len(PREFIXES)} were expected")
    if not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError(f"model array {name!r}: shares from 0 to 1 were expected")
    return shares


def _at_most_one(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    best = float(scores.max(initial=0.0))
    return scores / best if best > 0 else scores


def _content(arrays: Arrays, n_items: int) -> Content:
    """The content that a model scores with; what its features are called is written with the version, once."""
    features = int(np.asarray(required(arrays, "features", "i", ())))
    nameless = {name: np.asarray(arrays[name]) for name in ("content_indptr", "content_indices", "content_weights") if name in arrays}
    return content_of_rows(nameless, n_items, ("",) * max(features, 0))
