"""People of whom training knows nothing, asked what they like: what a first visit would have told, and what is left to find.

Nobody was really asked. What a newcomer would have said is taken from the FIRST of the interactions that are held out, in time: their
genres, and themselves as the items that they like. Those interactions are then neither recommended nor counted as found, for every model
alike, so that nothing is told that is asked for afterwards. It flatters onboarding as far as people's words are vaguer than their deeds.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.interactions import Content, Histories, Indices, Interactions
from ray_apps.algorithms.onboarding import HALF_LIFE_DAYS, Onboarding, genres_liked, onboarding_of
from ray_apps.algorithms.recent_popularity import recent_popularity
from ray_apps.evaluation.ranking import NOTHING, best
from ray_apps.evaluation.splits import Split

TOLD = 5
"""So many of the first interactions of a newcomer speak for what they would have said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Onboarded:
    """Newcomers who said something and went on to like more: users ascending, shape (users,), and their rows."""

    users: Indices
    told: Histories
    """The items that speak for them."""
    sought: Histories
    """What they liked afterwards."""

    def lists(self, scores: NDArray[np.float32], user: int, k: int) -> Indices:
        """The k best items of one user, by their row here, without those that they named."""
        return best(scores, k, self.told.of(user)[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """Newcomers who were asked what they like, and what answers them: the same as in serving, whatever version serves."""

    asked: Onboarded
    onboarding: Onboarding

    def lists(self, k: int) -> Indices:
        """The k best items of each of them by the genres and items that they named, shape (users, k)."""
        rows = np.full((self.asked.users.size, k), NOTHING, dtype=np.int32)
        for user in range(self.asked.users.size):
            told = self.asked.told.of(user)[0]
            scores = self.onboarding.scores(genres_liked(self.onboarding.content, told), told)
            rows[user] = self.asked.lists(scores, user, k)
        return rows


def welcome_of(split: Split, interactions: Interactions) -> Welcome | None:
    """Who of a split's newcomers would have said what they like; None where nobody would, or nothing is known of the items."""
    content = split.train.content
    if content is None or not split.newcomers.size:
        return None
    asked = onboarded(split, interactions)
    if not asked.users.size:
        return None
    return Welcome(asked=asked, onboarding=onboarding_of(content, recent_popularity(split.train, HALF_LIFE_DAYS)))


def onboarded(split: Split, interactions: Interactions, first: int = TOLD) -> Onboarded:
    """The newcomers of a split with more than `first` held-out interactions, what they would have said, and what is left.

    Args:
        split: Whose `newcomers` have nothing in training.
        interactions: The whole, of which `split.held` says what was held out.
        first: How many speak for them; of the same moment those of the lower index.
    """
    newcomers = np.repeat(split.newcomers.astype(np.int64), np.diff(split.sought.indptr))
    sought = newcomers * interactions.n_items + split.sought.indices
    own = interactions.places_of(split.newcomers)
    pairs = interactions.users[own].astype(np.int64) * interactions.n_items + interactions.items[own]
    rows = own[split.held[own] & np.isin(pairs, sought)]
    rows = rows[np.lexsort((interactions.items[rows], interactions.times[rows], interactions.users[rows]))]
    users, starts, counts = np.unique(interactions.users[rows], return_index=True, return_counts=True)
    place = np.arange(rows.size) - np.repeat(starts, counts)
    enough = np.repeat(counts > first, counts)
    return Onboarded(
        users=users[counts > first].astype(np.int32),
        told=_rows_of(interactions, rows[enough & (place < first)]),
        sought=_rows_of(interactions, rows[enough & (place >= first)]),
    )


def answers(onboarding: Onboarding, content: Content, asked: Onboarded, *, items: bool) -> NDArray[np.float32]:
    """Onboarding's scores for each of them by the genres that they named, and by the items too if `items`; shape (users, n_items)."""
    rows = [asked.told.of(user)[0] for user in range(asked.users.size)]
    scores = [onboarding.scores(genres_liked(content, told), told if items else None) for told in rows]
    return np.stack(scores) if scores else np.empty((0, len(content)), dtype=np.float32)


def _rows_of(interactions: Interactions, rows: NDArray[np.int64]) -> Histories:
    """Some interactions as sparse rows of the users that have any, items ascending."""
    order = rows[np.lexsort((interactions.items[rows], interactions.users[rows]))]
    _, counts = np.unique(interactions.users[order], return_counts=True)
    indptr = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    return Histories(indptr=indptr, indices=interactions.items[order], weights=interactions.weights[order])
