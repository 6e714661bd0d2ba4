"""A list for somebody of whom no event is known: what they say they like, among what is liked these days.

score = (popularity + prior) * exp(taste * similarity), where similarity is the cosine of the item's features and of what was said. With
nothing said it is popularity, and an item that nobody has liked yet is as popular as liked items of its genres, decade and words are, so
that it can be found by whoever likes them, and by nobody when nothing is known of it. Numpy alone: serving answers with it.

Source: a log-linear (product of experts) blend of a prior and a content score, Hinton, "Products of experts", ICANN 1999.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.interactions import Indices, Weights
from ray_apps.algorithms.recommender import Scores
from ray_apps.stores.content import Content

TASTE = 1.0
"""How much more a perfect match is worth, as a power of e: chosen on one part of MovieLens' small set, measured on another."""
HALF_LIFE_DAYS = 365.0
"""A like so old counts half."""
GENRE = "genre:"


def genres_of(content: Content) -> dict[str, list[int]]:
    """The genres that somebody may be asked about, case folded, each with its features: `{"comedy": [0]}`."""
    found: dict[str, list[int]] = {}
    for index, name in enumerate(content.features):
        if name.startswith(GENRE):
            found.setdefault(name.removeprefix(GENRE).casefold(), []).append(index)
    return found


def genres_liked(content: Content, items: Indices) -> list[str]:
    """Names of all genres of some items, sorted: what somebody who liked them might have said."""
    named = {content.features[feature] for item in items.tolist() for feature in content.of(item)[0].tolist()}
    return sorted(name.removeprefix(GENRE) for name in named if name.startswith(GENRE))


def profile_of(
    content: Content, genres: Iterable[str], items: Indices, weights: Weights | None = None, known: Mapping[str, list[int]] | None = None
) -> NDArray[np.float64]:
    """What somebody likes as features, length 1 or 0, shape (features,): half by the genres that they named, half by the items.

    Args:
        content: What is known of the items.
        genres: Genres that they named, in any case; one that no item has says nothing.
        items: Items that they like, shape (liked,).
        weights: How much, shape (liked,); by default all alike.
        known: `genres_of(content)`, when it is at hand.
    """
    said = np.zeros(len(content.features))
    index = genres_of(content) if known is None else known
    for genre in genres:
        said[index.get(genre.strip().casefold(), [])] = 1.0
    lengths = content.indptr[items + 1] - content.indptr[items]
    entries = np.arange(lengths.sum()) + np.repeat(content.indptr[items] - (np.cumsum(lengths) - lengths), lengths)
    strength = np.repeat(np.ones(items.size) if weights is None else weights.astype(np.float64), lengths)
    told = content.weights[entries] * strength
    shown = np.bincount(content.indices[entries], weights=told, minlength=len(content.features)).astype(np.float64)
    return _unit(_unit(said) + _unit(shown))


def similarity(content: Content, profile: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosine of each item and a profile, shape (n_items,); 0 where nothing is known of the item."""
    if not profile.any():
        return np.zeros(len(content))
    return row_sums(content.indptr, content.weights * profile[content.indices])


def row_sums(indptr: NDArray[np.int64], values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Sums of sparse rows, shape (rows,): in one order, and 0 for an empty row."""
    full = np.flatnonzero(np.diff(indptr))
    sums = np.zeros(indptr.size - 1)
    if full.size:
        sums[full] = np.add.reduceat(values, indptr[full], dtype=np.float64)
    return sums


def with_prior(popularity: NDArray[np.floating | np.integer], content: Content) -> NDArray[np.float64]:
    """Popularity and on top of it what items of such content are worth, shape (n_items,); 0 for an item of which nothing is known."""
    return _added(popularity, expected_of(popularity, content), content)


def expected_of(popularity: NDArray[np.floating | np.integer], content: Content) -> NDArray[np.float64]:
    """How popular items of such content are, shape (n_items,); of an item of which nothing is said, the mean of those that are liked."""
    wanted = popularity.astype(np.float64)
    if not wanted.any():
        return wanted
    sums = row_sums(content.indptr, content.weights.astype(np.float64))
    told = row_sums(content.indptr, content.weights * _worth(wanted, content)[content.indices])
    return np.divide(told, sums, out=np.full(wanted.size, wanted[wanted > 0].mean()), where=sums > 0)


def _added(popularity: NDArray[np.floating | np.integer], expected: NDArray[np.float64], content: Content) -> NDArray[np.float64]:
    wanted = popularity.astype(np.float64)
    return np.where((np.diff(content.indptr) > 0) | (wanted > 0), wanted + expected, 0.0)


def _worth(wanted: NDArray[np.float64], content: Content) -> NDArray[np.float64]:
    """How popular the liked items with a feature are, shape (features,), drawn to the mean of all the more, the less the features differ.

    A feature that n items have counts n / (n + k), where k is the variance of items over that of features: what of the features' means is
    more than the chance of whom they happen to stand for. Where features say nothing of popularity, k is infinite.

    Source: empirical Bayes, Efron & Morris, "Data analysis using Stein's estimator and its generalizations", JASA 70, 1975.
    """
    lengths = np.diff(content.indptr)
    liked = np.repeat(wanted > 0, lengths)
    values = np.repeat(wanted, lengths)[liked]
    features, shares = content.indices[liked], content.weights[liked].astype(np.float64)
    kinds = len(content.features)
    items, squares, totals = (np.bincount(features, weights=each, minlength=kinds) for each in (shares, shares**2, shares * values))
    mean, spread = wanted[wanted > 0].mean(), wanted[wanted > 0].var()
    means = np.divide(totals, items, out=np.full(kinds, mean), where=items > 0)
    by_chance = spread * np.divide(squares, items, out=np.zeros(kinds), where=items > 0).sum()
    apart = float((items * (means - mean) ** 2).sum() - by_chance)
    if apart <= 0:
        return np.full(kinds, mean)
    k = spread * items.sum() / apart
    return (items * means + k * mean) / (items + k)


@dataclass(frozen=True, slots=True, kw_only=True)
class Onboarding:
    """Scores items for somebody without events; made once for a version, safe to ask from several threads."""

    content: Content
    wanted: NDArray[np.float64]
    """Popularity with its prior, shape (n_items,)."""
    genres: Mapping[str, list[int]]
    """What may be liked by name: genres, case folded, with their features."""
    popularity: NDArray[np.floating | np.integer]
    """What `wanted` was made of."""
    expected: NDArray[np.float64]
    """How popular items of such content are, shape (n_items,)."""

    def scores(self, genres: Iterable[str] = (), items: Indices | None = None, taste: float = TASTE) -> Scores:
        """Scores of all items, shape (n_items,), at least 0; popularity when nothing is said.

        Args:
            genres: Genres that they named, in any case; one that no item has says nothing.
            items: Items that they said they like, which are scored as all others; shape (liked,).
            taste: How much more a perfect match is worth, as a power of e.
        """
        liked = np.empty(0, dtype=np.int32) if items is None else items
        near = similarity(self.content, profile_of(self.content, genres, liked, known=self.genres))
        return (self.wanted * np.exp(taste * near)).astype(np.float32)


def onboarding_of(content: Content, popularity: NDArray[np.floating | np.integer], before: Onboarding | None = None) -> Onboarding:
    """What answers people without events.

    Args:
        content: What is known of the items.
        popularity: How popular they are, shape (n_items,): `recent_popularity`, or counts.
        before: What answered until now, of the same content: genres and what content is worth are taken from it, for they change slowly.

    Raises:
        ValueError: there is no popularity for some items.
    """
    if popularity.shape != (len(content),):
        raise ValueError(f"popularity: shape {popularity.shape}; ({len(content)},) was expected, one for each item of the content")
    genres = genres_of(content) if before is None else before.genres
    expected = before.expected if before is not None and before.expected.any() else expected_of(popularity, content)
    wanted = _added(popularity, expected, content)
    return Onboarding(content=content, wanted=wanted, genres=genres, popularity=popularity, expected=expected)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    length = float(np.sqrt((vector * vector).sum()))
    return vector / length if length else vector
