"""A batch becomes visible: dead letters first, then each table's commit, then the manifest.

Whatever is killed when, the next writer takes up from the tables. Dead letters written before a commit that never came are
found from where the tables say that they begin, and a manifest that was never written is derived from the tables.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ray_apps.ingest.columns import events_of
from ray_apps.ingest.commits import Written
from ray_apps.ingest.dead_letters import DeadLetters
from ray_apps.ingest.tables import Covered, EventTable, FencedError
from ray_apps.stores.objects import Store
from ray_apps.stores.snapshots import TopicPartition, latest_manifest, manifest_of, write_manifest
from recsys_schemas.events import DeadLetterReason
from recsys_schemas.snapshot import SnapshotManifest
from recsys_schemas.train_job import IngestJob

_CLAIM_ROUNDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """One visible commit."""

    event_type: str
    version: int
    sequence: int
    rows: int
    bytes: int
    """Size of the Parquet file; 0 without one."""
    dead_letters: dict[DeadLetterReason, int]
    lag_ms: int
    """From the newest record's own time to its visibility; 0 when no record is in it."""
    seconds: float
    """From cutting the batch to its visible commit."""

    def words(self) -> dict[str, object]:
        """For the log."""
        return {
            "event_type": self.event_type,
            "version": self.version,
            "sequence": self.sequence,
            "rows": self.rows,
            "bytes": self.bytes,
            "dead_letters": {reason.value: count for reason, count in self.dead_letters.items()},
            "lag_ms": self.lag_ms,
            "seconds": round(self.seconds, 4),
        }


class OverlapError(Exception):
    """A batch holds records that are published already: whoever read it must begin again from the tables."""


class Publisher:
    """The one writer of a model's tables, manifests and dead letters. Not thread-safe."""

    def __init__(self, store: Store, tables: Sequence[EventTable], letters: DeadLetters, *, cluster_id: str) -> None:
        """Take over: `letters` are fenced, the tables claimed."""
        self._store = store
        self._tables = {table.state.event_type: table for table in tables}
        self._letters = letters
        self._cluster_id = cluster_id
        self.put_aside = letters.put_aside(self.positions, self._letters_since())
        """Dead letters that are written of records which the tables do not cover: the verdict on these records."""

    @property
    def positions(self) -> dict[TopicPartition, int]:
        """The next offset of each partition that the tables cover."""
        return {partition: offset for table in self._tables.values() for partition, offset in table.state.offsets.items()}

    def _letters_since(self) -> dict[TopicPartition, int]:
        """Where the letters of the newest batch begin: what any table says of an older one is before that."""
        since: dict[TopicPartition, int] = {}
        for table in self._tables.values():
            for place, offset in table.state.letters_since.items():
                since[place] = max(offset, since.get(place, 0))
        return since

    def publish(self, written: Written, event_types: Mapping[str, str], on_commit: Callable[[Committed], None]) -> None:
        """Publish a batch that was written: one commit for each event type that it moves on.

        Raises:
            OverlapError: a part of it is published already.
            FencedError: another writer has taken over.
        """
        started = time.monotonic()
        self._check_starts(written)
        self._letters.write(written.letters, self.positions)
        for event_type in written.touched(event_types, self.positions):
            table = self._tables[event_type]
            file = written.files.get(event_type)
            reasons = [letter.reason for letter in written.letters if event_types[letter.topic] == event_type]
            state = table.publish(
                file,
                Covered(
                    offsets={place: offset for place, offset in written.offsets.items() if event_types[place[0]] == event_type},
                    dead_letters=len(reasons),
                    repeated=reasons.count(DeadLetterReason.DUPLICATE),
                    newest_ms=written.newest_ms.get(event_type),
                    letters_since=self._letters.since,
                ),
            )
            manifest = self._manifest()
            write_manifest(self._store, manifest)
            on_commit(
                Committed(
                    event_type=event_type,
                    version=state.version,
                    sequence=manifest.sequence,
                    rows=file.rows if file else 0,
                    bytes=file.size if file else 0,
                    dead_letters={reason: reasons.count(reason) for reason in set(reasons)},
                    lag_ms=state.committed_ms - written.newest_ms.get(event_type, state.committed_ms),
                    seconds=time.monotonic() - started,
                )
            )

    def _check_starts(self, written: Written) -> None:
        """Whoever read from before the tables' offsets has read what is published already."""
        covered = self.positions
        for place, start in written.starts.items():
            if start < covered.get(place, 0):
                raise OverlapError(f"{place[0]}-{place[1]}: read from offset {start}, and the tables cover it up to {covered[place]}")

    def restore_manifest(self) -> SnapshotManifest | None:
        """Write the manifest of the tables as they are, unless the newest one says the same or nothing is covered yet.

        Returns the manifest if it was written. A claim changes no row, so it makes no snapshot.
        """
        manifest = self._manifest()
        newest = latest_manifest(self._store)
        covered = manifest.all_rows or manifest.dead_letters
        if not covered or (newest is not None and _content(newest) == _content(manifest)):
            return None
        write_manifest(self._store, manifest)
        return manifest

    def renew_latest(self) -> None:
        """Look whether the tables are still ours, and put `latest.json` right if an older writer woke up and set it back.

        Raises:
            FencedError: another writer has taken over.
        """
        for table in self._tables.values():
            table.check_claim()
        self.restore_manifest()

    def _manifest(self) -> SnapshotManifest:
        return manifest_of(self._cluster_id, [table.state for table in self._tables.values()])


def claim_all(store: Store, job: IngestJob, consumer: str, cluster_id: str, held: dict[str, int]) -> list[EventTable]:
    """Claim every table of a job; all of them are ours at one moment.

    Args:
        store: where the tables lie.
        job: what is consumed.
        consumer: whose claims they are.
        cluster_id: the Kafka cluster that the records come from.
        held: numbers of this process's last claims by event type, brought up to date here. Empty in a new process, which
            takes over from any writer; one that begins again only goes on where nobody else has taken over meanwhile.

    Raises:
        FencedError: another writer has taken over, or claims them as often as we do.
        RefusedError: a table cannot be written as it is.
    """
    wanted = {event_type: [each.topic for each in job.topics if each.event_type == event_type] for event_type in event_types(job).values()}
    events, new = events_of(job), not held
    for _ in range(_CLAIM_ROUNDS):
        tables: list[EventTable] = []
        for event_type, topics in sorted(wanted.items()):
            last = held.pop(event_type, None)  # whether a claim that raises took place, nobody knows
            claimed = EventTable.claim(
                store,
                event_type,
                consumer=consumer,
                topics=topics,
                dead_letter_topic=job.dead_letter_topic,
                cluster_id=cluster_id,
                held=None if new else last,
                event=events[event_type],
            )
            held[event_type] = claimed.writer
            tables.append(claimed)
        try:
            for table in tables:
                table.check_claim()
        except FencedError:
            if not new:
                raise
            continue
        return tables
    raise FencedError(f"tables of {job.storage_uri}: another writer claims them as often as this one; stop all but one")


def event_types(job: IngestJob) -> dict[str, str]:
    """Event type of each topic of a job."""
    return {each.topic: each.event_type for each in job.topics}


def _content(manifest: SnapshotManifest) -> tuple[object, ...]:
    tables = [table.event_type for table in manifest.tables]
    return (manifest.cluster_id, manifest.offsets, manifest.all_rows, manifest.dead_letters, tables)
