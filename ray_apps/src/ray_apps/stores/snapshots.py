"""Snapshots: tables of events, and the manifests that name one version of each.

A table's state is all in its Delta log: rows in the files, and, as application transactions `{consumer}/...`, the next offset
of each partition, the count of dead letters, the newest broker time and the number of its writer. A manifest is a pure
function of the tables' states, so that one that was never written can be written later.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable
from pyarrow import fs
from pydantic import ValidationError

from ray_apps.stores.objects import StorageError, Store, delta_options
from recsys_schemas.event_fields import EVENTS
from recsys_schemas.snapshot import (
    LATEST_MANIFEST,
    MANIFEST_FOLDER,
    PartitionOffset,
    SnapshotManifest,
    TableVersion,
    manifest_path,
)

TopicPartition = tuple[str, int]
"""A Kafka topic and one of its partitions."""

TOPIC, PARTITION, OFFSET, TIMESTAMP, PAYLOAD_CRC32 = "_topic", "_partition", "_offset", "_timestamp", "_payload_crc32"
"""Columns that say which record a row was made from; zlib's CRC-32 of the record's raw value."""

RECORD_COLUMNS = pa.schema(
    [
        pa.field(TOPIC, pa.string(), nullable=False),
        pa.field(PARTITION, pa.int32(), nullable=False),
        pa.field(OFFSET, pa.int64(), nullable=False),
        pa.field(TIMESTAMP, pa.int64(), nullable=False),
        pa.field(PAYLOAD_CRC32, pa.int64(), nullable=False),
    ]
)
"""The schema of those columns; they end every table."""


RECENT_RECORDS = 10_000
"""Least number of records that the recent counts speak of, once there are so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """Counts of the newest records in two spans: the one being filled, and the full one before it."""

    records: int = 0
    bad: int = 0
    records_before: int = 0
    bad_before: int = 0

    def followed_by(self, records: int, bad: int) -> "Recent":
        """Return the counts after a commit of so many records; a full span becomes the one before."""
        if self.records >= RECENT_RECORDS:
            return Recent(records=records, bad=bad, records_before=self.records, bad_before=self.bad)
        return replace(self, records=self.records + records, bad=self.bad + bad)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableState:
    """What one version of a table holds and covers."""

    event_type: str
    version: int
    rows: int
    offsets: Mapping[TopicPartition, int]
    dead_letters: int
    newest_ms: int | None
    committed_ms: int
    recent: Recent | None = None
    """None in a table that an older release wrote."""
    letters_since: Mapping[TopicPartition, int] = field(default_factory=dict[TopicPartition, int])
    """Where in the dead-letter topic the letters of the newest batch begin: those of all batches before are covered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFile:
    """One Parquet file of a table, by the table's own account."""

    path: str
    """Below the storage URI."""
    size: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One manifest and, for each event type, exactly the rows that it names."""

    manifest: SnapshotManifest
    datasets: Mapping[str, ds.Dataset]

    def rows(self, event_type: str, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows of an event type in the order of the topic: by topic, partition and offset.

        Raises:
            KeyError: the snapshot has no such event type.
        """
        order = [TOPIC, PARTITION, OFFSET]
        wanted = None if columns is None else [*columns, *(name for name in order if name not in columns)]
        found = self.datasets[event_type].to_table(columns=wanted)
        ordered = found.take(pc.sort_indices(found, sort_keys=[(name, "ascending") for name in order]))
        return ordered if columns is None else ordered.select(list(columns))


def offset_key(consumer: str, partition: TopicPartition) -> str:
    """Name of the application transaction that carries a partition's next offset."""
    return f"{consumer}/{partition[0]}-{partition[1]}"


def dead_letters_key(consumer: str) -> str:
    """Name of the application transaction that counts records put aside since the first commit."""
    return f"{consumer}/dead-letters"


def letters_key(consumer: str, partition: TopicPartition) -> str:
    """Name of the application transaction that says where in the dead-letter topic a batch's letters begin. No topic's name has a slash."""
    return f"{consumer}/letters/{partition[0]}/{partition[1]}"


def newest_key(consumer: str) -> str:
    """Name of the application transaction that carries the newest broker time covered, in milliseconds."""
    return f"{consumer}/newest-timestamp"


def recent_marks(consumer: str, recent: Recent) -> dict[str, int]:
    """Application transactions that carry the recent counts."""
    return {f"{consumer}/recent-{name}": count for name, count in asdict(recent).items()}


def _recent(table: DeltaTable, consumer: str) -> Recent | None:
    counts = {each.name: table.transaction_version(f"{consumer}/recent-{each.name}") for each in fields(Recent)}
    known = {name: count for name, count in counts.items() if count is not None}
    return Recent(**known) if known else None


def read_state(table: DeltaTable, event_type: str, *, consumer: str, topics: Iterable[str], dead_letter_topic: str) -> TableState:
    """Read what a table, as it is opened, holds and covers.

    Every commit carries all partitions of a topic from 0 upwards, so the first one without an offset ends the topic.
    """
    offsets = {place: offset for topic in topics for place, offset in _positions(table, lambda place: offset_key(consumer, place), topic)}
    actions = pa.table(table.get_add_actions(flatten=True))
    return TableState(
        event_type=event_type,
        version=table.version(),
        rows=int(pc.sum(actions["num_records"]).as_py() or 0) if actions.num_rows else 0,
        offsets=offsets,
        dead_letters=table.transaction_version(dead_letters_key(consumer)) or 0,
        newest_ms=table.transaction_version(newest_key(consumer)),
        committed_ms=int(table.history(1)[0]["timestamp"]),
        recent=_recent(table, consumer),
        letters_since=dict(_positions(table, lambda place: letters_key(consumer, place), dead_letter_topic)),
    )


def _positions(table: DeltaTable, key: Callable[[TopicPartition], str], topic: str) -> Iterator[tuple[TopicPartition, int]]:
    for partition in count():
        offset = table.transaction_version(key((topic, partition)))
        if offset is None:
            return
        yield (topic, partition), offset


def committed_ms(store: Store, path: str, version: int) -> int:
    """When a version of a table became visible, in milliseconds: one read, however long the log is.

    Raises:
        StorageError: the log has no such entry any more.
    """
    name = f"{path}/_delta_log/{version:020d}.json"
    try:
        entries = store.read(name).splitlines()
    except FileNotFoundError:
        raise StorageError(f"{store.uri}/{name} is gone: entries of the log are removed by upkeep alone") from None
    for entry in entries:
        if entry.startswith(b'{"commitInfo"'):
            return int(json.loads(entry)["commitInfo"]["timestamp"])
    raise StorageError(f"{store.uri}/{name} does not say when it was committed: it was not written by Delta Lake")


def sequence_of(states: Iterable[TableState]) -> int:
    """Number of the snapshot that these tables make: every commit of any table raises it by one."""
    return sum(state.version + 1 for state in states)


def manifest_of(cluster_id: str, states: Sequence[TableState]) -> SnapshotManifest:
    """Return the manifest of these table versions: the same states give the same bytes."""
    offsets = sorted((topic, partition, offset) for state in states for (topic, partition), offset in state.offsets.items())
    newest = [state.newest_ms for state in states if state.newest_ms is not None]
    events = [state for state in states if state.event_type in EVENTS]
    recent = [state.recent for state in events if state.recent is not None]
    return SnapshotManifest(
        sequence=sequence_of(states),
        cluster_id=cluster_id,
        tables=[
            TableVersion(event_type=state.event_type, path=state.event_type, version=state.version, rows=state.rows)
            for state in sorted(states, key=lambda state: state.event_type)
        ],
        offsets=[PartitionOffset(topic=topic, partition=partition, next_offset=offset) for topic, partition, offset in offsets],
        rows=sum(state.rows for state in events),
        dead_letters=sum(state.dead_letters for state in states),
        recent_records=sum(each.records + each.records_before for each in recent) if recent else None,
        recent_dead_letters=sum(each.bad + each.bad_before for each in recent) if recent else None,
        committed_at=_moment(max(state.committed_ms for state in states)),
        newest_event_at=_moment(max(newest)) if newest else None,
    )


def write_manifest(store: Store, manifest: SnapshotManifest) -> None:
    """Put a manifest in place, then let `latest.json` name it; neither an older manifest nor a newer latest is replaced.

    Raises:
        StorageError: another manifest of that number is there: two writers counted the same tables differently.
    """
    data = manifest.model_dump_json(indent=1).encode()
    name = manifest_path(manifest.sequence)
    if not store.exists(name):
        store.write(name, data)
    elif store.read(name) != data:
        raise StorageError(f"{store.uri}/{name}: holds another snapshot than the tables; delete the one that no version card names")
    newest = latest_manifest(store)
    if newest is None or newest.sequence < manifest.sequence:
        store.write(LATEST_MANIFEST, data)


def latest_manifest(store: Store) -> SnapshotManifest | None:
    """Return the newest manifest; None before the first commit."""
    try:
        return SnapshotManifest.model_validate_json(store.read(LATEST_MANIFEST))
    except FileNotFoundError:
        return None


def sequences(store: Store) -> list[int]:
    """Numbers of all snapshots that are there, ascending."""
    found = (name.rsplit("/", 1)[-1].removesuffix(".json") for name in store.names(MANIFEST_FOLDER))
    return sorted(int(name) for name in found if name.isdigit())


def read_manifest(store: Store, sequence: int | None = None) -> SnapshotManifest:
    """Read the manifest of a snapshot, of the newest one when no number is given.

    Raises:
        StorageError: there is no such snapshot, or what is there is no manifest.
    """
    name = LATEST_MANIFEST if sequence is None else manifest_path(sequence)
    try:
        return SnapshotManifest.model_validate_json(store.read(name))
    except FileNotFoundError:
        raise StorageError(_absent(store, sequence)) from None
    except ValidationError as error:
        raise StorageError(f"snapshot: {store.uri}/{name} is no manifest: {error.errors()[0]['msg']}") from None


def _absent(store: Store, sequence: int | None) -> str:
    """Why a snapshot cannot be opened: never made, or removed by retention."""
    newest = latest_manifest(store)
    if newest is None:
        return f"snapshot: {store.uri} has none yet; wait for the first commit, or correct the URI"
    known = sequences(store)
    if known and sequence is not None and sequence < known[0]:
        return f"snapshot {sequence}: {store.uri} has {known[0]} to {newest.sequence}; older ones went by retention"
    mend = "numbers that no manifest has were commits without new rows, or went by retention"
    return f"snapshot {sequence}: not in {store.uri}, whose newest is {newest.sequence}; {mend}: `recsys snapshots list`"


def open_snapshot(store: Store, sequence: int | None = None) -> Snapshot:
    """Open a snapshot, the newest one when no number is given: the same number opens the same rows until retention removes it.

    Raises:
        StorageError: there is no such snapshot.
    """
    manifest = read_manifest(store, sequence)
    datasets = {table.event_type: open_table_version(store, table.path, table.version) for table in manifest.tables}
    return Snapshot(manifest=manifest, datasets=datasets)


def files_of(store: Store, table: TableVersion) -> list[TableFile]:
    """Files that one version of a table is made of, in the order of their paths: any reader of Parquet finds its rows in exactly these."""
    opened = DeltaTable(table_uri(store, table.path), version=table.version, storage_options=delta_options())
    actions = pa.table(opened.get_add_actions(flatten=True)).select(["path", "size_bytes", "num_records"]).to_pylist()
    made = (TableFile(path=f"{table.path}/{each['path']}", size=each["size_bytes"], rows=each["num_records"]) for each in actions)
    return sorted(made, key=lambda file: file.path)


def open_table_version(store: Store, path: str, version: int) -> ds.Dataset:
    """Open one version of one table as a pyarrow dataset, files in the order of their commits."""
    table = DeltaTable(table_uri(store, path), version=version, storage_options=delta_options())
    root = fs.SubTreeFileSystem(store.path(path), store.files)
    return table.to_pyarrow_dataset(filesystem=root)


def table_uri(store: Store, path: str) -> str:
    """URI of a table below the store; the folder of a local one is made."""
    if store.local:
        Path(store.path(path)).mkdir(parents=True, exist_ok=True)
    return f"{store.uri}/{path}"


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
