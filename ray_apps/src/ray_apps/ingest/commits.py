"""Commits of a Delta Lake table, and the files that they make visible."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake.transaction import AddAction

from ray_apps.stores.snapshots import TopicPartition
from recsys_schemas.events import DeadLetter


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """A Parquet file, in place but not yet part of the table."""

    path: str
    """Below the table's folder."""
    size: int
    rows: int
    written_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A batch whose rows lie in files: ready to be published."""

    files: Mapping[str, DataFile]
    """By event type."""
    letters: Sequence[DeadLetter]
    newest_ms: Mapping[str, int]
    """Newest record timestamp by event type, refused records included."""
    starts: Mapping[TopicPartition, int]
    """Where each partition that was read stood before."""
    offsets: Mapping[TopicPartition, int]
    """The next offset of each of these partitions."""

    def touched(self, event_types: Mapping[str, str]) -> list[str]:
        """Event types with a record in it, good or bad, sorted; `event_types` is by topic."""
        return sorted({*self.files, *(event_types[letter.topic] for letter in self.letters)})


def commit(table: DeltaTable, files: Sequence[AddAction], marks: Mapping[str, int], schema: pa.Schema, note: dict[str, str]) -> None:
    """Commit files and application transactions at once; refused when one of these has moved since the table was opened."""
    table.create_write_transaction(
        list(files),
        "append",
        schema,
        commit_properties=CommitProperties(
            custom_metadata=note, app_transactions=[Transaction(name, value) for name, value in marks.items()]
        ),
        post_commithook_properties=PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False),
    )


def added(file: DataFile) -> AddAction:
    """The log's entry of a file."""
    return AddAction(
        path=file.path,
        size=file.size,
        partition_values={},
        modification_time=file.written_ms,
        data_change=True,
        stats=json.dumps({"numRecords": file.rows}),
    )


def keep_log(table: DeltaTable, before: int) -> None:
    """Flush the new entries of a local log: a manifest must not outlive the commit that it names."""
    if not table.table_uri.startswith("file://") and "://" in table.table_uri:
        return
    log = Path(table.table_uri.removeprefix("file://")) / "_delta_log"
    for path in [*(log / f"{version:020d}.json" for version in range(before + 1, table.version() + 1)), log]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
