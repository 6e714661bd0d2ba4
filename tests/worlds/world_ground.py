"""The ground of the simulated world: what it is made of, and what is wrong with it; no behaviour."""

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from recsys_operator.state.actions import (
    CreateTopic,
    DeployApp,
    PublishEvent,
    SubmitJob,
)
from recsys_operator.state.observed import (
    JobState,
    Observed,
    RolloutState,
    VersionState,
)
from recsys_schemas.mirror import MirrorReport
from recsys_schemas.serving_evidence import ArmCounters, MixedCounters, OnlineState, ShadowCounters, SwitchAsk
from recsys_schemas.serving_record import Role, ServingRecord
from recsys_schemas.upkeep import UpkeepReport
from recsys_schemas.v1alpha1.model import ModelSpec
from recsys_schemas.v1alpha1.model_status import ModelStatus
from recsys_schemas.version_card import PreflightReport, RunProgress, VersionCard
from worlds.simulated_replicas import Replicas

START = datetime(2026, 1, 1, tzinfo=UTC)
WORD = "topics ingest training rollout serving upkeep"


def spec(**changes: object) -> ModelSpec:
    """A spec with short times."""
    base: dict[str, object] = {
        "ray": {"dashboardURL": "http://ray:8265"},
        "kafka": {"bootstrapServers": ["kafka:9092"]},
        "training": {"initialRecords": 100, "newRecords": 100, "cooldownSeconds": 1, "backoffLimit": 2},
        "rollout": {
            "analysis": {"minimumSeconds": 5, "minimumRequests": 20, "attributionSeconds": 1},
            "onFailure": {"cooldownSeconds": 30},
        },
    }
    return ModelSpec.model_validate(base | changes)


@dataclass
class Replica:
    """One Serve replica: it takes over a record a little after it was sent."""

    id: str
    record: ServingRecord | None = None
    counters: dict[str, ArmCounters] = field(default_factory=dict[str, ArmCounters])
    online: dict[str, OnlineState] = field(default_factory=dict[str, OnlineState])
    loaded: dict[str, str] = field(default_factory=dict[str, str])
    shadow: dict[str, ShadowCounters] = field(default_factory=dict[str, ShadowCounters])
    mixed: dict[str, MixedCounters] = field(default_factory=dict[str, MixedCounters])
    asked: tuple[datetime, SwitchAsk] | None = None
    """The switch that it was asked for, and when."""


@dataclass
class Ground:
    """What the world is made of, and what is wrong with it."""

    chance: random.Random
    spec: ModelSpec = field(default_factory=spec)
    now: datetime = START
    uid: str = "0a1b2c3d-0000"
    status: ModelStatus = field(default_factory=ModelStatus)
    finalizer: bool = False
    gone: bool = False
    deleting_since: datetime | None = None
    brokers: int = 3
    out_of_sync: bool = False
    topics: dict[str, CreateTopic] = field(default_factory=dict[str, CreateTopic])
    replicas_of: Replicas = field(default_factory=Replicas)
    jobs: dict[str, JobState] = field(default_factory=dict[str, JobState])
    submitted: dict[str, SubmitJob] = field(default_factory=dict[str, SubmitJob])
    app: DeployApp | None = None
    replicas: list[Replica] = field(default_factory=list[Replica])
    versions: dict[str, VersionState] = field(default_factory=dict[str, VersionState])
    rollouts: dict[str, RolloutState] = field(default_factory=dict[str, RolloutState])
    cards: dict[str, VersionCard] = field(default_factory=dict[str, VersionCard])
    preflights: dict[str, PreflightReport] = field(default_factory=dict[str, PreflightReport])
    progress: dict[str, RunProgress] = field(default_factory=dict[str, RunProgress])
    tokens: dict[str, Role] = field(default_factory=dict[str, Role])
    rows: int = 0
    dead_letters: int = 0
    uncovered: int = 0
    """Records on the two event topics that no snapshot covers."""
    recent: tuple[int, int] | None = None
    """Records and bad ones among the newest; None: as an older release wrote it."""
    committed_at: datetime = START
    report: UpkeepReport | None = None
    superseded: dict[int, datetime] = field(default_factory=dict[int, datetime])
    """Snapshots that are there → when a newer one took their place; the newest is not among them."""
    day: timedelta = timedelta(seconds=20)
    """A day of retention: histories are short."""
    fails_upkeep: int = 0
    """Runs of upkeep that end without a report."""
    events: list[PublishEvent] = field(default_factory=list[PublishEvent])
    notified: list[str] = field(default_factory=list[str])
    decisions: list[bytes] = field(default_factory=list[bytes])
    """The records of the audit topic."""
    appended: set[str] = field(default_factory=set[str])
    """Of those, the ones that this process knows to be there."""
    """Ids of what places were told, repeats included."""
    error_rate: dict[str, float] = field(default_factory=dict[str, float])
    reward_rate: dict[str, float] = field(default_factory=dict[str, float])
    worse_offline: set[str] = field(default_factory=set[str])
    fails_ingest: str = ""
    """Why the ingest job ends a few seconds after each start; empty while it does not."""
    fails_serving: str = ""
    """Why a replica does not start; empty while it does."""
    given_up: str = ""
    """Why Ray Serve tries no more to start the application as it was sent last."""
    sent_app_at: list[datetime] = field(default_factory=list[datetime])
    """When a config of the application was sent that differed."""
    fails_training: dict[str, int] = field(default_factory=dict[str, int])
    refuses_to_load: set[str] = field(default_factory=set[str])
    exchanged: set[str] = field(default_factory=set[str])
    """Versions whose files are others than the card says."""
    mirror_report: MirrorReport | None = None
    shown: dict[str, str] = field(default_factory=dict[str, str])
    """What the MLflow server shows: version → phase."""
    shown_aliases: dict[str, str] = field(default_factory=dict[str, str])
    """And alias → version."""
    mirror_fails: str = ""
    """Why the MLflow server cannot be used; empty while it can."""
    mirror_dies: int = 0
    """Runs of the mirror that end without a report."""
    unreachable: set[str] = field(default_factory=set[str])
    requests_per_second: int = 200
    timed: bool = False
    """Whether replicas tell how long answers take; all take as long."""
    rows_per_second: int = 10
    tastes: int = 0
    """What the newest events speak of: another number, other items."""
    words: dict[str, frozenset[object]] = field(default_factory=dict[str, frozenset[object]])
    """The word of each concern in the last pass that lived; with those of passes since that died before they had done all."""
    impressions_at_share: int = 0
    bad_requests: dict[str, int] = field(default_factory=dict[str, int])
    bad_when_promoted: dict[str, int] = field(default_factory=dict[str, int])
    """Bad requests of a candidate when its promotion was decided: what goes wrong after that, no decision could know."""
    first_seen: dict[str, datetime] = field(default_factory=dict[str, datetime])
    """When each version was made, those that are pruned included."""
    causes: dict[str, str] = field(default_factory=dict[str, str])
    """The key of what made it."""
    likeness: dict[str, float] = field(default_factory=dict[str, float])
    """How much of a version's lists the given answers have too."""
    same_digest: str = ""
    """What the files of every new version hash to; empty: each to its own."""
    copies: dict[str, int] = field(default_factory=dict[str, int])
    """Copies of questions that a version was asked."""
    clicked: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """Mixed lists that prefer a version, and those that prefer the other."""
    share_history: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    draws: np.random.Generator = field(init=False)
    """Of many answers at once; it follows `chance`."""

    def __post_init__(self) -> None:
        self.draws = np.random.default_rng(self.chance.getrandbits(64))

    def observe(self) -> Observed:
        """Read the world once."""
        raise NotImplementedError
