"""What the operator asks of a Ray job: the single `--job` argument, as JSON."""

from typing import Annotated

from pydantic import Field

from recsys_schemas.artifact import Artifact
from recsys_schemas.catalogue import CatalogueSource, CatalogueToRead
from recsys_schemas.event_fields import AddedField
from recsys_schemas.kafka_access import KafkaSecurity


class ModelIdentity(Artifact):
    """Which RecommenderModel a job works for."""

    namespace: str
    """Kubernetes namespace."""
    name: str
    """Kubernetes name."""
    uid: str
    """Kubernetes uid: a model deleted and made again is another model."""


class TopicToRead(Artifact):
    """A topic of events and the schema that its records must fit."""

    topic: str
    """Kafka topic."""
    event_type: str
    """watch, rate, or responses: answers of the model's own API."""


class IngestJob(Artifact):
    """Long-running: events become snapshots."""

    model: ModelIdentity
    """For whom."""
    bootstrap_servers: list[str]
    """Kafka brokers."""
    topics: list[TopicToRead]
    """What to read."""
    dead_letter_topic: str
    """Where records go that fit no schema."""
    storage_uri: str
    """Where tables and manifests are kept."""
    roll_max_records: Annotated[int, Field(ge=1)]
    """A commit is made after so many records,"""
    roll_max_seconds: Annotated[float, Field(gt=0)]
    """or after so many seconds with at least one record."""
    consumers: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes that read; one of them publishes what all have read."""
    kafka_security: KafkaSecurity | None = None
    """How the brokers are reached, by names of Secrets; none: in plain text."""
    schema_registry_url: str | None = None
    """Records are in the Confluent wire format, and their schemas there."""
    catalogue: CatalogueToRead | None = None
    """Which items there are."""
    added_fields: dict[str, list[AddedField]] = {}
    """By event type: optional fields beyond the built-in ones."""
    duplicate_window: Annotated[int, Field(ge=0, le=1_000_000)] = 100_000
    """An event whose id a row has that stands at most so many offsets before it in its partition is put aside; 0: none is."""


AUTO = "Auto"
"""Stands for the best of several algorithms on users held out for that."""


class WorkerResources(Artifact):
    """What each Ray Train worker reserves."""

    cpu: Annotated[float, Field(gt=0)] = 1.0
    """CPUs."""
    gpu: Annotated[float, Field(ge=0)] = 0.0
    """GPUs."""
    memory_megabytes: Annotated[int | None, Field(ge=1)] = None
    """Memory, in millions of bytes."""


class Search(Artifact):
    """Trials of other hyperparameters before the version is made."""

    max_trials: Annotated[int, Field(ge=1)]
    """So many at most."""
    parallel_trials: Annotated[int, Field(ge=1)] = 1
    """So many at a time."""
    max_seconds: Annotated[float | None, Field(gt=0)] = None
    """No trial begins later than this."""


class TrainJob(Artifact):
    """One run: a snapshot becomes a version."""

    model: ModelIdentity
    """For whom."""
    version: str
    """The version to make."""
    storage_uri: str
    """Where snapshots and versions are kept."""
    snapshot_sequence: Annotated[int, Field(ge=0)]
    """Which manifest to read."""
    algorithm: str
    """What will serve, or AUTO."""
    hyperparameters: dict[str, float | int | str]
    """As asked; defaults are filled in and recorded."""
    baselines: list[str]
    """What it must beat."""
    seed: int
    """The only source of chance."""
    champion: str | None = None
    """The version serving now, measured on the same users."""
    num_workers: Annotated[int, Field(ge=1)] = 1
    """Ray Train workers."""
    resources_per_worker: WorkerResources = WorkerResources()
    """What each of them reserves."""
    warm_start: bool = False
    """Begin from the champion's vectors where it is of the same algorithm, with half of the iterations."""
    window_days: Annotated[int | None, Field(ge=1)] = None
    """Learn from so many of the newest days; none: from everything."""
    replay_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    """With a window: this part of what is older is learned from too."""
    history_half_life: Annotated[float | None, Field(gt=0)] = None
    """Likes after which an older one counts half when a model is asked, in metrics and where it serves; none: all alike."""
    search: Search | None = None
    """Look for better hyperparameters first."""
    budget_seconds: Annotated[float, Field(gt=0)] = 600.0
    """AUTO: no further algorithm is tried after so many seconds of trying."""
    catalogue: CatalogueSource | None = None
    """What is known of the items; none: nothing but the events."""
    attribution_seconds: Annotated[float, Field(gt=0)] = 300.0
    """An event that names an answer is its reward when it comes within so long; younger answers are not judged by yet."""
    group_by: Annotated[list[str], Field(max_length=32)] = []
    """Added fields of events by whose values users are grouped, for the gaps between groups; `activity` is always there."""


class PreflightJob(Artifact):
    """One run: a version is tried in a process apart."""

    model: ModelIdentity
    """For whom."""
    version: str
    """The version to try."""
    digest: str
    """What its bytes must hash to."""
    storage_uri: str
    """Where versions are kept."""
    timeout_ms: Annotated[float, Field(gt=0)]
    """The serving deadline that its p99 must hold."""
    run: str = ""
    """Name of the trial, for a version that is tried again; its report carries it."""


class UpkeepJob(Artifact):
    """One run: small files become few, and what is past its retention goes."""

    model: ModelIdentity
    """For whom."""
    storage_uri: str
    """Where snapshots and versions are kept."""
    run: Annotated[int, Field(ge=0)]
    """Number of the run."""
    retention_days: Annotated[int, Field(ge=1)]
    """A snapshot is kept for so many days after a newer one took its place."""
    keep_sequences: list[Annotated[int, Field(ge=0)]] = []
    """Snapshots that are kept however old they are: those that retained versions were trained on."""
    keep_versions: list[str] = []
    """Versions of this model whose files are kept; of the others those that are numbered below the newest of these go. Empty: all stay."""
