"""What a plan may ask for. Every action is idempotent and carries a derived id: doing it twice changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from recsys_schemas.audit import AuditRecord
from recsys_schemas.mirror import MirrorJob
from recsys_schemas.news import News
from recsys_schemas.serving_record import ServingArguments, ServingRecord
from recsys_schemas.train_job import IngestJob, PreflightJob, TrainJob, UpkeepJob
from recsys_schemas.v1alpha1.rollout import RolloutSpec, RolloutStatus
from recsys_schemas.v1alpha1.serving import Autoscaling, ReplicaResources
from recsys_schemas.v1alpha1.telling import Notification
from recsys_schemas.v1alpha1.version import VersionSpec, VersionStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class AddFinalizer:
    """From now on a deletion waits for us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveFinalizer:
    """All that the model owned outside Kubernetes is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTopic:
    """Make a topic; one that exists is left alone."""

    name: str
    partitions: int
    replicas: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowTopic:
    """Raise the number of partitions; never lower it."""

    name: str
    partitions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigureTopic:
    """Set the named keys (KIP-339, incremental); others stay."""

    name: str
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrottleReplication:
    """Bound how fast replicas are copied (KIP-73), before any is."""

    rates: Mapping[int, int]
    """Broker → bytes a second, sent and received."""
    topics: Mapping[str, Mapping[str, str]]
    """Topic → the keys that name its throttled replicas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReassignReplicas:
    """Give partitions these replicas (KIP-455). Those that they have stand first: replicas are only ever added."""

    topic: str
    partitions: Mapping[int, tuple[int, ...]]
    """Partition → brokers in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnthrottleReplication:
    """Take throttles away that were ours; what is not there is left alone."""

    brokers: tuple[int, ...]
    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureTokens:
    """Make the Secret with the API's tokens when it is missing; an existing one is never changed."""

    secret: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitJob:
    """Start a Ray job under this id; one that was submitted before under it is left alone."""

    id: str
    job: IngestJob | TrainJob | PreflightJob | UpkeepJob | MirrorJob


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOwnJob:
    """Start a training run on a cluster of its own, as a RayJob; one that was made before under this id is left alone."""

    id: str
    job: TrainJob
    spec: Mapping[str, Any]
    """The RayJob's, all but its entrypoint."""
    queue: str | None
    """Kueue's LocalQueue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopJob:
    """Stop a Ray job; one that has ended is left alone."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetJob:
    """Delete the record of a job that has ended."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateVersion:
    """Make a RecommenderModelVersion; one of that name is left alone."""

    name: str
    spec: VersionSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteVersionStatus:
    """Write the status of a version."""

    name: str
    status: VersionStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteVersion:
    """Delete an ended version's object and its rollout's; files stay."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRollout:
    """Make a RecommenderRollout; one of that name is left alone."""

    name: str
    spec: RolloutSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteRolloutStatus:
    """Write the status of a rollout."""

    name: str
    status: RolloutStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployApp:
    """Put the model's application into the cluster's Serve config, beside all others, or change it there."""

    name: str
    route_prefix: str
    replicas: int
    arguments: ServingArguments
    record: ServingRecord
    autoscaling: Autoscaling | None = None
    resources: ReplicaResources = field(default_factory=ReplicaResources)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveApp:
    """Take the model's application out of the cluster's Serve config; all others stay."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepCluster:
    """Claim a kept cluster for this model, and say how it is where this model is the one to say."""

    name: str
    mounts: tuple[tuple[str, str], ...]
    """What this model's processes read there."""
    spec: Mapping[str, Any] | None
    """None: another model says how it is."""
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseCluster:
    """Give this model's claim on a kept cluster up; without any claim the cluster goes."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishEvent:
    """A Kubernetes Event on the model: told to people, read by no part of the product."""

    reason: str
    message: str
    severity: Literal["Normal", "Warning"] = "Normal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """Tell people of a decision by a webhook: put in line, and sent by itself; what is in line or sent already is left alone."""

    place: Notification
    news: News


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendRecord:
    """Write a decision to the audit topic: put in line, and written by itself, in order; what is in line or written is left alone."""

    topic: str
    record: AuditRecord


Action: TypeAlias = (
    AddFinalizer
    | RemoveFinalizer
    | CreateTopic
    | GrowTopic
    | ConfigureTopic
    | ThrottleReplication
    | ReassignReplicas
    | UnthrottleReplication
    | EnsureTokens
    | SubmitJob
    | RunOwnJob
    | StopJob
    | ForgetJob
    | CreateVersion
    | WriteVersionStatus
    | DeleteVersion
    | CreateRollout
    | WriteRolloutStatus
    | DeployApp
    | RemoveApp
    | KeepCluster
    | ReleaseCluster
    | PublishEvent
    | Notify
    | AppendRecord
)
