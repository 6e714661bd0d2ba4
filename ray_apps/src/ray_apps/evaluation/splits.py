"""Which interactions are held out, and for whom: by time, because a model is asked about the future.

What followed an answer of ours is learned from but never measured on: the user saw what the model of that day had chosen, so it would
speak for that model and for those that are like it. Only organic interactions, which nobody prompted, are a test.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.columns import nth_greatest, pieces
from ray_apps.algorithms.interactions import Histories, Indices, Interactions

HELD_OUT = 0.1
"""Share of the newest interactions that training does not see."""
LEAST_USERS_OF_A_CUT = 200
"""With fewer users to measure on than this, one moment for all is given up for each user's own newest interactions."""
MOST_USERS = 2_000
"""More users are not measured: a seeded sample of so many is."""

_NEVER = np.iinfo(np.int64).max


def _nobody() -> Indices:
    return np.empty(0, dtype=np.int32)


def _nothing() -> Histories:
    return Histories(indptr=np.zeros(1, dtype=np.int64), indices=_nobody(), weights=np.empty(0, dtype=np.float32))


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Training interactions, and what the users measured went on to like.

    `held` says of each interaction of the whole whether it is kept from training.
    `users` are rows of the catalogue, ascending, shape (measured,); row u of `relevant` holds the items, new to that user, that
    they liked in the held-out part.
    `newcomers` and `sought` say the same of users with nothing in training: nobody's history helps there, so they are measured apart.
    """

    held: NDArray[np.bool_]
    train: Interactions
    users: Indices
    relevant: Histories
    words: str
    newcomers: Indices = field(default_factory=_nobody)
    sought: Histories = field(default_factory=_nothing)
    one_moment: bool = False
    """Whether everything held out is newer than everything in training."""
    shown: Histories | None = None
    """What a model is told of each user measured; None: what they have in training, older likes less."""

    def histories(self) -> Histories:
        """What a model is told of each user measured, in the order of `users`."""
        return self.train.told().select(self.users) if self.shown is None else self.shown


def by_time(interactions: Interactions, seed: int, organic: NDArray[np.bool_] | None = None) -> Split:
    """Hold out the newest interactions: after one moment for all users, or of each user when that leaves too few to measure.

    The first is the honest one: nothing of the future is known in training. The second knows what *other* users did later, as
    leave-one-out does, and is taken only when most users come and go within a short time. A user is measured when they have at least
    one interaction in training and at least one new item held out.

    Args:
        interactions: Everything known.
        seed: Draws the sample when more than MOST_USERS users could be measured.
        organic: Which of them may be measured on, shape (interactions,); by default all.

    Returns:
        The split; it has no users when there is too little data to measure anything.
    """
    fit = np.ones(len(interactions), dtype=np.bool_) if organic is None else organic
    left_out = "" if fit.all() else ", less those that followed an answer"
    held = _newest(interactions, fit, int(np.ceil(HELD_OUT * np.count_nonzero(fit))))
    words = f"the newest {HELD_OUT:.0%} of interactions, after one moment for all users{left_out}"
    split = split_at(interactions, held, words, fit, seed)
    if split.users.size >= LEAST_USERS_OF_A_CUT:
        return split
    words = f"the newest {HELD_OUT:.0%} (at least one) of each user's interactions{left_out}"
    own = split_at(interactions, _newest_of_each(interactions), words, fit, seed)
    return own if own.users.size > split.users.size else split


def since(interactions: Interactions, seen: NDArray[np.bool_], seed: int, organic: NDArray[np.bool_] | None = None) -> Split:
    """Hold out the newest of what another model has not seen, at most half of it: the rest of the news is for learning.

    Whoever learns from the training part knows all that the other model knew and something newer, and neither knows what is held out.

    Args:
        interactions: Everything known.
        seen: Which of them the other model learned from, shape (interactions,).
        seed: Draws the sample when more than MOST_USERS users could be measured.
        organic: As in `by_time`.
    """
    fit = np.ones(len(interactions), dtype=np.bool_) if organic is None else organic
    news = interactions.made(np.bool_, lambda part: fit[part] & ~seen[part])
    newest = min(int(np.ceil(HELD_OUT * np.count_nonzero(fit))), (int(np.count_nonzero(news)) + 1) // 2)
    late = _newest(interactions, news, newest)
    held = interactions.made(np.bool_, lambda part: late[part] & ~seen[part])
    return split_at(interactions, held, "the newest of what the champion has not seen", fit, seed)


def _newest(interactions: Interactions, fit: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """Everything from the moment on that leaves `count` of those that are `fit` (more when some share that moment)."""
    if not count:
        return np.zeros(len(interactions), dtype=np.bool_)
    moment = nth_greatest(interactions.times, count, fit)
    return interactions.made(np.bool_, lambda part: interactions.times[part] >= moment)


def _newest_of_each(interactions: Interactions) -> NDArray[np.bool_]:
    """Users with one interaction keep it in training."""

    def newest(asked: slice, entries: slice) -> NDArray[np.bool_]:
        counts = np.bincount(interactions.users[entries] - asked.start, minlength=asked.stop - asked.start)
        kept = counts - np.minimum(np.maximum(1, np.floor(HELD_OUT * counts)), counts - 1)
        order = interactions.in_order_of_time(entries)
        held = np.empty(order.size, dtype=np.bool_)
        held[order] = np.arange(order.size) >= np.repeat(np.cumsum(counts) - counts + kept, counts)
        return held

    return interactions.made_by_user(np.bool_, newest)


def split_at(
    interactions: Interactions, held: NDArray[np.bool_], words: str, fit: NDArray[np.bool_] | None = None, seed: int | None = None
) -> Split:
    """Hold out given interactions, and measure everybody who has some held out.

    Args:
        interactions: Everything known.
        held: Which are kept from training, shape (interactions,).
        words: How they were chosen.
        fit: Which of them may be measured on; by default all.
        seed: Draws MOST_USERS of those users, and of the newcomers, when there are more; None: all are measured.
    """
    train = interactions.take(interactions.made(np.bool_, lambda part: ~held[part]))
    test = interactions.take(held if fit is None else interactions.made(np.bool_, lambda part: held[part] & fit[part]))
    # One entry for each (user, item) over the whole, so an item held out is never one of the user's in training.
    asked, known = test.active(), train.active()
    everyone, fresh = np.intersect1d(asked, known).astype(np.int32), np.setdiff1d(asked, known).astype(np.int32)
    users, newcomers = _drawn(everyone, seed), _drawn(fresh, seed)
    drawn = f"; {users.size} of {everyone.size} users drawn by seed {seed}" if users.size < everyone.size else ""
    liked = test.histories()
    first_held = min((interactions.times[part].min(initial=_NEVER, where=held[part]) for part in pieces(held.size)), default=_NEVER)
    return Split(
        held=held,
        one_moment=bool(train.times.max(initial=0) < first_held),
        train=train,
        users=users,
        relevant=liked.select(users),
        words=words + drawn,
        newcomers=newcomers,
        sought=liked.select(newcomers),
    )


def _drawn(users: Indices, seed: int | None) -> Indices:
    """At most MOST_USERS of them, drawn by the seed, ascending."""
    if seed is None or users.size <= MOST_USERS:
        return users
    return users[np.sort(np.random.default_rng(seed).choice(users.size, size=MOST_USERS, replace=False))]
