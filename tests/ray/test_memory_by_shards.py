"""What a worker of a shared fit holds is bounded by its shard: four workers of four times the events need what one of the events needs.

Workers are processes of their own, so that the kernel says what each has held at most. They meet through pipes instead of Ray's object
store, whose pages would count for whoever maps them. The same is asked of a whole run, whose first worker splits, measures, fits baselines
and writes the version besides: what is as long as the events lies on its disk (ADR 52).
"""

import json
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ray_apps.algorithms import columns
from ray_apps.algorithms.columns import Room
from ray_apps.stores.objects import open_store
from ray_apps.stores.snapshots import Snapshot, open_snapshot
from ray_apps.training import events
from ray_apps.training.crew import Crew, Order, whole_shard
from ray_apps.training.dataset import read_dataset
from ray_apps.training.hands import Foreman, follow_orders
from ray_apps.training.job import run
from ray_apps.training.shards import Shard, read_catalogue, read_shard
from recsys_schemas.train_job import TrainJob
from recsys_schemas.version_card import VersionCard
from unit.ray_apps.training import planted

EVENTS = 1_600_000
USERS, ITEMS = 20_000, 5_000
BATCH = 50_000
DEADLINE_S = 240.0
VALUES = {"factors": 8.0, "iterations": 2.0, "regularization": 0.0055, "unobserved": 0.5, "exponent": 0.75, "damping": 0.25}


@dataclass(slots=True)
class Seat:
    """One worker's place: what it hands over goes to the test, which hands it round."""

    pipe: Connection
    rank: int
    workers: int

    def exchange(self, thing: Any) -> list[Any]:
        """All workers' things."""
        self.pipe.send(thing)
        return self.pipe.recv()

    def deal(self, things: Sequence[Any]) -> list[Any]:
        """What all have handed to this one."""
        return [theirs[self.rank] for theirs in self.exchange(list(things))]

    def gather(self, own: Mapping[int, NDArray[Any]]) -> list[NDArray[Any]]:
        """The blocks of all workers in order."""
        everyone = {number: block for blocks in self.exchange(dict(own)) for number, block in blocks.items()}
        return [everyone[number] for number in sorted(everyone)]


def held(name: str) -> int:
    """A line of this process' memory, bytes: VmRSS, or VmHWM, the most since it was last set back."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def shard_alone(snapshot: Snapshot, seat: Seat) -> Shard:
    """What ships."""
    return read_shard(snapshot, read_catalogue(snapshot, seat), seat)


def everything_first(snapshot: Snapshot, seat: Seat) -> Shard:
    """The broken twin: reads the whole data set, and keeps of it what is its own."""
    whole = whole_shard(read_dataset(snapshot).interactions)
    mine = shard_alone(snapshot, seat)
    return Shard(
        n_users=whole.n_users,
        n_items=whole.n_items,
        users={block: whole.users[block] for block in mine.users},
        items={block: whole.items[block] for block in mine.items},
    )


READ: Mapping[str, Callable[[Snapshot, Seat], Shard]] = {each.__name__: each for each in (shard_alone, everything_first)}


def work(uri: str, seat: Seat, read: str) -> None:
    """One worker: read, fit, and tell how much more memory it has held than before it saw any data."""
    events.BATCH_ROWS = BATCH  # a batch is no shard: at its usual size it would be all that is seen of so few events
    snapshot = open_snapshot(open_store(uri), 1)
    _warmed(snapshot)
    Path("/proc/self/clear_refs").write_text("5")
    before = held("VmRSS")
    crew = Crew(group=seat, shard=READ[read](snapshot, seat), report=lambda _: None, kept=None)  # pyright: ignore[reportArgumentType] — a Group in all that it does
    arrays = crew.work(Order(values=VALUES, seed=7))
    seat.exchange((held("VmHWM") - before, arrays["item_factors"].tobytes()))


def _warmed(snapshot: Snapshot) -> None:
    """Import what reading and solving import, and let pools grow to a batch: these are the same whatever the data."""
    import scipy.linalg  # noqa: F401, PLC0415  # pyright: ignore[reportUnusedImport]

    next(events.batches(snapshot))


@contextmanager
def watched() -> Generator[list[int]]:
    """The most memory of this process's own, bytes: pages of files are not, for the kernel takes them back when it needs them."""
    most, over = [held("RssAnon")], threading.Event()

    def look() -> None:
        while not over.wait(0.002):
            most[0] = max(most[0], held("RssAnon"))

    watching = threading.Thread(target=look, daemon=True)
    watching.start()
    try:
        yield most
    finally:
        over.set()
        watching.join()


class Seated(Foreman):
    """A worker whose checkpoints nobody keeps."""

    def crew(self, shard: Shard) -> Crew:
        """This worker with its shard."""
        return Crew(group=self.group, shard=shard, report=lambda _: None, kept=None)


def work_whole(uri: str, seat: Seat, where: str) -> None:
    """One worker of a whole run: the first makes the version. Tells how much more memory it took than a small run leaves, and the card."""
    events.BATCH_ROWS = columns.PIECE = BATCH
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        run(asked(planted.snapshot(Path(folder), {"watch": planted.tastes()})))
        _warmed(open_snapshot(open_store(uri), 1))
        hands = Seated(job=asked(uri), board=None, rank=seat.rank, workers=seat.workers, _group=seat)  # pyright: ignore[reportArgumentType] — as above
        before, card = held("RssAnon"), None
        with watched() as most:
            if seat.rank:
                follow_orders(hands)
            else:
                card = run(hands.job, crew=hands.lead, room=Room(Path(folder)) if where == "on disk" else None)
                hands.dismiss()
        seat.exchange((most[0] - before, b"" if card is None else told(card)))


def asked(uri: str) -> TrainJob:
    """A job whose baselines come from counts. Its version is named by how it is made, for versions are never made twice."""
    hyperparameters = {name: value for name, value in VALUES.items() if name != "damping"}
    job = planted.job(uri, algorithm="IALS", baselines=["Popularity", "RecentPopularity"], hyperparameters=hyperparameters)
    return job.model_copy(update={"version": f"movies-{time.time_ns():019d}"})


def told(card: VersionCard) -> bytes:
    """The digest of a version's files and all that was measured, but for the clock's."""
    clocked = {"train_seconds", "inference_ms_per_user"}
    return json.dumps([card.digest, *(each.model_dump(mode="json", exclude=clocked) for each in card.evaluations)]).encode()


def measured(uri: str, workers: int, how: str = "shard_alone") -> tuple[int, bytes]:
    """The most memory that any of so many workers took for the data, bytes, and the model's, or what is told of the version."""
    spawn = multiprocessing.get_context("spawn")
    pipes = [spawn.Pipe() for _ in range(workers)]
    target = work if how in READ else work_whole
    crew = [spawn.Process(target=target, args=(uri, Seat(far, rank, workers), how)) for rank, (_, far) in enumerate(pipes)]
    for each in crew:
        each.start()
    try:
        given: list[Any] = []
        while not (given and isinstance(given[0], tuple)):
            given = [_received(near) for near, _ in pipes]
            for near, _ in pipes:
                near.send(given)
    finally:
        for each in crew:
            each.join(10)
            each.kill()
    return max(grown for grown, _ in given), given[0][1]


def _received(pipe: Connection) -> Any:
    assert pipe.poll(DEADLINE_S), "a worker has nothing to say"
    return pipe.recv()


def snapshot_of(folder: Path, rows: int) -> str:
    """Watches of the same users and items: the more events, the longer the histories."""
    uri = planted.snapshot(folder, {"watch": next(_drawn(BATCH)).slice(0, 0)})
    files = list(_drawn(rows))
    for file in files:
        write_deltalake(folder / "watch", file, mode="append")
    manifest = folder / "manifests" / "000000000001.json"
    told = manifest.read_text().replace('"version":0', f'"version":{len(files)}')
    manifest.write_text(told.replace('"rows":0', f'"rows":{rows}'))
    return uri


def _drawn(rows: int) -> Iterator[pa.Table]:
    users, items = (pa.array([f"{kind}{number:05d}" for number in range(count)]) for kind, count in (("u", USERS), ("i", ITEMS)))
    for start in range(0, rows, EVENTS // 8):
        chance, count = np.random.default_rng(start), min(EVENTS // 8, rows - start)
        yield pa.table(
            {
                "user_id": users.take(pa.array(chance.integers(USERS, size=count))),
                "item_id": items.take(pa.array(chance.integers(ITEMS, size=count))),
                "timestamp": pa.array(1_700_000_000_000 + start + np.arange(count)),
                "fraction": pa.array(chance.uniform(0.3, 1.0, size=count)),
            }
        )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The events, and four times as many."""
    small, large = (snapshot_of(tmp_path_factory.mktemp(f"of-{times}"), times * EVENTS) for times in (1, 4))
    return small, large


def test_a_worker_holds_its_shard_however_large_the_data_set_and_one_that_reads_it_all_is_caught(folders: tuple[str, str]):
    small, large = folders
    one, _ = measured(small, 1)
    four, made_by_four = measured(large, 4)
    alone, made_alone = measured(large, 1)
    twin, _ = measured(large, 4, "everything_first")
    figures = {"one of few": one, "four of many": four, "one of many": alone, "twin": twin}
    told = ", ".join(f"{name}: {grown / 1e6:.0f} MB" for name, grown in figures.items())
    assert made_by_four == made_alone, "the same bytes"
    assert four < 1.6 * one, told
    assert alone > 1.5 * four, told
    assert twin > 2.5 * one, told


def test_the_first_worker_of_a_whole_run_holds_no_more_and_one_with_the_events_in_memory_is_caught(folders: tuple[str, str]):
    small, large = folders
    one, _ = measured(small, 1, "in memory")
    four, told_by_four = measured(large, 4, "on disk")
    two, told_by_two = measured(large, 2, "on disk")
    alone, told_alone = measured(large, 1, "in memory")
    twin, _ = measured(large, 4, "in memory")
    figures = {"one of few": one, "four of many": four, "two of many": two, "one of many": alone, "twin": twin}
    words = ", ".join(f"{name}: {grown / 1e6:.0f} MB" for name, grown in figures.items())
    assert told_by_four == told_by_two == told_alone, "the same files, and the same bytes of metrics"
    assert four < one, words
    assert twin > 2 * four, words
