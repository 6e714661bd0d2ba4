"""What one pass has seen: the whole world of one model, frozen, with the time at which it was read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from recsys_schemas.catalogue import CatalogueReport
from recsys_schemas.mirror import MirrorReport
from recsys_schemas.serving_evidence import EvidenceResponse
from recsys_schemas.serving_record import Role, ServingArguments, ServingRecord
from recsys_schemas.snapshot import SnapshotManifest
from recsys_schemas.upkeep import UpkeepReport
from recsys_schemas.v1alpha1.model import ModelSpec
from recsys_schemas.v1alpha1.model_status import ModelStatus
from recsys_schemas.v1alpha1.rollout import Pinned, RolloutSpec, RolloutStatus
from recsys_schemas.v1alpha1.serving import Autoscaling, ReplicaResources
from recsys_schemas.v1alpha1.version import VersionSpec, VersionStatus
from recsys_schemas.version_card import PreflightReport, RunProgress, VersionCard


@dataclass(frozen=True, slots=True, kw_only=True)
class Unavailable:
    """A part of the world that could not be read; the message names it, what was seen, and the mend."""

    message: str
    refused: bool = False
    """The other side answered and said no: waiting alone will not help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """Which model."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How an object stood when it was read: a write that names it takes effect only while it still stands so."""

    version: str
    """Its resourceVersion."""
    finalizers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """The RecommenderModel itself."""

    key: Key
    uid: str
    generation: int
    spec: ModelSpec
    status: ModelStatus
    storage_uri: str
    """Where this model's snapshots and versions are kept, resolved."""
    has_finalizer: bool
    deleting_since: datetime | None = None
    standing: Standing | None = None
    """None: whoever writes it reads it again first."""

    @property
    def dead_letter_topic(self) -> str:
        """Where records go that fit no schema."""
        return f"{self.key.namespace}.{self.key.name}.dead-letters"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """An offset, and since when something holds of it."""

    at: datetime
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionState:
    """One partition, as the brokers describe it."""

    id: int
    replicas: int
    in_sync: int
    end_offset: int
    """The first offset that cannot be read yet (last stable offset): below it everything is committed, aborted or a marker."""
    has_leader: bool = True
    readable: tuple[Mark, ...] = ()
    """Since when what lies below each of these offsets could be read, oldest first: as far back as this process has looked."""
    held_since: datetime | None = None
    """Since when records stand behind `end_offset` and an open transaction keeps them from being read; None while none do."""
    assigned: tuple[int, ...] = ()
    """The brokers of its replicas in order, those included that are being added; the first is to lead."""
    synced: tuple[int, ...] = ()
    """Those of them that are in sync."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicState:
    """One topic, as the brokers describe it."""

    name: str
    partitions: tuple[PartitionState, ...]
    config: Mapping[str, str]
    """Only the keys that the product sets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderWay:
    """A reassignment of one partition that the controller has not finished (KIP-455)."""

    adding: tuple[int, ...]
    removing: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerState:
    """One live broker."""

    id: int
    rack: str = ""
    """Empty when it names none."""
    rates: Mapping[str, str] = field(default_factory=dict[str, str])
    """Those of the replication throttle's two rates (KIP-73) that somebody has set, in bytes a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MovesState:
    """What is read only while replicas are to be added: whether we may, to where, and what is under way."""

    lacking: tuple[str, ...]
    """Rights on the cluster that the brokers do not grant us, of those that adding replicas takes; with one the rest is not read."""
    brokers: tuple[BrokerState, ...] = ()
    """The live ones."""
    under_way: Mapping[tuple[str, int], UnderWay] = field(default_factory=dict[tuple[str, int], UnderWay])
    """By topic and partition, whoever asked for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicsState:
    """The brokers, and those of the model's topics that exist."""

    cluster_id: str
    live_brokers: int
    topics: Mapping[str, TopicState]
    moves: MovesState | Unavailable | None = None
    """None: nothing is to be added."""


class JobWord(StrEnum):
    """Ray's word for a job (Ray Jobs API)."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"

    @property
    def ended(self) -> bool:
        """Whether it will not change any more."""
        return self in (JobWord.SUCCEEDED, JobWord.FAILED, JobWord.STOPPED)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """One job on the Ray cluster."""

    id: str
    word: JobWord
    message: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AppState:
    """One Serve application on the Ray cluster: ours or another's."""

    name: str
    route_prefix: str
    word: str
    """Ray's word: NOT_STARTED, DEPLOYING, DEPLOY_FAILED, RUNNING, UNHEALTHY, DELETING."""
    message: str = ""
    replicas_wanted: int = 0
    autoscaling: Autoscaling | None = None
    resources: ReplicaResources = field(default_factory=ReplicaResources)
    running_replicas: tuple[str, ...] = ()
    """Ids of the replicas in state RUNNING."""
    arguments: ServingArguments | None = None
    """None when it is not one of ours."""
    record: ServingRecord | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RayState:
    """Jobs of this model, and all applications."""

    jobs: Mapping[str, JobState]
    apps: Mapping[str, AppState]
    serving_url: str
    """Root of the Serve ingress, without a trailing slash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one model has of a kept cluster: it goes when the last claim does."""

    model: str
    """Name of the model."""
    mounts: tuple[tuple[str, str], ...] = ()
    """Secrets and keys that its processes read as files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterState:
    """The RayService of a kept cluster, as KubeRay shows it."""

    name: str
    exists: bool = False
    ours: bool = True
    """False: somebody else has made a RayService of that name."""
    author: str = ""
    """Uid of the model that says how it is."""
    digest: str = ""
    """Of the spec that it was written with."""
    claims: Mapping[str, Claim] = field(default_factory=dict[str, Claim])
    """By the models' uids."""
    ray_cluster: str = ""
    """The RayCluster in use, else the one that is to be."""
    ready: bool = False
    """Its head takes jobs and applications."""
    upgrading: bool = False
    """A second cluster is being made to take over."""
    workers_wanted: int = 0
    workers_ready: int = 0
    trouble: str = ""
    """What keeps a pod from running, in the words of who said it; empty when nothing does."""
    trouble_reason: str = ""
    """ImageNotFound, Unschedulable, PodsRefused, PodsFailing."""
    token_there: bool = False
    """The Secret with its token is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionState:
    """One RecommenderModelVersion, with what its runs have left in the registry."""

    name: str
    spec: VersionSpec
    status: VersionStatus
    created_at: datetime
    card: VersionCard | None = None
    preflight: PreflightReport | None = None
    progress: RunProgress | None = None
    """What its run said last of how far it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutState:
    """One RecommenderRollout."""

    name: str
    spec: RolloutSpec
    status: RolloutStatus

    @property
    def lead(self) -> Pinned:
        """What takes all users if it ends well: the candidate, or the arm of a test that won."""
        return self.status.winner or self.spec.candidate

    @property
    def left(self) -> frozenset[str]:
        """Arms of a test that were sent back while it went on."""
        return frozenset(arm.name for arm in self.status.left)

    @property
    def in_it(self) -> list[Pinned]:
        """The candidate and the arms beside it, without those that left."""
        return [pin for pin in self.spec.tried if pin.name not in self.left]


AUDIT = "audit topic"
"""The line of the audit topic among those of the places that are told: no place of a spec can have a name with a space."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How far this process has brought messages to one place, since it began."""

    sent: frozenset[str] = frozenset()
    """Ids of those that need no further try: the newest ones."""
    given_up: int = 0
    """How many of them could not be delivered for too long."""
    attempts: int = 0
    """Tries of the next one that failed; 0: none is waiting, or it was not tried yet."""
    message: str = ""
    """Why the last try failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a metric of the spec counts of both arms: how often it happened, among how many."""

    stable: tuple[float, float]
    candidate: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Everything that one pass decides from."""

    now: datetime
    model: ModelState
    cluster: ClusterState | Unavailable | None = None
    """The kept cluster; None of a model that names a dashboard."""
    ray_image: str = ""
    """What a kept cluster's pods run when its spec names no image."""
    tokens: Mapping[str, Role] | Unavailable
    """SHA-256 of each API token → its role; empty while the Secret is yet to be made."""
    topics: TopicsState | Unavailable
    ray: RayState | Unavailable
    manifest: SnapshotManifest | Unavailable | None
    evidence: EvidenceResponse | Unavailable | None
    catalogue: CatalogueReport | None = None
    """What ingest said of the catalogue last; None without one."""
    versions: tuple[VersionState, ...] = ()
    """Of this model (by uid), oldest first."""
    rollouts: tuple[RolloutState, ...] = ()
    """Of this model (by uid), oldest first."""
    upkeep: UpkeepReport | None = None
    """What the last run of upkeep has left; None before the first."""
    mirror: MirrorReport | None = None
    """What the last run of the mirror has left; None before the first, and while no mirror is asked for."""
    registered: tuple[str, ...] = field(default=())
    """Names of all versions that the registry has a folder for: also those of an earlier model of the same name."""
    deliveries: Mapping[str, Delivery] = field(default_factory=dict[str, Delivery])
    """By the name of the place."""
    metrics: Mapping[str, Measured | Unavailable] = field(default_factory=dict[str, "Measured | Unavailable"])
    """What the metrics count that the rollout under way adds, by name."""
    outdated: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Name of each of our definitions that is older than this operator → the fields that it lacks."""
