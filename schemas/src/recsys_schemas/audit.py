"""Audit: one record for each decision of a rollout, on a Kafka topic, with all that it was decided from and the hash of the one before."""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from recsys_schemas.artifact import Artifact
from recsys_schemas.serving_evidence import ReplicaReport
from recsys_schemas.serving_record import Arm
from recsys_schemas.train_job import ModelIdentity
from recsys_schemas.v1alpha1.arms import LeftArm
from recsys_schemas.v1alpha1.model_status import Quarantined
from recsys_schemas.v1alpha1.rollout import Pinned, RolloutPhase, RolloutSpec, RolloutStatus
from recsys_schemas.v1alpha1.strategy import Rollout
from recsys_schemas.v1alpha1.version import VersionPhase

FIRST = "0" * 64
"""What the first record of a model names as the hash of the one before."""


def canonical(value: Any) -> bytes:
    """JSON in which equal values have equal bytes.

    >>> canonical({"b": 1, "a": "é"}).decode()
    '{"a":"é","b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(fields: Mapping[str, Any]) -> str:
    """SHA-256 over the canonical JSON of a record's fields but `sha256`, hexadecimal."""
    return hashlib.sha256(canonical({name: value for name, value in fields.items() if name != "sha256"})).hexdigest()


class OtherRollout(Artifact):
    """An earlier rollout of the model, as far as a decision rests on it."""

    name: str
    """Its name."""
    candidate: Pinned
    """What it tried."""
    stable: Pinned | None = None
    """What served before."""
    holdback: int = 0
    """How many percent of the users stayed there."""
    phase: RolloutPhase
    """How it ended."""
    ended_at: datetime | None = None
    """When."""
    promoted_at: datetime | None = None
    """When it was promoted."""
    winner: Pinned | None = None
    """The arm that was promoted, where it is not the candidate."""
    left: list[LeftArm] = []
    """Arms that were sent back while it went on."""


class OtherVersion(Artifact):
    """A version that a decision names: the one that supersedes, or that is gone back to."""

    name: str
    """Its name."""
    phase: VersionPhase
    """Where it stood."""
    digest: str | None = None
    """As recorded when it was made."""
    card_digest: str | None = None
    """As its card said; none: it could not be read, or there is none."""


class ServedApp(Artifact):
    """The model's application on the Ray cluster."""

    running: list[str]
    """Ids of the replicas that ran."""
    epoch: int | None = None
    """Of the record that was deployed; none: there was none."""
    arms: list[Arm] = []
    """Its arms."""


class MeasuredMetric(Artifact):
    """A metric that the rollout's spec adds, as it was read."""

    stable: tuple[float, float] = (0.0, 0.0)
    """How often, among how many, of the stable arm."""
    candidate: tuple[float, float] = (0.0, 0.0)
    """Of the candidate."""
    unavailable: str | None = None
    """Why it could not be read."""


class Inputs(Artifact):
    """All that one decision of a rollout was made from: limits and budget (in the rollout's spec), counts, wishes and the clock."""

    now: datetime
    """The clock."""
    topics: str
    """The state of the topics, in its word."""
    suspend: bool = False
    """Whether the model was suspended."""
    rollout: Rollout
    """The model's `spec.rollout`: freeze windows, wishes, what supersedes."""
    name: str
    """Of the rollout."""
    spec: RolloutSpec
    """Its spec: steps, limits, error budget, and what people asked."""
    status: RolloutStatus
    """Its status before, without decisions."""
    decided: int
    """How many decisions came before."""
    others: list[OtherRollout] = []
    """Earlier rollouts that the shares follow from."""
    versions: list[OtherVersion] = []
    """Versions that supersede, are gone back to, or stay loaded."""
    quarantined: list[Quarantined] = []
    """Digests that were not tried again."""
    store_read: bool = True
    """Whether the store could be read."""
    ray_read: bool = True
    """Whether the Ray cluster could be read."""
    app: ServedApp | None = None
    """What it serves."""
    reports: list[ReplicaReport] | None = None
    """Of the replicas, with their counts added up in the first ones; none: they could not be read."""
    metrics: dict[str, MeasuredMetric] = {}
    """What Prometheus said."""


class Outcome(Artifact):
    """What was done."""

    word: str
    """The state of the rollout in its word."""
    phase: RolloutPhase
    """The phase that followed."""
    weight: int = Field(ge=0, le=100)
    """The candidate's share that was asked for, percent."""
    about: str = ""
    """The versions that it was about, where not the candidate alone."""


class Kept(Artifact):
    """What a decision keeps until the topic has it."""

    inputs: Inputs
    """From what it was made."""
    outcome: Outcome
    """What was done."""


class AuditRecord(Artifact):
    """One decision. Its value on the topic is canonical JSON: keys sorted, no spaces, UTF-8; its key is the model's uid."""

    schema_version: Literal[1] = 1
    """Of this record."""
    model: ModelIdentity
    """Whose."""
    sequence: int = Field(ge=0)
    """How many records of this model came before."""
    rollout: str
    """Of which rollout."""
    number: int = Field(ge=0)
    """How many decisions of this rollout came before."""
    candidate: str
    """The version that it is about."""
    stable: str | None = None
    """What it was compared with; none before the first."""
    time: datetime
    """When it was decided (UTC)."""
    step: int
    """At which step, from 0."""
    action: str
    """What was done, in words."""
    verdict: str
    """What was decided, in one word."""
    by: str = ""
    """Who asked for it; empty when nobody did."""
    words: str
    """Why."""
    kept: Kept | None = None
    """From what it was decided; none: that was given up, because the topic could not be written for long."""
    previous: str
    """`sha256` of the record before; 64 zeros in the first."""
    sha256: str
    """SHA-256 over the canonical JSON of all other fields, hexadecimal."""

    @property
    def id(self) -> str:
        """Another one once it says something else."""
        return f"{self.sequence}/{self.sha256}"

    @property
    def sealed(self) -> "AuditRecord":
        """The record with its hash."""
        return self.model_copy(update={"sha256": digest(self._fields)})

    @property
    def written(self) -> bytes:
        """As it stands on the topic."""
        return canonical(self._fields)

    @property
    def _fields(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
