"""Small files become few: one more commit of a table, with the same rows in other files.

Ingest goes on meanwhile. Its commits only add files, a compaction exchanges files that are there: Delta Lake lets each pass
the other, and neither moves the application transactions of the other, so nobody is fenced. An older version keeps its own files.
"""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, WriterProperties
from deltalake.exceptions import CommitFailedError

from ray_apps.stores.objects import Store, delta_options
from ray_apps.stores.snapshots import table_uri

TARGET_BYTES = 128 << 20
"""Files that are smaller are put together until they are about so large."""
_FEWEST = 2
_ATTEMPTS = 5
_TASKS = 1
"""Bins compacted at a time: each holds some row groups in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compacted:
    """What became of one table."""

    event_type: str
    version: int
    """The table's newest version afterwards."""
    files_before: int
    files_after: int
    size_bytes: int
    """Of the files afterwards."""


def compact(store: Store, event_type: str, *, target_bytes: int = TARGET_BYTES) -> Compacted:
    """Put a table's small files together; nothing is done where there are not two of them.

    Raises:
        CommitFailedError: something else than ingest changed the same files, each time that it was tried.
        DeltaError: the table cannot be read or written.
    """
    table = DeltaTable(table_uri(store, event_type), storage_options=delta_options())
    before = _sizes(table)
    for attempt in range(_ATTEMPTS):
        if sum(size < target_bytes for size in _sizes(table)) < _FEWEST:
            break
        try:
            _optimize(table, target_bytes)
            break
        except CommitFailedError:
            if attempt == _ATTEMPTS - 1:
                raise
            table.update_incremental()
    table.update_incremental()
    after = _sizes(table)
    return Compacted(
        event_type=event_type, version=table.version(), files_before=len(before), files_after=len(after), size_bytes=sum(after)
    )


def _optimize(table: DeltaTable, target_bytes: int) -> None:
    table.optimize.compact(
        target_size=target_bytes,
        max_concurrent_tasks=_TASKS,
        writer_properties=WriterProperties(compression="ZSTD", compression_level=3),
        commit_properties=CommitProperties(custom_metadata={"by": "upkeep"}),
        post_commithook_properties=PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False),
    )


def _sizes(table: DeltaTable) -> list[int]:
    actions = pa.table(table.get_add_actions(flatten=True))
    return [int(size) for size in pc.cast(actions["size_bytes"], pa.int64()).to_pylist()]
