"""What a session does with what it reads: where it begins, and where its batches go."""

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from confluent_kafka import Consumer

from ray_apps.ingest.batches import Batch
from ray_apps.ingest.dead_letters import DeadLetters, consumer_name
from ray_apps.ingest.files import write_batch
from ray_apps.ingest.grounds import Grounds, grounds_at
from ray_apps.ingest.publishing import Committed, Publisher, claim_all, event_types
from ray_apps.ingest.reading import Reader
from ray_apps.ingest.registry import settle_all
from ray_apps.stores.objects import Store, open_store
from ray_apps.stores.snapshots import TopicPartition
from recsys_schemas.train_job import IngestJob

Log = Callable[..., None]


class Target(Protocol):
    """Where batches go."""

    @property
    def positions(self) -> Mapping[TopicPartition, int]:
        """The next offset to read of each partition that is known."""
        ...

    @property
    def grounds(self) -> Grounds:
        """What records from there on are judged by."""
        ...

    def publish(self, batch: Batch, event_types: Mapping[str, str], on_commit: Callable[[Committed], None]) -> None:
        """Make a batch visible; returns when it is."""
        ...

    def renew(self) -> None:
        """Called now and then while there is nothing to publish."""
        ...


class Work(Protocol):
    """What a session is for."""

    def begin(self, consumer: Consumer, cluster_id: str, going_on: Callable[[], bool]) -> tuple[Target, Reader]:
        """Begin, or begin again: from the tables."""
        ...


class Alone:
    """Reads every partition, and is the tables' one writer."""

    def __init__(self, job: IngestJob, log: Log, held: dict[str, int]) -> None:
        """`held`: this process's last claims of the tables, kept from session to session (see `claim_all`)."""
        self._job = job
        self._log = log
        self._held = held

    def begin(self, consumer: Consumer, cluster_id: str, going_on: Callable[[], bool]) -> tuple[Target, Reader]:
        """Claim the tables and read on from where they end."""
        store = open_store(self._job.storage_uri)
        publisher = open_publisher(store, self._job, cluster_id, held=self._held, going_on=going_on, log=self._log)
        grounds = grounds_at(store, self._job, publisher.positions, publisher.put_aside)
        return WritesAndPublishes(store, publisher, grounds), Reader(consumer, list(event_types(self._job)), self._log)


class WritesAndPublishes:
    """A batch's files are written and published by the same process."""

    def __init__(self, store: Store, publisher: Publisher, grounds: Grounds) -> None:
        self.grounds = grounds
        self._store = store
        self._publisher = publisher

    @property
    def positions(self) -> Mapping[TopicPartition, int]:
        """What the tables cover."""
        return self._publisher.positions

    def publish(self, batch: Batch, event_types: Mapping[str, str], on_commit: Callable[[Committed], None]) -> None:
        """Write, then publish."""
        self._publisher.publish(write_batch(self._store, batch, time.time()), event_types, on_commit)

    def renew(self) -> None:
        """Look whether the tables are still ours."""
        self._publisher.renew_latest()


def open_publisher(  # noqa: PLR0913 (what every writer of tables needs)
    store: Store,
    job: IngestJob,
    cluster_id: str,
    *,
    held: dict[str, int],
    going_on: Callable[[], bool],
    log: Log,
) -> Publisher:
    """Become the tables' one writer.

    Raises:
        FencedError: another writer has taken over.
        RefusedError: a table cannot be written as it is.
    """
    if job.schema_registry_url:
        settle_all(job)
    # The tables first: who has lost them must not shut out the dead letters of the one who took over.
    tables = claim_all(store, job, consumer_name(job), cluster_id, held)
    letters = DeadLetters(job)
    letters.fence(going_on)
    publisher = Publisher(store, tables, letters, cluster_id=cluster_id)
    restored = publisher.restore_manifest()
    log(
        "session begins",
        cluster_id=cluster_id,
        versions={table.state.event_type: table.state.version for table in tables},
        manifest_restored=restored.sequence if restored else None,
        put_aside_before=len(publisher.put_aside),
    )
    return publisher
