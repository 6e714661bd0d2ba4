"""A control against leaks: the same algorithm on the same part, with its items' labels exchanged at random, is asked the same questions.

What is learned from exchanged labels says nothing of the true ones, whatever the algorithm: asked for what was held out, an honest fit
finds no more of it than chance does. A fit that finds it all the same knows it from elsewhere than from what it was given: from a class's
memory, a file, a feature that was made of the future. It need not remember a single interaction to be told so.
"""

import numpy as np

from ray_apps.algorithms.interactions import Interactions
from ray_apps.evaluation.splits import Split

MOST_LEARNED = 100
"""Users that the control learns from: it is asked for nothing but to know nothing. Few, so that the little nonsense that it is given drowns
nothing of what it has from elsewhere: with 500 a fit that mixed both passed (ADR 48)."""


def scrambled(train: Interactions, seed: int) -> Interactions:
    """A training part of at most MOST_LEARNED users in which each item has another's label; content stays with the true labels."""
    chance = np.random.default_rng([seed, 1])
    users = train.active()
    if users.size > MOST_LEARNED:
        train = train.of_users(np.sort(chance.choice(users, size=MOST_LEARNED, replace=False)))
    items = chance.permutation(train.n_items).astype(np.int32)[train.items]
    order = np.lexsort((items, train.users))
    return Interactions(
        users=train.users[order],
        items=items[order],
        weights=train.weights[order],
        times=train.times[order],
        n_users=train.n_users,
        n_items=train.n_items,
        content=train.content,
    )


def leaks(split: Split) -> str | None:
    """What of the held-out part stands in the training part, in words; None when nothing does."""
    train = split.train
    for users, wanted in ((split.users, split.relevant), (split.newcomers, split.sought)):
        asked = np.repeat(users.astype(np.int64), np.diff(wanted.indptr)) * train.n_items + wanted.indices
        known = train.of_users(users)
        found = int(np.isin(asked, known.users.astype(np.int64) * train.n_items + known.items).sum())
        if found:
            return f"{found} of {asked.size} interactions that are asked for are among those that were learned from"
    return None
