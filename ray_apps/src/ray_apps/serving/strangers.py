"""Answers for somebody of whom no deed is known: by what they said they like, else by what is popular, with now and then something new.

What is tried out stands in the last place only, and its propensity is told, so that the log stays a fair judge (Li, Chu, Langford &
Schapire, "A contextual-bandit approach to personalized news article recommendation", WWW 2010, section 2).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ray_apps.algorithms.onboarding import TASTE, Onboarding, onboarding_of
from ray_apps.algorithms.recommender import Scores
from ray_apps.serving.beside import Beside
from ray_apps.serving.online.popularity import Worth
from ray_apps.serving.shelf import Shelf
from ray_apps.stores.content import Content
from recsys_schemas.events import Level, PreferenceEvent

LEAST_PLACES = 5
"""In shorter lists nothing is tried out: one place would be too much of them."""
TASTES: Mapping[Level, float] = {Level.BEGINNER: TASTE / 2, Level.REGULAR: TASTE, Level.EXPERT: 2 * TASTE}
"""How much more a perfect match is worth, as a power of e."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explored:
    """A list's last place when something may be tried out there."""

    place: int | None
    """What is tried out; None: what would stand there anyhow."""
    propensity: float
    """Of whatever stands there."""


def explored(beside: Beside, candidates: np.ndarray, shown: int) -> Explored:
    """Whether something is tried out in a list of so many, and how likely what stands there was.

    Args:
        beside: with the part of answers in which something is.
        candidates: places that may be tried out, none of which is in the list.
        shown: length of the list.
    """
    if shown < LEAST_PLACES or not candidates.size or not beside.exploration:
        return Explored(place=None, propensity=1.0)
    if beside.chance.random() >= beside.exploration:
        return Explored(place=None, propensity=1.0 - beside.exploration)
    return Explored(place=int(beside.chance.choice(candidates.tolist())), propensity=beside.exploration / candidates.size)


@dataclass(slots=True)
class Newcomers:
    """How an arm scores for somebody who said what they like; what does not change is kept."""

    content: Content | None
    kept: list[tuple[Worth, Onboarding]] = field(default_factory=list[tuple[Worth, Onboarding]])
    """What answers, and the popularity that it was made for."""

    def scores(self, shelf: Shelf, said: PreferenceEvent, worth: Worth) -> Scores | None:
        """Scores of the version's items by genres and items; None when the version knows nothing of what was said.

        Args:
            shelf: what the arm shows.
            said: the preferences.
            worth: how much each of the version's items is liked now.
        """
        items = np.array(sorted({place for item in said.items if (place := shelf.places.get(item)) is not None}), dtype=np.int32)
        if self.content is None:
            return None
        if not self.kept or self.kept[0][0] is not worth:
            self.kept[:] = [(worth, onboarding_of(self.content, worth, self.kept[0][1] if self.kept else None))]
        onboarding = self.kept[0][1]
        if not items.size and not any(genre.strip().casefold() in onboarding.genres for genre in said.genres):
            return None
        return onboarding.scores(said.genres, items, taste=TASTES[said.level])
