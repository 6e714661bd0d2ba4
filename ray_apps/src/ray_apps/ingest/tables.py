"""One event type's table: claimed by one writer, and written so that a record is in it once.

A writer claims a table with a commit that raises the application transaction `{consumer}/writer`. Every later commit of that
writer carries the same application transactions, and Delta Lake refuses a commit that carries one that has moved since the
table was opened: an older writer can publish nothing more, however late it wakes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from pydantic import BaseModel

from ray_apps.ingest.columns import event_of, table_schema
from ray_apps.ingest.commits import DataFile, added, commit, keep_log, keep_what_is_read
from ray_apps.ingest.widening import EVENT_SCHEMA, RefusedError, schema_words, widen
from ray_apps.stores.objects import Store, delta_options
from ray_apps.stores.snapshots import (
    Recent,
    TableState,
    TopicPartition,
    committed_ms,
    dead_letters_key,
    letters_key,
    newest_key,
    offset_key,
    read_state,
    recent_marks,
    table_uri,
)

_CLUSTER = "recsys.clusterId"
_CLAIM_ATTEMPTS = 20
_SETTINGS = {"delta.checkpointInterval": "100", "delta.enableExpiredLogCleanup": "false"}


class FencedError(Exception):
    """Another writer has claimed the table: this one must stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Covered:
    """What a commit says of the records that it covers."""

    offsets: Mapping[TopicPartition, int]
    """Next offset of each partition that was read; the others stay where they are."""
    dead_letters: int
    """Records put aside in this commit."""
    repeated: int = 0
    """Those of them that only repeat a row."""
    newest_ms: int | None
    """Newest record timestamp in this commit."""
    letters_since: Mapping[TopicPartition, int] = field(default_factory=dict[TopicPartition, int])
    """Where in the dead-letter topic this batch's letters begin; none: where they began before."""


class EventTable:
    """A claimed table. Not thread-safe."""

    def __init__(  # noqa: PLR0913 (whose claim it is, and where)
        self, store: Store, table: DeltaTable, state: TableState, columns: pa.Schema, *, consumer: str, writer: int, cluster_id: str
    ) -> None:
        self.state = state
        self._store = store
        self._table = table
        self._consumer = consumer
        self._writer = writer
        self._cluster_id = cluster_id
        self._schema = columns
        self._lost = ""

    @classmethod
    def claim(  # noqa: PLR0913 (who, what and where)
        cls,
        store: Store,
        event_type: str,
        *,
        consumer: str,
        topics: Sequence[str],
        dead_letter_topic: str,
        cluster_id: str,
        held: int | None = None,
        event: type[BaseModel] | None = None,
    ) -> "EventTable":
        """Open the table, made if need be, and become its only writer.

        Args:
            store: where the table lies.
            event_type: which one.
            consumer: whose claim it is.
            topics: topics of the event type.
            dead_letter_topic: where its bad records go.
            cluster_id: the Kafka cluster that the records come from.
            held: the writer's number of our own last claim: only that one is replaced. None replaces any, as a new process does.
            event: the schema of its records. Default: the event type's own, with nothing added.

        Raises:
            RefusedError: it belongs to another Kafka cluster, or its columns are not ours or fewer.
            FencedError: another writer took it since `held`, or others claimed it each time that we tried.
        """
        uri, event = table_uri(store, event_type), event or event_of(event_type)
        columns = table_schema(event)
        for _ in range(_CLAIM_ATTEMPTS):
            table = _open(uri, event, cluster_id)
            newest = table.transaction_version(_writer_key(consumer)) or 0
            if held not in (None, newest):
                raise FencedError(_taken(event_type, newest, held))
            widen(table, event_type, event)
            writer = newest + 1
            try:
                commit(table, [], {_writer_key(consumer): writer}, columns, {"clusterId": cluster_id})
            except CommitFailedError:
                continue
            table.update_incremental()
            if table.transaction_version(_writer_key(consumer)) == writer:
                keep_what_is_read(table)
                state = read_state(table, event_type, consumer=consumer, topics=topics, dead_letter_topic=dead_letter_topic)
                return cls(store, table, state, columns, consumer=consumer, writer=writer, cluster_id=cluster_id)
        raise FencedError(f"table {event_type!r}: claimed by others {_CLAIM_ATTEMPTS} times in a row; stop all writers of {uri} but one")

    @property
    def writer(self) -> int:
        """Number of this claim: one more than that of the claim before."""
        return self._writer

    def check_claim(self) -> None:
        """Look whether the table is still ours.

        Raises:
            FencedError: another writer has claimed it.
        """
        self._table.update_incremental()
        claimed = self._table.transaction_version(_writer_key(self._consumer))
        if claimed != self._writer:
            # For good: the table is now open at the other's version, where Delta Lake would let us write.
            self._lost = _taken(self.state.event_type, claimed, self._writer)
            raise FencedError(self._lost)

    def publish(self, file: DataFile | None, covered: Covered) -> TableState:
        """Make a file's rows visible and its records covered, in one commit; without a file, only covered.

        Raises:
            FencedError: another writer has claimed the table; nothing was published.
        """
        if self._lost:
            raise FencedError(self._lost)
        before = self.state
        offsets = _complete({**before.offsets, **covered.offsets})
        newest = [moment for moment in (before.newest_ms, covered.newest_ms) if moment is not None and moment >= 0]
        dead_letters = before.dead_letters + covered.dead_letters
        marks = {offset_key(self._consumer, partition): offset for partition, offset in offsets.items()}
        marks |= {_writer_key(self._consumer): self._writer, dead_letters_key(self._consumer): dead_letters}
        marks |= {letters_key(self._consumer, place): offset for place, offset in covered.letters_since.items()}
        marks |= {newest_key(self._consumer): max(newest)} if newest else {}
        bad = covered.dead_letters - covered.repeated
        recent = (before.recent or Recent()).followed_by((file.rows if file else 0) + bad, bad)
        marks |= recent_marks(self._consumer, recent)
        try:
            commit(self._table, [added(file)] if file else [], marks, self._schema, {"clusterId": self._cluster_id})
        except CommitFailedError as error:
            self.check_claim()
            raise CommitFailedError(f"table {before.event_type!r} is still ours, but refused: {error}") from error
        self.check_claim()
        keep_log(self._table, before.version)
        self.state = replace(
            before,
            version=self._table.version(),
            rows=before.rows + (file.rows if file else 0),
            offsets=offsets,
            dead_letters=dead_letters,
            newest_ms=max(newest) if newest else None,
            committed_ms=committed_ms(self._store, before.event_type, self._table.version()),
            recent=recent,
            letters_since={**before.letters_since, **covered.letters_since},
        )
        return self.state


def _complete(offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """Partitions from 0 upwards: `read_state` ends a topic at the first one without an offset. Of those in between nothing is read yet."""
    last: dict[str, int] = {}
    for topic, partition in offsets:
        last[topic] = max(partition, last.get(topic, 0))
    return {(topic, partition): offsets.get((topic, partition), 0) for topic, end in last.items() for partition in range(end + 1)}


def _taken(event_type: str, claimed: int | None, held: int | None) -> str:
    return f"table {event_type!r}: writer {claimed} has taken over from writer {held}"


def _writer_key(consumer: str) -> str:
    return f"{consumer}/writer"


def _open(uri: str, event: type[BaseModel], cluster_id: str) -> DeltaTable:
    try:
        table = DeltaTable(uri, storage_options=delta_options())
    except TableNotFoundError:
        try:
            table = DeltaTable.create(
                uri,
                table_schema(event),
                configuration={**_SETTINGS, _CLUSTER: cluster_id, EVENT_SCHEMA: schema_words(event)},
                raise_if_key_not_exists=False,  # a property of ours
                storage_options=delta_options(),
            )
        except DeltaError:  # another writer was first
            table = DeltaTable(uri, storage_options=delta_options())
    owner = table.metadata().configuration.get(_CLUSTER)
    if owner != cluster_id:
        raise RefusedError(
            f"storageURI: {uri} holds records of Kafka cluster {owner!r}, and the brokers are cluster {cluster_id!r}; "
            "give each cluster a storageURI of its own"
        )
    return table
