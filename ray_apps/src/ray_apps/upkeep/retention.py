"""What is past its retention goes: manifests first, then the data files and log entries that no manifest left needs.

A snapshot's time begins when a newer one takes its place, so the newest is never past it. Whatever the moment at which a run is
killed, what it has left is a store of which every manifest opens; the next run removes the rest.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from pyarrow import fs

from ray_apps.stores.objects import StorageError, Store, delta_options
from ray_apps.stores.snapshots import committed_ms, files_of, read_manifest, sequences, table_uri
from recsys_schemas.snapshot import SnapshotManifest, TableVersion, manifest_path

GRACE = timedelta(days=1)
"""No file that was written within so long before the oldest snapshot in question is touched: a commit may still be under way."""
_LOG = "_delta_log"


@dataclass(slots=True, kw_only=True)
class Removed:
    """What went, and what could not be found."""

    manifests: int = 0
    files: int = 0
    bytes: int = 0
    log_entries: int = 0
    missing: list[int] = field(default_factory=list[int])
    """Snapshots that were to be kept, and cannot be opened."""
    troubles: list[str] = field(default_factory=list[str])
    """Tables that were left as they are, and why."""


def enforce(store: Store, *, now: datetime, retention: timedelta, keep: Collection[int]) -> Removed:
    """Remove what no snapshot needs that is younger than the retention, in `keep`, or the newest.

    Raises:
        StorageError: the store has no snapshot.
        OSError: it cannot be read or written.
    """
    removed = Removed()
    oldest = _oldest_by_age(store, now - retention)
    pinned = _pinned(store, keep, removed)
    for sequence in sequences(store):
        if sequence >= oldest.sequence:
            break
        if sequence not in keep:
            store.remove(manifest_path(sequence))
            removed.manifests += 1
    for table in oldest.tables:
        versions = [each for manifest in pinned for each in manifest.tables if each.path == table.path]
        try:
            _clean_table(store, table, versions, removed)
        except (DeltaError, StorageError) as error:
            removed.troubles.append(f"{table.path}: {' '.join(str(error).split())[:300]}")
    return removed


def _oldest_by_age(store: Store, limit: datetime) -> SnapshotManifest:
    """The oldest snapshot that was still the newest one at `limit`, or came later."""
    known = sequences(store)
    newest = read_manifest(store)
    for sequence, successor in pairwise(known):
        if read_manifest(store, successor).committed_at >= limit:
            return read_manifest(store, sequence)
    return newest


def _pinned(store: Store, keep: Iterable[int], removed: Removed) -> list[SnapshotManifest]:
    """Manifests that are kept by name; one whose rows cannot all be opened is told as missing."""
    found: list[SnapshotManifest] = []
    for sequence in sorted(set(keep)):
        try:
            manifest = read_manifest(store, sequence)
            whole = all(store.exists(file.path) for table in manifest.tables for file in files_of(store, table))
        except (StorageError, DeltaError):
            removed.missing.append(sequence)
            continue
        found.append(manifest)
        if not whole:
            removed.missing.append(sequence)
    return found


def _clean_table(store: Store, oldest: TableVersion, pinned: list[TableVersion], removed: Removed) -> None:
    """Remove the files and log entries of one table that neither its newest version, nor `oldest`, nor a pinned one, nor any between needs.

    A file that a version after `oldest` needs was either in `oldest` already, or was written later than `oldest` was committed, for files
    are added once and never again. So files are judged by their time of writing, with `GRACE` for a commit that took long.
    """
    newest = DeltaTable(table_uri(store, oldest.path), storage_options=delta_options())
    now_at = TableVersion(event_type=oldest.event_type, path=oldest.path, version=newest.version(), rows=0)
    needed = {file.path for table in (now_at, oldest, *pinned) for file in files_of(store, table)}
    limit_ms = committed_ms(store, oldest.path, oldest.version) - int(GRACE.total_seconds() * 1000)
    for info in _files(store, oldest.path):
        name = info.path.removeprefix(f"{store.root}/")
        if f"/{_LOG}/" in name or name in needed or _written_ms(info) >= limit_ms:
            continue
        store.remove(name)
        removed.files += 1
        removed.bytes += int(info.size or 0)
    # Last: without its log entries nobody could tell any more which files a version needed.
    removed.log_entries += _clean_log(store, oldest.path, min(table.version for table in (oldest, *pinned)), limit_ms)


def _clean_log(store: Store, path: str, least: int, limit_ms: int) -> int:
    """Remove the entries before the newest checkpoint from which version `least` can still be opened."""
    entries = {info.path.removeprefix(f"{store.root}/"): info for info in _files(store, f"{path}/{_LOG}")}
    versions = {name: _version(name) for name in entries}
    checkpoints = [version for name, version in versions.items() if version is not None and ".checkpoint" in name and version <= least]
    if not checkpoints:
        return 0
    first = max(checkpoints)
    count = 0
    # Oldest first: what is left is a log without holes, wherever this ends.
    for name in sorted(entries):
        version = versions[name]
        if version is None:
            continue
        if version >= first or _written_ms(entries[name]) >= limit_ms:
            break
        store.remove(name)
        count += 1
    return count


def _version(name: str) -> int | None:
    """Version of a log entry or a checkpoint; None for anything else."""
    stem = name.rsplit("/", 1)[-1].split(".", 1)[0]
    return int(stem) if stem.isdigit() and len(stem) == 20 else None


def _files(store: Store, folder: str) -> list[fs.FileInfo]:
    selector = fs.FileSelector(store.path(folder), recursive=True, allow_not_found=True)
    found: list[fs.FileInfo] = store.files.get_file_info(selector)
    return [info for info in found if info.type == fs.FileType.File]


def _written_ms(info: fs.FileInfo) -> int:
    return int((info.mtime_ns or 0) // 1_000_000)


def facts(removed: Removed) -> Mapping[str, Any]:
    """What went, for the log."""
    return {
        "manifests": removed.manifests,
        "files": removed.files,
        "bytes": removed.bytes,
        "log_entries": removed.log_entries,
        "missing": removed.missing,
        "troubles": removed.troubles,
    }
