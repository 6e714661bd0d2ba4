"""What an event says of a taste: one rule for training and for the answers of a second later."""

from typing import Literal

LEAST_FRACTION = 0.1
"""Less of an item watched than this says nothing of a taste."""
LEAST_RATING = 3.5
"""Stars from which a rating says that the user liked the item; lower ones are left out."""
MOST_RATING = 5.0

BOUNDS = {"watch": (LEAST_FRACTION, 1.0), "rate": (LEAST_RATING, MOST_RATING)}
"""By event type: the least that says that an item was liked, and the most there is."""


def strength(event_type: Literal["watch", "rate"], value: float) -> float:
    """How strongly an item was liked, at most 1: the fraction watched or the share of five stars; 0 when it was not liked."""
    least, most = BOUNDS[event_type]
    return min(value, most) / most if value >= least else 0.0
