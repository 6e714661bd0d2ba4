"""A part of the answers shows its best items in an order drawn by lot, so that the log tells of other models than the one that answered.

The chance of each item at each place is known exactly: with `share` the best `depth` items are permuted, each permutation as likely, so
that every one of them is at every one of these places with `share / depth`; else the order is the model's own. Pure but for the lot.
"""

import random
from collections.abc import Sequence

from recsys_schemas.serving_record import Shuffle

Item = tuple[str, float]
"""An item and its score."""
LOT = random.SystemRandom()
"""Nobody who asks can tell how it falls."""


def shuffled(ranked: Sequence[Item], k: int, shuffle: Shuffle, lot: random.Random) -> tuple[list[Item], list[float]]:
    """The k items that are shown, and how likely each was to be shown at its place.

    Args:
        ranked: The best items, best first: at least `depth` of them where there are so many.
        k: How many are shown at most.
        shuffle: In what part of the answers, and how deep.
        lot: Where chance comes from.
    """
    depth = min(shuffle.depth, len(ranked))
    order = list(range(len(ranked)))
    if depth > 1 and lot.random() < shuffle.share:
        order[:depth] = lot.sample(range(depth), depth)
    by_lot = shuffle.share / depth if depth > 1 else 0.0
    own = 1.0 - shuffle.share if depth > 1 else 1.0
    chances = [1.0 if place >= depth else by_lot + (own if order[place] == place else 0.0) for place in range(min(k, len(ranked)))]
    return [ranked[index] for index in order[:k]], chances
