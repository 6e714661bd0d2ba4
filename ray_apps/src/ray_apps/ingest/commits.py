"""Commits of a Delta Lake table, and the files that they make visible."""

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake.transaction import AddAction

from ray_apps.stores.objects import flush_folder
from ray_apps.stores.snapshots import TopicPartition
from recsys_schemas.events import DeadLetter

_NEWEST_CHECKPOINT = "_last_checkpoint"


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

    def touched(self, event_types: Mapping[str, str], covered: Mapping[TopicPartition, int]) -> list[str]:
        """Event types that this moves on, sorted: by a record, good or bad, or past offsets at which there is none to read.

        Args:
            event_types: by topic.
            covered: the next offset of each partition that the tables cover now.
        """
        with_records = {*self.files, *(event_types[letter.topic] for letter in self.letters)}
        moved = {event_types[place[0]] for place, offset in self.offsets.items() if offset > covered.get(place, 0)}
        return sorted(with_records | moved)


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
    """Flush the entries of a local log from `before` on, checkpoints among them: a manifest must not outlive what it names."""
    log = _local_log(table)
    if log is None:
        return
    names = [f"{version:020d}" for version in range(before + 1, table.version() + 1)]
    checkpoints = [log / f"{name}.checkpoint.parquet" for name in names if (log / f"{name}.checkpoint.parquet").exists()]
    _flush([*(log / f"{name}.json" for name in names), *checkpoints, *([log / _NEWEST_CHECKPOINT] if checkpoints else [])], log)


def keep_what_is_read(table: DeltaTable) -> None:
    """Flush all of a local log that opening the table reads, and the table's folder itself.

    Whoever wrote it may have been killed before flushing it, and what follows from now on names it.
    """
    log = _local_log(table)
    if log is None:
        return
    entries = sorted(path for path in log.iterdir() if path.name[:20].isdigit() and path.suffix in {".json", ".parquet"})
    newest = max((path.name[:20] for path in entries if path.suffix == ".parquet"), default="")
    checkpoint = log / _NEWEST_CHECKPOINT
    _flush([*(path for path in entries if path.name[:20] >= newest), *([checkpoint] if checkpoint.exists() else [])], log)
    for folder in (log.parent, log.parent.parent):
        flush_folder(folder)
    with contextlib.suppress(PermissionError):  # that of the store may be someone else's; then it was there before us
        flush_folder(log.parent.parent.parent)


def _local_log(table: DeltaTable) -> Path | None:
    if not table.table_uri.startswith("file://") and "://" in table.table_uri:
        return None
    return Path(table.table_uri.removeprefix("file://")) / "_delta_log"


def _flush(files: Sequence[Path], folder: Path) -> None:
    for path in files:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    flush_folder(folder)
