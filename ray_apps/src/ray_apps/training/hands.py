"""One worker of a Ray Train run: how it joins the others, reads its shard when there is work to share, and takes orders."""

import logging
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ray_apps.algorithms.interactions import Interactions
from ray_apps.algorithms.recommender import Arrays, Fitting
from ray_apps.stores.objects import open_store
from ray_apps.stores.snapshots import open_snapshot
from ray_apps.training.board import Group
from ray_apps.training.crew import Crew, Order, whole_shard
from ray_apps.training.dataset import Dataset
from ray_apps.training.events import Catalogue
from ray_apps.training.logs import log_json
from ray_apps.training.refusals import TrainingRefused
from ray_apps.training.shards import Shard, chosen_bits, read_shard
from recsys_schemas.train_job import TrainJob

COMMIT_S = 60.0
"""A checkpoint that Ray Train has not noted by then is not waited for: the fit goes on."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Foreman:
    """A worker's place in the run. The first one leads."""

    job: TrainJob
    board: Any
    rank: int
    workers: int
    kept: Path | None = None
    _group: Group | None = None

    @contextmanager
    def at_work(self) -> Generator[None]:
        """Join the others of this attempt and have what the last attempt kept at hand; one thread, for the bytes' sake."""
        from ray.train.collective import broadcast_from_rank_zero  # noqa: PLC0415

        import ray  # noqa: PLC0415 — seconds to import: a finished version needs none
        from ray import train  # noqa: PLC0415

        log_json()
        begun: dict[str, int] | None = broadcast_from_rank_zero({"attempt": ray.get(self.board.begin.remote())} if self.rank == 0 else None)
        attempt = begun["attempt"] if begun else 0
        self._group = Group(board=self.board, attempt=attempt, rank=self.rank, workers=self.workers)
        kept = train.get_checkpoint()
        place = {"version": self.job.version, "rank": self.rank, "workers": self.workers, "attempt": attempt, "pid": os.getpid()}
        logger.info("WorkerStarted", extra=place | {"goes_on": kept is not None})
        with threadpool_limits(1):
            if kept is None:
                yield
                return
            with kept.as_directory() as folder:
                self.kept = Path(folder)
                yield

    @property
    def group(self) -> Group:
        """The others, once this worker is `at_work`."""
        assert self._group is not None
        return self._group

    def crew(self, shard: Shard) -> Crew:
        """This worker with its shard."""
        return Crew(group=self.group, shard=shard, report=_report, kept=self.kept)

    def lead(self, dataset: Dataset) -> "Leader":
        """The first worker's end of the crew: the others read their shards when the first fit is shared, not before."""
        return Leader(hands=self, dataset=dataset)

    def refuse(self, refused: TrainingRefused) -> None:
        """Leave on the board why no version can be made."""
        import ray  # noqa: PLC0415 — as above

        ray.get(self.board.refuse.remote(int(refused.refusal), refused.message))

    def dismiss(self) -> None:
        """No more fits: the others may go."""
        self.group.exchange(None)


@dataclass(slots=True)
class Leader:
    """What `Fitting.crew` is in the first worker."""

    hands: Foreman
    dataset: Dataset
    _crew: Crew | None = None

    def factorise(
        self,
        interactions: Interactions,
        values: Mapping[str, float],
        seed: int,
        fitting: Fitting,
        start: NDArray[np.float32] | None,
    ) -> Arrays:
        """Fit a part of the run's data set together with the others."""
        crew = self._crew = self._crew or self._assembled()
        whole = self.dataset.interactions
        bits = (None, None) if len(interactions) == len(whole) else chosen_bits(whole, interactions)
        order = Order(values=dict(values), seed=seed, start=start, user_bits=bits[0], item_bits=bits[1])
        self.hands.group.exchange(order)
        return crew.work(order, fitting)

    def _assembled(self) -> Crew:
        if self.hands.workers == 1:
            return self.hands.crew(whole_shard(self.dataset.interactions))
        ids = (pa.array(each, pa.large_string()) for each in (self.dataset.user_ids, self.dataset.item_ids))
        catalogue = Catalogue(*ids)
        self.hands.group.exchange(catalogue)
        return self.hands.crew(_read(self.hands, catalogue))


def follow_orders(hands: Foreman) -> None:
    """What all workers but the first do: read their shard and fit what the first asks for, until it dismisses them."""
    catalogue = hands.group.exchange(None)[0]
    if catalogue is None:
        return
    crew = hands.crew(_read(hands, catalogue))
    while (order := hands.group.exchange(None)[0]) is not None:
        crew.work(order)


def _read(hands: Foreman, catalogue: Catalogue) -> Shard:
    snapshot = open_snapshot(open_store(hands.job.storage_uri), hands.job.snapshot_sequence)
    return read_shard(snapshot, catalogue, hands.group)


def _report(folder: Path) -> None:
    """Hand a checkpoint over, and go on when the run knows of it: a report alone is heard some epochs later when epochs are short."""
    from ray import train  # noqa: PLC0415 — as above

    train.report({}, checkpoint=train.Checkpoint.from_directory(folder))
    train.get_all_reported_checkpoints(consistency_mode=train.CheckpointConsistencyMode.COMMITTED, timeout_s=COMMIT_S)
