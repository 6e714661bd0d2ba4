"""Learning from a window of time without forgetting what came before it: all of the window, and a seeded sample of what is older.

Snapshots are whole (until retention removes them), so nothing needs to be kept for a replay: the older interactions are there, and
`replay_fraction` of them is learned from again. Each is drawn by itself from the seed, whatever else the snapshot holds, so that the
same one is in or out again in the next run while its user and item keep their places.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.interactions import Interactions

DAY_MS = 86_400_000

_UINT64 = (1 << 64) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """How far back a fit looks. The defaults look at everything."""

    window_days: int | None = None
    replay_fraction: float = 0.0
    """Of what is older than the window, from 0 (forgotten) to 1 (all of it)."""

    def of(self, interactions: Interactions, seed: int) -> Interactions:
        """What is learned from: the same catalogue, and of the entries those that are remembered."""
        if self.window_days is None or not len(interactions):
            return interactions
        since = interactions.times.max() - self.window_days * DAY_MS

        def remembered(part: slice) -> NDArray[np.bool_]:
            return (interactions.times[part] > since) | (_drawn(interactions, part, seed) < self.replay_fraction)

        return interactions.take(interactions.made(np.bool_, remembered))


WHOLE = Memory()
"""Everything is learned from."""


def _drawn(interactions: Interactions, part: slice, seed: int) -> NDArray[np.float64]:
    """A number from 0 to 1 for each entry of a part, by its user, item and the seed alone."""
    keys = interactions.users[part].astype(np.uint64) * np.uint64(interactions.n_items) + interactions.items[part].astype(np.uint64)
    return _mixed(keys + np.uint64((seed * 0x9E3779B97F4A7C15) & _UINT64)) / 2.0**64


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finisher (Steele, Lea & Flood, OOPSLA 2014): neighbours become strangers."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
