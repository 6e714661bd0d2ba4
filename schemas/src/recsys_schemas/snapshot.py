"""The snapshot: what ingest hands to training.

One Delta Lake table for each event type, and one for logged answers, holds the rows; the commit that publishes files carries, as
Delta application transactions `{consumer}/{topic}-{partition}`, the next offset of each partition that they cover. A manifest names one
version of each table, so that a snapshot opens the same rows until retention removes it. Manifests are numbered by the sum of (table
version + 1), which every commit raises by one, and are never rewritten. Claims and compactions are commits without new rows: they
take numbers too, to which no manifest belongs.
"""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from recsys_schemas.artifact import Artifact

MANIFEST_FOLDER = "manifests"
LATEST_MANIFEST = f"{MANIFEST_FOLDER}/latest.json"


def manifest_path(sequence: int) -> str:
    """Path of a manifest below the storage URI: `manifests/000000000042.json`."""
    return f"{MANIFEST_FOLDER}/{sequence:012d}.json"


class PartitionOffset(Artifact):
    """How far a snapshot covers one partition."""

    topic: str
    """Kafka topic."""
    partition: Annotated[int, Field(ge=0)]
    """Kafka partition."""
    next_offset: Annotated[int, Field(ge=0)]
    """The first offset that is not covered."""


class TableVersion(Artifact):
    """One version of one event type's table."""

    event_type: str
    """watch, rate or responses."""
    path: str
    """Folder of the table below the storage URI."""
    version: Annotated[int, Field(ge=0)]
    """Delta table version."""
    rows: Annotated[int, Field(ge=0)]
    """Rows in that version."""


PROFILE_EVENTS = 20_000
PROFILE_BUCKETS = 64


class EventProfile(Artifact):
    """Which items the newest events of a snapshot speak of, so that two snapshots can be compared without reading either."""

    sequence: Annotated[int, Field(ge=0)]
    """The manifest."""
    events: Annotated[int, Field(ge=0)]
    """How many events were counted: the newest PROFILE_EVENTS by their own time, and what shares the time of the last of them."""
    buckets: list[Annotated[int, Field(ge=0)]]
    """Events by CRC-32 of the item's id modulo PROFILE_BUCKETS: bounded, and the same item is always in the same place."""


class SnapshotManifest(Artifact):
    """One snapshot: table versions and the offsets that they cover."""

    sequence: Annotated[int, Field(ge=0)]
    """Grows with each commit of any table; not every number has a manifest."""
    cluster_id: str
    """The Kafka cluster that the offsets belong to."""
    tables: list[TableVersion]
    """One entry for each event type with data."""
    offsets: list[PartitionOffset]
    """One entry for each partition read so far, sorted."""
    rows: Annotated[int, Field(ge=0)]
    """Events: rows over the tables of watches and ratings. Logged answers are not counted here, for nobody learns from them."""
    dead_letters: Annotated[int, Field(ge=0)]
    """Records put aside since the first commit, over all topics (counted from committed offsets, exactly once)."""
    recent_records: Annotated[int, Field(ge=0)] | None = None
    """The newest records of events, good and bad: of each event type the last 10,000 to 20,000, rounded up to whole commits.
    Events that a producer sent again are in neither count: they harm nothing."""
    recent_dead_letters: Annotated[int, Field(ge=0)] | None = None
    """Those of them that were put aside."""
    committed_at: datetime
    """When the newest commit became visible (UTC)."""
    newest_event_at: datetime | None = None
    """Broker time of the newest record covered (UTC)."""

    @property
    def all_rows(self) -> int:
        """Rows over all tables, logged answers among them."""
        return sum(table.rows for table in self.tables)
