"""RecommenderModelVersion: one training run; its inputs are immutable, its outputs written once."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from recsys_schemas.v1alpha1.fitting import Fit
from recsys_schemas.v1alpha1.model import Algorithm, Asked, Hyperparameters
from recsys_schemas.v1alpha1.resource import Resource, cel


class VersionPhase(StrEnum):
    """Where a version stands."""

    PENDING = "Pending"
    TRAINING = "Training"
    PREFLIGHT = "Preflight"
    CANDIDATE = "Candidate"
    CHAMPION = "Champion"
    RETIRED = "Retired"
    REJECTED = "Rejected"
    ROLLED_BACK = "RolledBack"
    FAILED = "Failed"


class ModelReference(Resource):
    """A RecommenderModel in the same namespace."""

    name: Annotated[str, Field(max_length=40)]
    """Its name."""
    uid: Annotated[str, Field(max_length=64)]
    """Its uid."""


class Cause(Resource):
    """Why it was trained."""

    trigger: Literal["Initial", "NewData", "SpecChanged", "Schedule", "Quality", "Drift"]
    """Which trigger fired."""
    detail: Annotated[str, Field(max_length=512)]
    """In words, with numbers."""
    key: Annotated[str | None, Field(max_length=512)] = None
    """What fired, and at what: it does not fire for that again."""


class SnapshotReference(Resource):
    """What it is trained on."""

    sequence: int
    """Number of the manifest below storageURI."""
    rows: int
    """Rows in it."""


class CatalogueReference(Resource):
    """What is known of the items: the catalogue as it is when the run reads it. The version card says which bytes that were."""

    uri: Annotated[str, Field(max_length=1024)]
    """As spec.data.catalogue.uri of the model was."""


class VersionSpec(Resource):
    """Inputs of one run."""

    model_config = Resource.model_config | {
        "json_schema_extra": cel(("self == oldSelf", "a version's spec is immutable: it says what was done"))
    }

    model_ref: ModelReference
    """For whom."""
    cause: Cause
    """Why."""
    snapshot: SnapshotReference
    """On what."""
    storage_uri: Annotated[str, Field(max_length=1024)]
    """Where snapshots and versions are kept."""
    catalogue: CatalogueReference | None = None
    """What is known of the items."""
    algorithm: Asked
    """What will serve, or Auto."""
    hyperparameters: Hyperparameters = Field(default_factory=Hyperparameters)
    """As asked."""
    baselines: Annotated[list[Algorithm], Field(max_length=3)] = []
    """What it must beat."""
    seed: int
    """The only source of chance."""
    num_workers: int = 1
    """Ray Train workers."""
    fit: Fit = Field(default_factory=Fit)
    """How its fits are done."""
    budget_seconds: int = 600
    """How long algorithm Auto may try."""
    parent: Annotated[str | None, Field(max_length=63)] = None
    """The champion at the time."""


class MetricValue(Resource):
    """One metric of one model of the card (decimal strings)."""

    model: str
    """Algorithm, or name of the champion."""
    metric: str
    """Which."""
    value: str
    """Mean."""
    low: str
    """Lower end of the 95 % interval."""
    high: str
    """Upper end."""


class GateVerdict(Resource):
    """One gate's verdict, in words that carry their numbers."""

    name: str
    """The gate."""
    verdict: Literal["Passed", "Failed", "Inconclusive", "Observed", "Abstained"]
    """What was decided. Observed and Abstained neither pass nor fail: the first only reports, the second had nothing to judge by."""
    message: str
    """Why."""


class Artifact(Resource):
    """What was made."""

    digest: str
    """SHA-256 over its files."""
    size_bytes: int
    """Size of its files."""


class Progress(Resource):
    """How far the present attempt of a run is."""

    step: int
    """Steps (epochs of its fits) done,"""
    of: int
    """of so many."""
    seconds_left: int | None = None
    """For the steps that are left, by how long those before took."""


class VersionStatus(Resource):
    """Outputs of one run."""

    model_config = Resource.model_config | {
        "json_schema_extra": cel(
            ("!has(oldSelf.artifact) || (has(self.artifact) && self.artifact == oldSelf.artifact)", "artifact is written once"),
        )
    }

    phase: VersionPhase = VersionPhase.PENDING
    """Where it stands."""
    attempt: int = 0
    """Which try of the run, from 0."""
    started_at: datetime | None = None
    """When the present attempt was submitted."""
    progress: Progress | None = None
    """How far the present attempt is; absent before its first step and once the version is made."""
    algorithm: Annotated[str | None, Field(max_length=63)] = None
    """What was trained: the algorithm asked for, or the one that Auto chose."""
    artifact: Artifact | None = None
    """What was made."""
    metrics: Annotated[list[MetricValue], Field(max_length=64)] = []
    """The card's metrics."""
    gates: Annotated[list[GateVerdict], Field(max_length=64)] = []
    """Verdicts: of the gates, of the guards beside them, and of the checks of its preflight."""
    report: Annotated[str | None, Field(max_length=2048)] = None
    """Where its page for people is: metrics, popularity bias, data, files; `kubectl recsys versions report` makes it anew."""
    snapshot_removed: bool = False
    """The snapshot that it was trained on is gone from the store: it cannot be trained again from it."""
    message: str = ""
    """What happened last, in words."""
