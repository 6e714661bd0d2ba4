"""What a verdict depends on beside the record itself: the schemas, the rows before it, and the letters that are written already."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel

from ray_apps.ingest.catalogue import CatalogueFile
from ray_apps.ingest.columns import events_of
from ray_apps.ingest.duplicates import Duplicates, recall
from ray_apps.ingest.framing import Framing
from ray_apps.ingest.registry import SchemaRegistry
from ray_apps.stores.objects import Store
from ray_apps.stores.snapshots import TopicPartition
from recsys_schemas.event_fields import TABLES
from recsys_schemas.events import DeadLetter
from recsys_schemas.train_job import IngestJob

Aside = Mapping[tuple[str, int, int], DeadLetter]
"""Dead letters by the topic, partition and offset of their records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """What one reader judges by, from the positions at which it begins."""

    duplicates: Duplicates = field(default_factory=lambda: Duplicates(0))
    """The rows before."""
    framing: Framing | None = None
    """How values are taken out of their frames; None: they are JSON as they are."""
    catalogue: CatalogueFile | None = None
    """Which items there are."""
    events: Mapping[str, type[BaseModel]] = field(default_factory=TABLES.copy)
    """What the records of each event type must fit."""
    aside: Aside = field(default_factory=dict["tuple[str, int, int]", DeadLetter])
    """Records that are dead letters already: they stay so."""

    @property
    def items(self) -> frozenset[str] | None:
        """Items that events may speak of; None: any."""
        return self.catalogue.items if self.catalogue else None

    def renew(self, now: float) -> None:
        """Look whether the catalogue has changed, when it is time to; `now` in clock seconds."""
        if self.catalogue:
            self.catalogue.follow(now)


def grounds_at(store: Store, job: IngestJob, positions: Mapping[TopicPartition, int], aside: Aside) -> Grounds:
    """Read from the tables what a reader must know that begins at these positions.

    Args:
        store: where the tables lie.
        job: what is consumed.
        positions: the next offset of each partition that will be read.
        aside: letters that are written of records from there on.
    """
    duplicates = Duplicates(job.duplicate_window)
    for event_type in sorted({each.event_type for each in job.topics}):
        topics = {each.topic for each in job.topics if each.event_type == event_type}
        mine = {place: offset for place, offset in positions.items() if place[0] in topics}
        duplicates.remember(recall(store, event_type, mine, duplicates.length))
    catalogue = CatalogueFile(job.catalogue, store) if job.catalogue else None
    framing = Framing(SchemaRegistry(job.schema_registry_url)) if job.schema_registry_url else None
    return Grounds(framing=framing, catalogue=catalogue, events=events_of(job), duplicates=duplicates, aside=aside)
