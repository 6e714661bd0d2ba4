"""`recsys snapshots list | show | diff`: what snapshots there are, what one is made of, and what came between two."""

from dataclasses import asdict, dataclass

import pyarrow.compute as pc

from ray_apps.cli.text import size, table, tell, tell_json
from ray_apps.stores.objects import StorageError, Store
from ray_apps.stores.snapshots import OFFSET, PARTITION, TOPIC, files_of, open_snapshot, read_manifest, sequences
from recsys_schemas.snapshot import SnapshotManifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """Rows that one partition gained between two snapshots."""

    event_type: str
    topic: str
    partition: int
    from_offset: int
    to_offset: int
    rows: int


def list_snapshots(store: Store, last: int, *, as_json: bool) -> int:
    """Print the newest snapshots, the newest first.

    Raises:
        StorageError: there is none.
    """
    known = sequences(store)
    if not known:
        read_manifest(store)  # says what is amiss
    shown = [read_manifest(store, sequence) for sequence in reversed(known[-last:])]
    if as_json:
        tell_json([manifest.model_dump(mode="json") | {"lag_seconds": _lag_s(manifest)} for manifest in shown])
        return 0
    heads = ("SEQUENCE", "COMMITTED AT", "ROWS", "DEAD LETTERS", "LAG", "TABLES")
    tell(table(heads, (_row(manifest) for manifest in shown)))
    if len(known) > len(shown):
        tell(f"\n{len(known) - len(shown)} older ones from {known[0]} on; --last {len(known)} shows all")
    return 0


def _row(manifest: SnapshotManifest) -> tuple[object, ...]:
    lag_s = _lag_s(manifest)
    tables = ", ".join(f"{each.event_type}@{each.version}" for each in manifest.tables)
    at = manifest.committed_at.isoformat(timespec="seconds")
    return (manifest.sequence, at, manifest.rows, manifest.dead_letters, None if lag_s is None else f"{lag_s:.1f} s", tables)


def _lag_s(manifest: SnapshotManifest) -> float | None:
    """Seconds from the newest record's own time to its visibility."""
    if manifest.newest_event_at is None:
        return None
    return round((manifest.committed_at - manifest.newest_event_at).total_seconds(), 3)


def show(store: Store, sequence: int | None, *, with_files: bool, as_json: bool) -> int:
    """Print the tables of a snapshot, the offsets that it covers, and its files.

    Raises:
        StorageError: there is no such snapshot.
    """
    manifest = read_manifest(store, sequence)
    files = {each.event_type: files_of(store, each) for each in manifest.tables}
    if as_json:
        listed = {event_type: [asdict(file) for file in of_table] for event_type, of_table in files.items()}
        tell_json(manifest.model_dump(mode="json") | {"uri": store.uri, "files": listed})
        return 0
    total = sum(file.size for of_table in files.values() for file in of_table)
    at = manifest.committed_at.isoformat(timespec="seconds")
    tell(f"snapshot {manifest.sequence} of {store.uri}, committed at {at}, Kafka cluster {manifest.cluster_id}")
    tell(f"{manifest.rows} rows, {manifest.dead_letters} dead letters, {size(total)}\n")
    rows = (
        (t.event_type, t.version, t.rows, len(files[t.event_type]), size(sum(f.size for f in files[t.event_type]))) for t in manifest.tables
    )
    tell(table(("TABLE", "VERSION", "ROWS", "FILES", "SIZE"), rows))
    tell("")
    tell(table(("TOPIC", "PARTITION", "NEXT OFFSET"), ((o.topic, o.partition, o.next_offset) for o in manifest.offsets)))
    if with_files:
        tell("")
        tell(table(("FILE", "ROWS", "SIZE"), ((f.path, f.rows, size(f.size)) for of_table in files.values() for f in of_table)))
    return 0


def diff(store: Store, older: int, newer: int, *, as_json: bool) -> int:
    """Print the rows that each table and partition gained from one snapshot to a later one.

    Raises:
        StorageError: one of them is not there, or the second is the older one.
    """
    if older > newer:
        raise StorageError(f"snapshots {older} and {newer}: name the older one first: `diff {newer} {older}`")
    before, after = read_manifest(store, older), read_manifest(store, newer)
    added = rows_added(store, before, after)
    dead = after.dead_letters - before.dead_letters
    if as_json:
        changed = {"rows": after.rows - before.rows, "dead_letters": dead}
        tell_json({"from": older, "to": newer, **changed, "added": [asdict(each) for each in added]})
        return 0
    heads = ("TABLE", "TOPIC", "PARTITION", "FROM OFFSET", "TO OFFSET", "ROWS ADDED")
    tell(table(heads, ((a.event_type, a.topic, a.partition, a.from_offset, a.to_offset, a.rows) for a in added)))
    tell(f"\n{after.rows - before.rows} rows and {dead} dead letters from snapshot {older} to {newer}")
    return 0


def rows_added(store: Store, before: SnapshotManifest, after: SnapshotManifest) -> list[Added]:
    """Count the rows of each partition at offsets that the older snapshot does not cover.

    The files of the two say nothing, for compaction exchanges them.
    """
    began = {(each.topic, each.partition): each.next_offset for each in before.offsets}
    ended = {(each.topic, each.partition): each.next_offset for each in after.offsets}
    least = min((began.get(place, 0) for place in ended), default=0)
    found: list[Added] = []
    for event_type, dataset in open_snapshot(store, after.sequence).datasets.items():
        seen = dataset.to_table(columns=[TOPIC, PARTITION, OFFSET], filter=pc.field(OFFSET) >= least)
        for (topic, partition), upto in sorted(ended.items()):
            start = began.get((topic, partition), 0)
            here = seen.filter(pc.and_(pc.equal(seen[TOPIC], topic), pc.equal(seen[PARTITION], partition)))
            rows = int(pc.sum(pc.greater_equal(here[OFFSET], start)).as_py() or 0)
            if rows:
                made = Added(event_type=event_type, topic=topic, partition=partition, from_offset=start, to_offset=upto, rows=rows)
                found.append(made)
    return found
