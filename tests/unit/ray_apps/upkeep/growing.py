"""A store that grows, ages and is kept up, without Kafka: what ingest would do, one step at a time."""

import json
import os
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pyarrow as pa

from ray_apps.ingest.columns import table_schema
from ray_apps.ingest.files import write_rows
from ray_apps.ingest.tables import Covered, EventTable
from ray_apps.stores.objects import Store
from ray_apps.stores.snapshots import manifest_of, open_snapshot, sequences, write_manifest
from recsys_schemas.snapshot import SnapshotManifest

WHO = "demo.movies"


def batch(first: int, count: int) -> pa.RecordBatch:
    """Rows of records `first` to `first + count` of partition 0."""
    made = [
        {
            "event_id": f"e{offset}",
            "user_id": f"u{offset % 7}",
            "item_id": "i",
            "timestamp": 1,
            "fraction": 1.0,
            "request_id": None,
            "_topic": "watch",
            "_partition": 0,
            "_offset": offset,
            "_timestamp": 1000 + offset,
            "_payload_crc32": offset,
        }
        for offset in range(first, first + count)
    ]
    return pa.RecordBatch.from_pylist(made, schema=table_schema("watch"))


@dataclass
class Growing:
    """One table with its writer, and what every manifest must give for as long as it is there."""

    store: Store
    offset: int = 0
    table: EventTable = field(init=False)
    promised: dict[int, int] = field(default_factory=dict[int, int])
    """Sequence → rows: offsets 0 to rows - 1."""

    def __post_init__(self) -> None:
        self.claim()

    def claim(self) -> None:
        """A new process takes over."""
        self.table = EventTable.claim(self.store, "watch", consumer=WHO, topics=["watch"], dead_letter_topic="dead", cluster_id="kafka-a")
        self.offset = self.table.state.offsets.get(("watch", 0), 0)

    def publish(self, count: int = 3, *, manifest: bool = True) -> SnapshotManifest:
        """One commit, and its manifest unless the writer dies before it."""
        file = write_rows(self.store, "watch", [batch(self.offset, count)], time.time())
        self.offset += count
        self.table.publish(file, Covered(offsets={("watch", 0): self.offset}, dead_letters=0, newest_ms=1000))
        made = manifest_of("kafka-a", [self.table.state])
        if manifest:
            write_manifest(self.store, made)
            self.promised[made.sequence] = self.offset
        return made

    def age(self, by: timedelta) -> None:
        """Let time pass: everything that is there becomes so much older. The writer begins anew, for it remembers times."""
        seconds = by.total_seconds()
        for path in sorted(path for path in Path(self.store.root).rglob("*") if path.is_file()):
            written = path.stat().st_mtime
            if path.parent.name == "_delta_log" and path.suffix == ".json":
                path.write_bytes(b"\n".join(_older(line, seconds) for line in path.read_bytes().splitlines()))
            elif path.parent.name == "manifests":
                manifest = SnapshotManifest.model_validate_json(path.read_bytes())
                path.write_text(manifest.model_copy(update={"committed_at": manifest.committed_at - by}).model_dump_json(indent=1))
            os.utime(path, times=(written - seconds, written - seconds))
        self.claim()

    def check(self, *, kept: set[int] | None = None) -> None:
        """Every manifest that is there gives exactly its rows; those in `kept` are there."""
        there = sequences(self.store)
        assert not (kept or set()) - set(there)
        for sequence in there:
            offsets = open_snapshot(self.store, sequence).rows("watch", ["_offset"])["_offset"].to_pylist()
            assert offsets == list(range(self.promised[sequence])), f"snapshot {sequence}"


def _older(line: bytes, seconds: float) -> bytes:
    entry = json.loads(line)
    if "commitInfo" not in entry:
        return line
    entry["commitInfo"]["timestamp"] -= int(seconds * 1000)
    return json.dumps(entry, separators=(",", ":")).encode()
