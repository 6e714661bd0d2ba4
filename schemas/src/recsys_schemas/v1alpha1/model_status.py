"""The status of a RecommenderModel."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from recsys_schemas.v1alpha1.arms import MOST_BESIDE
from recsys_schemas.v1alpha1.conditions import Condition
from recsys_schemas.v1alpha1.ray_cluster import KeptCluster
from recsys_schemas.v1alpha1.replication import Replication
from recsys_schemas.v1alpha1.resource import Resource, list_map
from recsys_schemas.v1alpha1.telling import AuditStatus, NotificationStatus, Told
from recsys_schemas.v1alpha1.triggers import TriggerStatus


class ServedVersion(Resource):
    """A version that takes traffic."""

    version: str
    """Its name."""
    digest: str
    """Its digest, verified by the replicas."""
    weight: int
    """Percent of users, as the replicas report it."""
    since: datetime | None = None
    """Since when it has been the champion."""


class LastUpkeep(Resource):
    """The last run of upkeep: compaction and retention."""

    run: int
    """Its number."""
    time: datetime
    """When it was done."""
    files: int
    """Files of all tables afterwards."""
    size_bytes: int
    """Their size."""
    oldest_sequence: int | None = None
    """The oldest snapshot that is left."""
    message: str
    """What was done, with numbers."""


class FurthestBehind(Resource):
    """The partition whose oldest uncovered record has waited longest."""

    topic: str
    """Its topic."""
    partition: int
    """Its number."""
    records: int
    """Its part of lagRecords."""
    since: datetime
    """Since when the oldest of them could be read."""


class Ingestion(Resource):
    """Events to snapshots."""

    rows: int
    """Events in the newest snapshot."""
    lag_records: int
    """Offsets on the topics of events and answers that can be read and that it does not cover; 0 when all records are covered."""
    dead_letters: int
    """Records put aside since the beginning."""
    dead_letter_fraction: str | None = None
    """Part of the newest records that was put aside, a decimal string; maxDeadLetterFraction bounds it."""
    sequence: int
    """Its manifest."""
    last_snapshot_time: datetime
    """When it was committed."""
    storage_uri: str = ""
    """Where snapshots and versions are kept, resolved."""
    last_upkeep: LastUpkeep | None = None
    """Compaction and retention."""
    lag_seconds: int = 0
    """How long the oldest of them could have been read by now; 0 without any."""
    furthest_behind: FurthestBehind | None = None
    """Where that one is; absent without lag."""
    consumers: int = 1
    """Processes that read."""


class CatalogueStatus(Resource):
    """How complete the catalogue is, as ingest read it last."""

    items: int
    """Rows that are items."""
    refused: int
    """Rows that are none; the report in the store, catalogue/report.json, names the first 20 with their lines."""
    with_title: str
    """Part of the items that has a title, a decimal string."""
    with_genres: str
    """Part that has genres."""
    with_text: str
    """Part that has text."""
    message: str
    """Why it cannot be read, or the first refused row; empty when all is well."""


class Quality(Resource):
    """The champion's held-out metrics (decimal strings)."""

    ndcg10: str
    """NDCG@10."""
    hr10: str
    """HR@10."""


class ServingRetry(Resource):
    """Ray Serve has given the application up, and it is sent again with growing pauses."""

    attempts: int
    """How often it was sent again."""
    next_time: datetime
    """From when on it is sent once more, if it has not started by then."""


class ServingStatus(Resource):
    """The serving application."""

    replicas: int
    """Wanted."""
    ready_replicas: int
    """Running and serving the wanted record."""
    epoch: int
    """Of the record last sent."""
    url: str
    """Where the API answers."""
    selector: str
    """Label selector, for the scale subresource."""
    retry: ServingRetry | None = None
    """Only while it does not start."""


class Freshness(Resource):
    """How long events took to be known to the answers: the slowest replica, over the last five minutes."""

    p50_milliseconds: int
    """The median; an upper bound."""
    p99_milliseconds: int
    """The 99th percentile; an upper bound."""
    target_milliseconds: int
    """What it should be at most."""
    events: int
    """How many events it was measured on, in the replica that saw most."""


class HistoryEntry(Resource):
    """How one rollout ended."""

    version: str
    """Of the candidate."""
    outcome: str
    """Promoted, ReturnedTo, RolledBack, Aborted, Superseded, Rejected or Failed."""
    time: datetime
    """When."""
    message: str
    """Why, with numbers."""


class Quarantined(Resource):
    """Bytes that were sent back: no version that has them is tried."""

    digest: Annotated[str, Field(max_length=128)]
    """What they hash to."""
    version: Annotated[str, Field(max_length=63)]
    """Who had them."""
    since: datetime
    """When its rollout ended."""


class ModelStatus(Resource):
    """What is. Machines read conditions; the phase is for people."""

    observed_generation: int = 0
    """The spec's generation that this status was made from."""
    phase: str = "Pending"
    """Pending, Ingesting, Training, Preflight, Deploying, Canary, Serving, Suspended or Stalled."""
    champion: ServedVersion | None = None
    """What serves."""
    challenger: ServedVersion | None = None
    """What tries to replace it."""
    arms: Annotated[list[ServedVersion], Field(max_length=MOST_BESIDE)] = []
    """Of a test with several arms: what takes part beside the challenger."""
    cluster: KeptCluster | None = None
    """The Ray cluster that KubeRay keeps; absent with spec.ray.dashboardURL."""
    replication: Replication | None = None
    """Topics."""
    ingestion: Ingestion | None = None
    """Events to snapshots."""
    catalogue: CatalogueStatus | None = None
    """Which items there are."""
    quality: Quality | None = None
    """The champion's held-out metrics."""
    triggers: Annotated[list[TriggerStatus], Field(max_length=16, json_schema_extra=list_map("key"))] = []
    """What triggers remember."""
    serving: ServingStatus | None = None
    """The serving application."""
    freshness: Freshness | None = None
    """How long events take to be known to the answers."""
    told: Told | None = None
    """How far decisions have been told by Events."""
    notifications: Annotated[list[NotificationStatus], Field(max_length=8, json_schema_extra=list_map("name"))] = []
    """How far each place of spec.notifications has been told."""
    audit: AuditStatus | None = None
    """How far decisions are on the topic with the role Decisions."""
    quarantined: Annotated[list[Quarantined], Field(max_length=100)] = []
    """The last 100 digests that are not tried again, oldest first."""
    history: Annotated[list[HistoryEntry], Field(max_length=20)] = []
    """The last 20 rollouts, newest first."""
    conditions: Annotated[
        list[Condition],
        Field(max_length=32, json_schema_extra=list_map("type")),
    ] = []
    """The contract for machines."""
