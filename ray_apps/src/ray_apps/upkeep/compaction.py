"""Small files become few: one more commit of a table, with the same rows in other files.

Ingest goes on meanwhile. Its commits only add files, a compaction exchanges files that are there: each passes the other, and
neither moves the other's application transactions, so nobody is fenced. An older version keeps its own files.

The commit is written here and not by `DeltaTable.optimize`: that one (deltalake 1.6.6) looks at the newest version before it commits and
does not see that its files have gone meanwhile, so that two compactions at once leave every row twice.
"""

import json
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from ray_apps.ingest.commits import DataFile
from ray_apps.stores.objects import StorageError, Store, delta_options
from ray_apps.stores.snapshots import TableFile, table_uri
from ray_apps.upkeep.rewriting import rewrite

TARGET_BYTES = 128 << 20
"""Files that are smaller are put together until they are about so large."""
_FEWEST = 2
_ATTEMPTS = 5
_OVERTAKEN = 1000
"""Commits of others that a compaction may meet before it begins anew."""
_READER_VERSION = 1
"""A table that asks more of its readers has features that are not handled here: deletion vectors, for instance."""
_PLAIN = re.compile(r"^[A-Za-z0-9._/=-]+$")
"""Paths in a log are URL-encoded; these are the same either way."""


class LostRaceError(Exception):
    """Another commit has changed what this one rests on: begin anew."""


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
        StorageError: others changed the same files each time that it was tried, or the table needs features that are not handled.
        DeltaError, OSError: the table cannot be read or written.
    """
    before: int | None = None
    for _ in range(_ATTEMPTS):
        table = _open(store, event_type)
        files = _files(table)
        before = len(files) if before is None else before
        bins = choose(files, target_bytes)
        if not bins:
            return _told(table, event_type, before)
        made = [(inputs, rewrite(store, event_type, inputs, pa.schema(table.schema().to_arrow()), time.time())) for inputs in bins]
        try:
            _commit(store, event_type, table.version(), made)
        except LostRaceError:
            continue
        table = _open(store, event_type)
        table.create_checkpoint()
        return _told(table, event_type, before)
    raise StorageError(f"{store.uri}/{event_type}: others changed its files {_ATTEMPTS} times while they were compacted; stop other upkeep")


def choose(files: Sequence[TableFile], target_bytes: int) -> list[list[TableFile]]:
    """Group neighbours that are smaller than the target into bins of about its size; a bin of one file is none."""
    bins: list[list[TableFile]] = []
    filled = target_bytes
    for file in sorted(files, key=lambda file: file.path):
        if file.size >= target_bytes or not _PLAIN.fullmatch(file.path):
            continue
        if filled + file.size > target_bytes:
            bins.append([])
            filled = 0
        bins[-1].append(file)
        filled += file.size
    return [group for group in bins if len(group) >= _FEWEST]


def _open(store: Store, event_type: str) -> DeltaTable:
    table = DeltaTable(table_uri(store, event_type), storage_options=delta_options())
    asked = table.protocol().min_reader_version
    if asked > _READER_VERSION:
        raise StorageError(f"{store.uri}/{event_type}: asks for reader version {asked}, and compaction knows {_READER_VERSION}")
    return table


def _files(table: DeltaTable) -> list[TableFile]:
    actions = pa.table(table.get_add_actions(flatten=True)).select(["path", "size_bytes", "num_records"]).to_pylist()
    return [TableFile(path=each["path"], size=each["size_bytes"], rows=each["num_records"]) for each in actions]


def _told(table: DeltaTable, event_type: str, before: int) -> Compacted:
    files = _files(table)
    return Compacted(
        event_type=event_type,
        version=table.version(),
        files_before=before,
        files_after=len(files),
        size_bytes=sum(file.size for file in files),
    )


def _commit(store: Store, event_type: str, version: int, made: Sequence[tuple[Sequence[TableFile], DataFile]]) -> None:
    """Publish the exchange as the first free version after `version`; commits that others put between are looked at.

    Raises:
        LostRaceError: one of those took away a file of ours, or changed the table's columns.
    """
    gone = {file.path for inputs, _ in made for file in inputs}
    data = b"\n".join(json.dumps(action, separators=(",", ":")).encode() for action in _actions(made))
    for number in range(version + 1, version + 1 + _OVERTAKEN):
        name = f"{event_type}/_delta_log/{number:020d}.json"
        try:
            store.create(name, data)
        except FileExistsError:
            _check(store.read(name), gone)
            continue
        return
    raise LostRaceError(f"{_OVERTAKEN} commits meanwhile")


def _check(entry: bytes, gone: set[str]) -> None:
    for line in entry.splitlines():
        action: dict[str, Any] = json.loads(line)
        if "metaData" in action or "protocol" in action or action.get("remove", {}).get("path") in gone:
            raise LostRaceError(line.decode()[:200])


def _actions(made: Sequence[tuple[Sequence[TableFile], DataFile]]) -> Iterable[dict[str, Any]]:
    now_ms = int(time.time() * 1000)
    note = {"files": str(sum(len(inputs) for inputs, _ in made)), "into": str(len(made))}
    yield {"commitInfo": {"timestamp": now_ms, "operation": "OPTIMIZE", "operationParameters": note, "engineInfo": "recsys-upkeep"}}
    for inputs, file in made:
        for old in inputs:
            yield {
                "remove": {
                    "path": old.path,
                    "deletionTimestamp": now_ms,
                    "dataChange": False,
                    "extendedFileMetadata": True,
                    "partitionValues": {},
                    "size": old.size,
                }
            }
        yield {
            "add": {
                "path": file.path,
                "partitionValues": {},
                "size": file.size,
                "modificationTime": file.written_ms,
                "dataChange": False,
                "stats": json.dumps({"numRecords": file.rows}),
            }
        }
