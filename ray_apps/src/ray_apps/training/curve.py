"""The training curve: how well a fit knows what it learns, and what is held out, as its steps go by. Nothing is decided by it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ray_apps.algorithms.recommender import Recommender
from ray_apps.evaluation.quiz import Quiz, held_out_score, learnt_score, quiz_of
from ray_apps.evaluation.splits import Split
from recsys_schemas.version_card import CurvePoint

MOST_POINTS = 12
"""Of a curve: a fit with more steps is looked at after some of them, the last one always."""
MOST_USERS = 100
"""Who is asked after each of these, each twice."""


@dataclass(slots=True)
class Curve:
    """Looks at a fit while it goes on (see `Fitting.show`), always by the same users, and keeps the time that this took apart."""

    quiz: Quiz
    points: list[CurvePoint] = field(default_factory=list[CurvePoint])
    seconds: float = 0.0

    def look(self, done: int, of: int, model: Callable[[], Recommender]) -> None:
        """Called after each step; looks after the first, the last, and some evenly between."""
        others = MOST_POINTS - 1
        if not len(self.quiz) or (done > 1 and done * others // of == (done - 1) * others // of):
            return
        began = time.perf_counter()
        score = model().scores_many
        learnt, held_out = learnt_score(score, self.quiz).mean, held_out_score(score, self.quiz).mean
        self.points.append(CurvePoint(step=done, learnt=learnt, held_out=held_out))
        self.seconds += time.perf_counter() - began


def curve_of(split: Split, seed: int) -> Curve:
    """A curve on some of a split's users."""
    return Curve(quiz=quiz_of(split, seed, MOST_USERS))
