"""What a list is like beside being right: how new, how popular, how varied, and how true to all that its user likes."""

import math

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.interactions import Content, Histories, Indices, Interactions
from ray_apps.evaluation.ranking import NOTHING, Value

GENRE = "genre:"
"""Features whose shares calibration looks at begin so."""
SMOOTHING = 0.01
"""Steck's alpha: so much of the history's shares is mixed into the list's, which keeps the divergence finite."""


def novelty(lists: Indices, train: Interactions) -> Value:
    """Mean self-information of the items of a list, in bits: -log2 of the share of training users that liked the item.

    An item that nobody liked counts as liked by one. A list without items has 0.

    Source: Zhou et al., "Solving the apparent diversity-accuracy dilemma of recommender systems", PNAS 107(10), 2010.
    """
    users = max(_known_users(train), 1)
    bits = -np.log2(np.maximum(train.popularity(), 1) / users)
    return Value(per_user=_mean_of(bits, lists), lowest=0.0, highest=max(math.log2(users), 1.0))


def popularity_bias(lists: Indices, train: Interactions) -> Value:
    """ARP, average recommendation popularity, as a share: of the training users, how many liked an item of the list, on average.

    Source: Yin et al., "Challenging the long tail recommendation", VLDB 5(9), 2012; theirs is a count, ours is divided by the users.
    """
    return Value(per_user=_mean_of(train.popularity() / max(_known_users(train), 1), lists))


def diversity(lists: Indices, content: Content) -> Value:
    """Intra-list distance: 1 less the cosine of two items' content, the mean over all pairs of a list.

    Items of which nothing is known are left out; a list with fewer than two others has 0.

    Source: Ziegler et al., "Improving recommendation lists through topic diversification", WWW 2005.
    """
    owners, items = _entries(lists)
    at, features, weights = _expanded(content, items)
    places, which = np.unique(owners[at] * len(content.features) + features, return_inverse=True)
    together = np.bincount(which, weights=weights, minlength=places.size)
    users = lists.shape[0]
    of_sum = np.bincount(places // max(len(content.features), 1), weights=together**2, minlength=users)
    alone = np.bincount(owners[at], weights=weights**2, minlength=users)
    count = np.bincount(owners[np.unique(at)], minlength=users)
    pairs = count * (count - 1)
    # |a + b + …|² is the sum of all products: what is not an item with itself is twice the pairs.
    distance = 1 - (of_sum - alone) / np.maximum(pairs, 1)
    return Value(per_user=np.where(pairs > 0, np.clip(distance, 0.0, 1.0), 0.0))


def genres_of(content: Content | None) -> NDArray[np.int64]:
    """Which features are genres: positions in `content.features`, ascending."""
    names = content.features if content else ()
    return np.array([place for place, name in enumerate(names) if name.startswith(GENRE)], dtype=np.int64)


def calibration(lists: Indices, histories: Histories, content: Content) -> Value:
    """How far a list's shares of genres are from those of the history: the Kullback-Leibler divergence, in nats; 0 is perfect.

    An item's genres share it equally. A history's items count by their weight. Users whose history has no genre are left out, so the
    value has fewer users than the lists; a list without genres is as far off as possible, ln(1 / SMOOTHING).

    Args:
        lists: Shape (users, k).
        histories: What the same users liked in training.
        content: With features that begin with GENRE.

    Source: Steck, "Calibrated recommendations", RecSys 2018, formulas 2, 3 and 5.
    """
    users = lists.shape[0]
    owners = np.repeat(np.arange(users), np.diff(histories.indptr))
    wanted = _shares(content, owners, histories.indices, histories.weights.astype(np.float64), users)
    listed, items = _entries(lists)
    shown = _shares(content, listed, items, np.ones(items.size), users)
    known = wanted.sum(axis=1) > 0
    p, q = wanted[known], (1 - SMOOTHING) * shown[known] + SMOOTHING * wanted[known]
    ratio = np.divide(p, q, out=np.ones_like(p), where=p > 0)
    divergence = (p * np.log(ratio)).sum(axis=1)
    return Value(per_user=np.maximum(divergence, 0.0), lowest=0.0, highest=-math.log(SMOOTHING))


def _known_users(train: Interactions) -> int:
    return train.active().size


def _entries(lists: Indices) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and item of each place that holds one."""
    rows, places = np.nonzero(lists != NOTHING)
    return rows, lists[rows, places].astype(np.int64)


def _mean_of(of_item: NDArray[np.floating], lists: Indices) -> NDArray[np.float64]:
    """Mean of an item's number over each list, 0 for a list without items."""
    filled = lists != NOTHING
    numbers = np.where(filled, of_item[np.where(filled, lists, 0)] if of_item.size else 0.0, 0.0)
    return np.asarray(numbers.sum(axis=1) / np.maximum(filled.sum(axis=1), 1), dtype=np.float64)


def _expanded(content: Content, items: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Every feature of every item: the place in `items`, the feature and its weight."""
    lengths = content.indptr[items + 1] - content.indptr[items]
    ends = np.cumsum(lengths)
    at = np.repeat(np.arange(items.size), lengths)
    flat = np.arange(at.size) - (ends - lengths)[at] + content.indptr[items][at]
    return at, content.indices[flat].astype(np.int64), content.weights[flat].astype(np.float64)


def _shares(
    content: Content,
    owners: NDArray[np.int64],
    items: NDArray[np.integer],
    weights: NDArray[np.float64],
    users: int,
) -> NDArray[np.float64]:
    """Shares of genres for each user, shape (users, genres); rows add up to 1, or to 0 where no item has a genre."""
    genres = genres_of(content)
    place = np.full(len(content.features), -1, dtype=np.int64)
    place[genres] = np.arange(genres.size)
    at, features, _ = _expanded(content, items)
    is_genre = place[features] >= 0
    at, column = at[is_genre], place[features[is_genre]]
    count = np.bincount(at, minlength=items.size)
    flat = np.bincount(owners[at] * genres.size + column, weights=weights[at] / count[at], minlength=users * genres.size)
    totals = flat.reshape(users, genres.size)
    return totals / np.where(totals.sum(axis=1, keepdims=True) > 0, totals.sum(axis=1, keepdims=True), 1.0)
