"""A list for somebody of whom no event is known: what they say they like, among what is liked these days.

score = (popularity + prior) * exp(taste * similarity), where similarity is the cosine of the item's features and of what was said. With
nothing said it is popularity, and an item that nobody has liked yet is as popular as items are on average, so that it can be found by
whoever likes its genre, and by nobody when nothing is known of it. Numpy alone: serving answers with it.

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


def with_prior(popularity: NDArray[np.floating] | NDArray[np.integer], content: Content) -> NDArray[np.float64]:
    """Popularity and the mean popularity on top of it, shape (n_items,); 0 for an item of which nothing at all is known."""
    known = np.diff(content.indptr) > 0
    wanted = popularity.astype(np.float64)
    return np.where(known | (wanted > 0), wanted + (wanted.mean() if wanted.size else 0.0), 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Onboarding:
    """Scores items for somebody without events; made once for a version, safe to ask from several threads."""

    content: Content
    wanted: NDArray[np.float64]
    """Popularity with its prior, shape (n_items,)."""
    genres: Mapping[str, list[int]]
    """What may be liked by name: genres, case folded, with their features."""
    popularity: NDArray[np.floating] | NDArray[np.integer]
    """What `wanted` was made of."""

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


def onboarding_of(
    content: Content, popularity: NDArray[np.floating] | NDArray[np.integer], genres: Mapping[str, list[int]] | None = None
) -> Onboarding:
    """What answers people without events.

    Args:
        content: What is known of the items.
        popularity: How popular they are, shape (n_items,): `recent_popularity`, or counts.
        genres: `genres_of(content)`, when it is at hand.

    Raises:
        ValueError: there is no popularity for some items.
    """
    if popularity.shape != (len(content),):
        raise ValueError(f"popularity: shape {popularity.shape}; ({len(content)},) was expected, one for each item of the content")
    known = genres_of(content) if genres is None else genres
    return Onboarding(content=content, wanted=with_prior(popularity, content), genres=known, popularity=popularity)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    length = float(np.sqrt((vector * vector).sum()))
    return vector / length if length else vector
