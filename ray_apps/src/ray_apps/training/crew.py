"""Workers that share each fit of a run: the first says what to fit, all fit their own blocks, and each epoch is kept.

The first worker does everything else of a run, so it has the whole data set (compactly); the others have their shards alone.
"""

import logging
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ray_apps.algorithms.ials import IALS, planned
from ray_apps.algorithms.ials_blocks import Progress, Side, beginning, count_of_blocks, interleaved, learn, sides
from ray_apps.algorithms.ials_rows import Factors
from ray_apps.algorithms.interactions import Histories, Interactions
from ray_apps.algorithms.recommender import ALONE, Arrays, Fitting
from ray_apps.training import keeping
from ray_apps.training.board import Group
from ray_apps.training.keeping import KeptRefusedError, Mark
from ray_apps.training.shards import Bits, Shard, narrowed

logger = logging.getLogger(__name__)

Report = Callable[[Path], None]
"""Hands a folder over to Ray Train as a checkpoint; all workers call it equally often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One fit, as the first worker asks for it. `user_bits` and `item_bits` say by block which entries to learn from; None: all."""

    values: Mapping[str, float]
    seed: int
    start: Factors | None = None
    user_bits: list[Bits] | None = None
    item_bits: list[Bits] | None = None


@dataclass(slots=True)
class Crew:
    """One worker of the run, with its shard and what was kept before."""

    group: Group
    shard: Shard
    report: Report
    kept: Path | None
    """Folder of the checkpoint that this attempt goes on from."""
    _ended: dict[int, tuple[Mark, Mapping[int, Factors]]] = field(default_factory=dict[int, tuple[Mark, Mapping[int, Factors]]])
    _fits: int = 0

    def work(self, order: Order, fitting: Fitting = ALONE) -> Arrays:
        """Do one fit together with the others; return the arrays of the model."""
        fit, self._fits = self._fits, self._fits + 1
        users = self._side(self.shard.users, self.shard.n_users, order.user_bits)
        items = self._side(self.shard.items, self.shard.n_items, order.item_bits)
        mark = keeping.fingerprint(order.values, order.seed, (users, items), order.start)
        plan = replace(planned(order.values, (users, items), order.seed, fitting), keep=lambda progress: self._keep(fit, mark, progress))
        begun = self._resumed(fit, mark, items, plan.factors) or beginning(items, plan, order.start)
        started = time.perf_counter()
        factors, spectrum = learn(users, items, plan, begun, self.group)
        logger.info(
            "FitEnded",
            extra={
                "rank": self.group.rank,
                "fit": fit,
                "resumed_at": begun.epochs,
                "epochs": plan.epochs,
                "seconds": round(time.perf_counter() - started, 3),
            },
        )
        return IALS(factors, spectrum, plan.loss, plan.trust).arrays()

    def _side(self, own: Mapping[int, Histories], rows: int, bits: list[Bits] | None) -> Side:
        narrow = own if bits is None else {block: narrowed(entries, bits[block]) for block, entries in own.items()}
        lengths = interleaved(self.group.gather({block: np.diff(entries.indptr) for block, entries in narrow.items()}))
        assert lengths.size == rows
        return Side(lengths=lengths, blocks=count_of_blocks(rows), own=narrow)

    def _resumed(self, fit: int, mark: str, items: Side, factors: int) -> Progress | None:
        """What was kept of this fit, if every worker finds its part of it: else all begin anew."""
        found = None
        if self.kept is not None:
            try:
                found = keeping.read(self.kept, fit, mark, items, factors)
            except KeptRefusedError as error:
                logger.warning("CheckpointRefused", extra={"rank": self.group.rank, "fit": fit, "error": str(error)})
        everyone = set(self.group.exchange(found.epochs if found else 0))
        if len(everyone) > 1 or found is None:
            return None
        self._ended[fit] = (Mark(fingerprint=mark, epochs=found.epochs), found.items)
        return found

    def _keep(self, fit: int, mark: str, progress: Progress) -> None:
        self._ended[fit] = (Mark(fingerprint=mark, epochs=progress.epochs), progress.items)
        with tempfile.TemporaryDirectory(prefix="kept-") as folder:
            for each, (its, items) in self._ended.items():
                keeping.write(Path(folder), each, its, items)
            self.report(Path(folder))


def whole_shard(interactions: Interactions) -> Shard:
    """The shard of a worker that is alone and has everything in memory already."""
    users, items = sides(interactions)
    return Shard(n_users=interactions.n_users, n_items=interactions.n_items, users=users.own, items=items.own)
