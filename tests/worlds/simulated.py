"""A whole world for one model: brokers, a Ray cluster, a registry and an API server, as values that a plan acts on.

Simulated, and only for the pure plan: the real parts have tests of their own. SAFETY is asserted at every action.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, assert_never

import numpy as np

from recsys_operator.plan import freshness, ingest, mirror, rollback, rollout, serving, shares, topics, training, upkeep
from recsys_operator.plan.plan import plan
from recsys_operator.state.actions import (
    Action,
    AddFinalizer,
    ConfigureTopic,
    CreateRollout,
    CreateTopic,
    CreateVersion,
    DeleteVersion,
    DeployApp,
    EnsureTokens,
    ForgetJob,
    GrowTopic,
    Notify,
    PublishEvent,
    ReassignReplicas,
    RemoveApp,
    RemoveFinalizer,
    StopJob,
    SubmitJob,
    ThrottleReplication,
    UnthrottleReplication,
    WriteRolloutStatus,
    WriteVersionStatus,
)
from recsys_operator.state.observed import (
    AppState,
    Delivery,
    JobState,
    JobWord,
    Key,
    ModelState,
    Observed,
    RayState,
    RolloutState,
    TopicsState,
    TopicState,
    Unavailable,
    VersionState,
)
from recsys_operator.state.plan import Plan
from recsys_operator.world.observe import asked_replicas
from recsys_schemas.mirror import MirrorJob, MirrorReport
from recsys_schemas.serving_api import (
    GROUPS,
    ArmCounters,
    EvidenceResponse,
    OnlineState,
    ReplicaReport,
    Role,
    ServingRecord,
    StratumCounters,
    stratum_of,
)
from recsys_schemas.snapshot import PROFILE_BUCKETS, PROFILE_EVENTS, EventProfile, SnapshotManifest
from recsys_schemas.train_job import IngestJob, PreflightJob, TrainJob, UpkeepJob
from recsys_schemas.upkeep import TableUpkeep, UpkeepReport
from recsys_schemas.v1alpha1.model import ModelSpec, ModelStatus
from recsys_schemas.v1alpha1.rollout import RolloutStatus
from recsys_schemas.v1alpha1.version import VersionStatus
from recsys_schemas.version_card import Estimate, Evaluation, FileDigest, PreflightReport, RunProgress, VersionCard, digest_of
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


@dataclass
class World:
    """Everything outside the plan."""

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
    rows_per_second: int = 10
    tastes: int = 0
    """What the newest events speak of: another number, other items."""
    words: dict[str, object] = field(default_factory=dict[str, object])
    impressions_at_share: int = 0
    bad_requests: dict[str, int] = field(default_factory=dict[str, int])
    bad_when_promoted: dict[str, int] = field(default_factory=dict[str, int])
    """Bad requests of a candidate when its promotion was decided: what goes wrong after that, no decision could know."""
    first_seen: dict[str, datetime] = field(default_factory=dict[str, datetime])
    """When each version was made, those that are pruned included."""
    causes: dict[str, str] = field(default_factory=dict[str, str])
    """The key of what made it."""
    share_history: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    draws: np.random.Generator = field(init=False)
    """Of many answers at once; it follows `chance`."""

    def __post_init__(self) -> None:
        self.draws = np.random.default_rng(self.chance.getrandbits(64))

    # --- what the plan sees -------------------------------------------------------------------------------------

    def observe(self) -> Observed:
        """Read the world once."""
        model = ModelState(
            key=Key(namespace="ns", name="movies"),
            uid=self.uid,
            generation=1,
            spec=self.spec,
            status=self.status,
            storage_uri="file:///store",
            has_finalizer=self.finalizer,
            deleting_since=self.deleting_since,
        )
        return Observed(
            now=self.now,
            model=model,
            tokens=dict(self.tokens),
            topics=self._topics(model),
            ray=self._ray(),
            manifest=self._manifest(),
            evidence=self._evidence(),
            versions=tuple(self._with_files(v) for _, v in sorted(self.versions.items())),
            rollouts=tuple(self.rollouts.values()),
            registered=tuple(sorted(self.cards)),
            mirror=None if "store" in self.unreachable or self.spec.registry.mlflow is None else self.mirror_report,
            upkeep=None if "store" in self.unreachable else self.report,
            deliveries={place.name: Delivery(sent=frozenset(self.notified)) for place in self.spec.notifications},
        )

    def _with_files(self, version: VersionState) -> VersionState:
        return VersionState(
            name=version.name,
            spec=version.spec,
            status=version.status,
            created_at=version.created_at,
            card=self.cards.get(version.name),
            preflight=self.preflights.get(version.name),
            progress=self.progress.get(version.name),
        )

    def _topics(self, model: ModelState) -> TopicsState | Unavailable:
        if "kafka" in self.unreachable:
            return Unavailable(message="no broker answers")
        described: dict[str, TopicState] = {}
        for name, topic in self.topics.items():
            self.replicas_of.grow(name, topic.partitions, topic.replicas, self.brokers)
            partitions = self.replicas_of.partitions(name, out_of_sync=self.out_of_sync, end_offset=self.uncovered // 6)
            config = {**topic.config, **self.replicas_of.lists.get(name, {})}
            described[name] = TopicState(name=name, partitions=partitions, config=config)
        seen = TopicsState(cluster_id="c", live_brokers=self.brokers, topics=described)
        return replace(seen, moves=self.replicas_of.moves(self.brokers)) if asked_replicas(model).needed(seen) else seen

    def _ray(self) -> RayState | Unavailable:
        if "ray" in self.unreachable:
            return Unavailable(message="the dashboard does not answer")
        apps = {}
        if self.app is not None:
            ids = tuple(replica.id for replica in self.replicas)
            apps[self.app.name] = AppState(
                name=self.app.name,
                route_prefix=self.app.route_prefix,
                word="RUNNING" if ids else "DEPLOY_FAILED" if self._has_given_up() else "DEPLOYING",
                message=self.given_up if self._has_given_up() else "",
                replicas_wanted=self.app.replicas,
                running_replicas=ids,
                arguments=self.app.arguments,
                record=self.app.record,
            )
        return RayState(jobs=dict(self.jobs), apps=apps, serving_url="http://ray:8000")

    def _manifest(self) -> SnapshotManifest | Unavailable | None:
        if "store" in self.unreachable:
            return Unavailable(message="the store does not answer")
        if not self.rows:
            return None
        return SnapshotManifest(
            sequence=self.rows // 10,
            cluster_id="c",
            tables=[],
            offsets=[],
            rows=self.rows,
            dead_letters=self.dead_letters,
            recent_records=self.recent[0] if self.recent else None,
            recent_dead_letters=self.recent[1] if self.recent else None,
            committed_at=self.committed_at,
            newest_event_at=self.committed_at,
        )

    def _evidence(self) -> EvidenceResponse | Unavailable | None:
        if self.unreachable & {"ray", "evidence"}:
            return Unavailable(message="no evidence")
        if self.app is None:
            return None
        return EvidenceResponse(replicas=[self._report(replica) for replica in self.replicas])

    def _report(self, replica: Replica) -> ReplicaReport:
        arms = self.app.record.arms if self.app else []
        return ReplicaReport(
            replica_id=replica.id,
            epoch=replica.record.epoch if replica.record else 0,
            age_seconds=0.5,
            ready={arm.version: arm.digest for arm in arms if arm.version not in self.refuses_to_load},
            refused={arm.version: "digest differs" for arm in arms if arm.version in self.refuses_to_load},
            counters=dict(replica.counters),
            online=dict(replica.online),
        )

    # --- what the plan does, with SAFETY asserted ---------------------------------------------------------------

    def step(self, *, survive: int | None = None) -> Plan:
        """One pass; after `survive` actions the operator dies, and its status is never written."""
        observed = self.observe()
        self._check_words(observed)
        decided = plan(observed)
        assert decided.wake_at > self.now, "a plan must not wake at once: that is a busy loop"
        for action in decided.actions[:survive]:
            self.apply(action)
        if survive is None or survive >= len(decided.actions):
            self.status = decided.status
        return decided

    def _check_words(self, observed: Observed) -> None:
        if self.deleting_since is not None:
            return
        seen = topics.judge(observed)
        words: dict[str, tuple[object, Mapping[Any, frozenset[Any]]]] = {
            "rollout": (rollout.judge(observed, seen), rollout.MOVES),
            "training": (training.judge(observed, seen), training.MOVES),
            "ingest": (ingest.judge(observed, seen), ingest.MOVES),
            "serving": (serving.judge(observed, seen, None), serving.MOVES),
            "upkeep": (upkeep.judge(observed), upkeep.MOVES),
            "freshness": (freshness.judge(observed), freshness.MOVES),
            "rollback": (rollback.judge(observed), rollback.MOVES),
            "mirror": (mirror.judge(observed), mirror.MOVES),
        }
        for concern, (word, table) in words.items():
            before = self.words.get(concern)
            anywhere = {training.Training.UNAVAILABLE, training.Training.SUSPENDED}
            known = before is None or word == before or word in anywhere or before in anywhere or word in table[before]
            assert known, f"{concern}: {before} → {word} is not in its table"
            self.words[concern] = word

    def apply(self, action: Action) -> None:  # noqa: PLR0912 - one case for each action
        """Do one action, as idempotently as the real world does."""
        match action:
            case AddFinalizer():
                self.finalizer = True
            case RemoveFinalizer():
                assert self.app is None or "ray" in self.unreachable, "let go while the application still runs"
                assert self.deleting_since is not None
                late = self.now >= self.deleting_since + timedelta(seconds=60)
                assert late or not self.replicas_of.left(), "I7: a throttle outlived its model"
                self.finalizer, self.gone = False, True
            case CreateTopic():
                assert action.replicas <= self.brokers, "asked for more replicas than brokers"
                self.topics.setdefault(action.name, action)
            case GrowTopic():
                old = self.topics[action.name]
                assert action.partitions > old.partitions, "I6: partitions never fall"
                self.topics[action.name] = CreateTopic(
                    name=old.name, partitions=action.partitions, replicas=old.replicas, config=old.config
                )
            case ConfigureTopic():
                old = self.topics[action.name]
                least = action.config.get("min.insync.replicas")
                assert int(least or 9) >= int(old.config.get("min.insync.replicas", "1")), "I6: min.insync.replicas never falls"
                if least is not None and int(least) > int(old.config.get("min.insync.replicas", "1")):
                    there = [len(self.replicas_of.established(action.name, number)) for number in range(old.partitions)]
                    assert min(there) >= int(least), "min.insync.replicas was raised before the replicas were there"
                self.topics[action.name] = CreateTopic(
                    name=old.name, partitions=old.partitions, replicas=old.replicas, config={**old.config, **action.config}
                )
            case ThrottleReplication():
                self.replicas_of.throttle(action)
            case ReassignReplicas():
                self.replicas_of.reassign(action, self.brokers)
            case UnthrottleReplication():
                self.replicas_of.unthrottle(action)
            case EnsureTokens():
                self.tokens = self.tokens or {"aa": Role.WRITER, "bb": Role.OPERATOR}
            case SubmitJob():
                self._submit(action)
            case StopJob():
                self._end(action.id, JobWord.STOPPED, "stopped")
            case ForgetJob():
                assert self.jobs[action.id].word.ended, "forgot a job that runs"
                del self.jobs[action.id]
            case CreateVersion():
                self._create_version(action)
            case WriteVersionStatus():
                self._write_version(action.name, action.status)
            case DeleteVersion():
                assert shares.champion(self.observe()) is None or action.name != shares.champion(self.observe()).name  # type: ignore[union-attr]
                self.versions.pop(action.name, None)
                self.rollouts = {name: r for name, r in self.rollouts.items() if r.spec.candidate.name != action.name}
            case CreateRollout():
                assert not [r for r in self.rollouts.values() if r.status.phase not in shares.ENDED], "two rollouts at once"
                self.rollouts.setdefault(action.name, RolloutState(name=action.name, spec=action.spec, status=RolloutStatus()))
            case WriteRolloutStatus():
                old_rollout = self.rollouts[action.name]
                assert old_rollout.status.phase not in shares.ENDED or old_rollout.status == action.status, "an ended rollout was changed"
                if action.status.verified and not old_rollout.status.verified:
                    self._check_verified()
                if action.status.decisions and action.status.decisions[-1].verdict == "Promoted":
                    self.bad_when_promoted.setdefault(action.name, self.bad_requests.get(action.name, 0))
                self.rollouts[action.name] = RolloutState(name=action.name, spec=old_rollout.spec, status=action.status)
            case DeployApp():
                self._deploy(action)
            case RemoveApp():
                self.app, self.replicas = None, []
            case PublishEvent():
                if action not in self.events:  # its name is derived from its words: an Event published twice is one
                    self.events.append(action)
            case Notify():
                self.notified.append(action.news.id)
            case _:
                assert_never(action)

    def _check_verified(self) -> None:
        epochs = [replica.record.epoch if replica.record else -1 for replica in self.replicas]
        assert not epochs or self.app is None or min(epochs) >= self.app.record.epoch, "counted as changed before every replica said so"

    def _submit(self, action: SubmitJob) -> None:
        if isinstance(action.job, TrainJob):
            live = {id_ for id_, job in self.jobs.items() if not job.word.ended}
            running = [id_ for id_ in live if isinstance(self.submitted[id_].job, TrainJob)]
            assert not [id_ for id_ in running if id_ != action.id], "I2: two training runs at once"
        if isinstance(action.job, IngestJob):
            live = [id_ for id_, job in self.jobs.items() if id_.startswith("ingest-") and not job.word.ended]
            assert not [id_ for id_ in live if id_ != action.id], "two ingest jobs at once"
        if isinstance(action.job, MirrorJob):
            live = [id_ for id_, job in self.jobs.items() if id_.startswith("mirror-") and not job.word.ended]
            assert not [id_ for id_ in live if id_ != action.id], "two mirrors at once"
        if isinstance(action.job, UpkeepJob):
            live = [id_ for id_, job in self.jobs.items() if id_.startswith("upkeep-") and not job.word.ended]
            assert not [id_ for id_ in live if id_ != action.id], "two runs of upkeep at once"
        self.submitted[action.id] = action
        self.jobs.setdefault(action.id, JobState(id=action.id, word=JobWord.RUNNING, started_at=self.now))

    def _create_version(self, action: CreateVersion) -> None:
        made = {(v.spec.cause.trigger, v.spec.snapshot.sequence) for v in self.versions.values() if v.name != action.name}
        assert (action.spec.cause.trigger, action.spec.snapshot.sequence) not in made, "I2: one run for a trigger and a snapshot"
        assert action.name not in self.cards, "a version's folder was taken by an earlier one"
        if action.name not in self.first_seen:
            self.first_seen[action.name] = self.now
            self.causes[action.name] = action.spec.cause.key or f"{action.spec.cause.trigger} {action.name}"
        state = VersionState(name=action.name, spec=action.spec, status=VersionStatus(), created_at=self.now)
        self.versions.setdefault(action.name, state)

    def _write_version(self, name: str, status: VersionStatus) -> None:
        old = self.versions[name]
        assert old.status.artifact is None or status.artifact == old.status.artifact, "artifact is written once"
        self.versions[name] = VersionState(name=name, spec=old.spec, status=status, created_at=old.created_at)

    def _deploy(self, action: DeployApp) -> None:
        arms = action.record.arms
        assert not arms or sum(arm.share for arm in arms) == 100, "I4: shares sum to 100"
        assert len({arm.version for arm in arms}) == len(arms), "one version twice"
        for arm in arms:
            report = self.preflights.get(arm.version)
            assert report is not None, "I3: an arm that was never tried"
            assert report.passed, "I3: an arm that did not pass its preflight"
            assert arm.digest == self.cards[arm.version].digest, "I3: another digest"
            assert arm.version not in self.worse_offline, "I3: an arm that failed its gates"
            assert report.digest == arm.digest, "I3: an arm whose files are others"
        before = self.app.record if self.app else None
        if before is not None and before != action.record:
            assert action.record.epoch > before.epoch, "an epoch only grows"
        if before is not None and before.arms:
            assert arms, "users were left without a version"
            self._check_shares(before, action.record)
        if self.app == action:
            return  # Ray Serve does nothing then: it does not even try again what it gave up
        # A replica that runs takes another record as it is; only one that starts can fail to.
        self.app, self.given_up = action, "" if self.replicas else self.fails_serving
        self.sent_app_at.append(self.now)
        while not self.given_up and len(self.replicas) < action.replicas:
            self.replicas.append(Replica(id=f"replica-{self.chance.getrandbits(32):08x}"))

    def _has_given_up(self) -> bool:
        return bool(self.given_up) and self.now >= self.sent_app_at[-1] + timedelta(seconds=3)

    def _check_shares(self, before: ServingRecord, after: ServingRecord) -> None:
        was = {arm.version: arm.share for arm in before.arms}
        weights = [0, *(s.set_weight for s in self.spec.rollout.walk() if s.set_weight is not None), 100]
        for arm in after.arms:
            if arm.variant == "stable" and was.get(arm.version, 100) < 100:
                returned = any(walk.spec.stable and walk.spec.stable.name == arm.version for walk in self.rollouts.values())
                assert returned or self.bad_when_promoted.get(arm.version, 0) < 100, "a candidate that was shown to fail was promoted"
            if arm.share > was.get(arm.version, 0) and arm.variant == "candidate":
                assert arm.share in weights, "I4: a share that is no step"
                old = was.get(arm.version, 0)
                assert weights.index(arm.share) == weights.index(old) + 1, "I4: a step was skipped"
                if old:
                    assert self.impressions_at_share >= self.spec.rollout.analysis.minimum_requests, "a step without evidence"
        if [(a.version, a.share) for a in after.arms] != [(a.version, a.share) for a in before.arms]:
            self.impressions_at_share = 0
            self.share_history += [(arm.version, arm.share) for arm in after.arms]

    # --- time ---------------------------------------------------------------------------------------------------

    def tick(self, seconds: float = 1.0) -> None:
        """Let the world go on by itself."""
        self.now += timedelta(seconds=seconds)
        self.replicas_of.copy(self.chance, self.brokers)
        if any(id_.startswith("ingest-") and job.word is JobWord.RUNNING for id_, job in self.jobs.items()):
            new = int(self.rows_per_second * seconds)
            before, self.rows = self.rows // 10, self.rows + new
            if before and self.rows // 10 > before:
                self.superseded[before] = self.now
            self.committed_at = self.now if new else self.committed_at
        for id_, job in list(self.jobs.items()):
            done = self.submitted[id_].job
            if job.word is JobWord.RUNNING and job.started_at and self.now >= job.started_at + timedelta(seconds=4):
                if isinstance(done, TrainJob):
                    self._finish_training(id_, done)
                elif isinstance(done, PreflightJob):
                    self._finish_preflight(id_, done)
                elif isinstance(done, UpkeepJob):
                    self._finish_upkeep(id_, done, job.started_at)
                elif isinstance(done, MirrorJob):
                    self._finish_mirror(id_, done)
                elif self.fails_ingest:
                    self._end(id_, JobWord.FAILED, self.fails_ingest)
        for replica in self.replicas:
            if self.app and (replica.record is None or self.chance.random() < 0.8):
                replica.record = self.app.record
        self._traffic(seconds)

    def _end(self, id_: str, word: JobWord, message: str = "") -> None:
        job = self.jobs.get(id_)
        if job and not job.word.ended:
            self.jobs[id_] = JobState(id=id_, word=word, message=message, started_at=job.started_at, ended_at=self.now)

    def _finish_training(self, id_: str, job: TrainJob) -> None:
        if self.fails_training.get(job.version, 0) > 0 or "store" in self.unreachable:
            self.fails_training[job.version] = max(0, self.fails_training.get(job.version, 0) - 1)
            self._end(id_, JobWord.FAILED, "worker died")
            return
        self.cards.setdefault(job.version, self._card(job))
        self._end(id_, JobWord.SUCCEEDED)

    def _card(self, job: TrainJob) -> VersionCard:
        files = {"items.npy": FileDigest(sha256=f"{abs(hash(job.version)):064x}"[:64], size_bytes=10)}
        shift = -0.2 if job.version in self.worse_offline else 0.1

        def estimate(value: float) -> Estimate:
            return Estimate(value=value, low=value - 0.005, high=value + 0.005, samples=500)

        def evaluation(name: str, role: str, value: float) -> Evaluation:
            paired = {} if role == "candidate" else {"ndcg@10": estimate(shift if role == "baseline" else 0.0)}
            measured = {"ndcg@10": estimate(value)}
            return Evaluation(
                name=name, role=role, train_seconds=1, inference_ms_per_user=1, size_bytes=1, metrics=measured, difference=paired
            )

        rivals = [evaluation(name, "baseline", 0.1) for name in job.baselines]
        rivals += [evaluation(job.champion, "champion", 0.2)] if job.champion else []
        manifest = self._manifest()
        assert isinstance(manifest, SnapshotManifest)
        return VersionCard(
            version=job.version,
            model="ns/movies",
            digest=digest_of({name: file.sha256 for name, file in files.items()}),
            algorithm=job.algorithm,
            hyperparameters=dict(job.hyperparameters),
            seed=job.seed,
            snapshot=manifest.model_copy(update={"sequence": job.snapshot_sequence}),
            split="time",
            users=1,
            items=1,
            interactions=1,
            test_users=1,
            evaluations=[evaluation(job.algorithm, "candidate", 0.1 + shift), *rivals],
            files=files,
            libraries={},
            parent=job.champion,
            profile=self._profile(job.snapshot_sequence),
            created_at=self.now,
        )

    def _profile(self, sequence: int) -> EventProfile:
        buckets = [0] * PROFILE_BUCKETS
        for place in range(32):
            buckets[(place + self.tastes) % PROFILE_BUCKETS] = 625
        return EventProfile(sequence=sequence, events=PROFILE_EVENTS, buckets=buckets)

    def _finish_preflight(self, id_: str, job: PreflightJob) -> None:
        if "store" in self.unreachable:
            self._end(id_, JobWord.FAILED, "the store does not answer")
            return
        digest = "sha256:other" if job.version in self.exchanged else job.digest
        report = PreflightReport(
            version=job.version, digest=digest, run=job.run, passed=True, checks={"digest": "equal"}, requests=200, p99_ms=1.0
        )
        if job.run or job.version not in self.preflights:
            self.preflights[job.version] = report
        self._end(id_, JobWord.SUCCEEDED)

    def _finish_upkeep(self, id_: str, job: UpkeepJob, began: datetime) -> None:
        if self.fails_upkeep or "store" in self.unreachable:
            self.fails_upkeep = max(0, self.fails_upkeep - 1)
            self._end(id_, JobWord.FAILED, "storageURI: the store does not answer")
            return
        limit = began - job.retention_days * self.day
        gone = [number for number, since in self.superseded.items() if since < limit and number not in job.keep_sequences]
        for number in gone:
            del self.superseded[number]
        kept = {version.spec.snapshot.sequence for version in self.versions.values() if version.spec.storage_uri == job.storage_uri}
        assert not kept & set(gone), "what a retained version was trained on was removed"
        removed = self._remove_versions(job)
        there = {*self.superseded, self.rows // 10}
        self.report = UpkeepReport(
            run=job.run,
            began_at=began,
            ended_at=self.now,
            sequence=self.rows // 10,
            tables=[TableUpkeep(event_type="watch", files_before=200, files_after=1, size_bytes=1)],
            manifests_removed=len(gone),
            files_removed=0,
            bytes_removed=0,
            log_entries_removed=0,
            runs_removed=0,
            versions_removed=removed,
            missing_sequences=sorted(set(job.keep_sequences) - there),
            profile=self._profile(self.rows // 10),
        )
        self._end(id_, JobWord.SUCCEEDED)

    def _finish_mirror(self, id_: str, job: MirrorJob) -> None:
        if self.mirror_dies or "store" in self.unreachable:
            self.mirror_dies = max(0, self.mirror_dies - 1)
            self._end(id_, JobWord.FAILED, "killed")
            return
        good, before = not self.mirror_fails, self.mirror_report
        if good:
            self.shown |= {each.version: each.phase for each in job.versions}
            self.shown_aliases = dict(job.aliases)
        self.mirror_report = MirrorReport(
            run=job.run,
            good_run=job.run if good else (before.good_run if before else -1),
            wanted=job.wanted,
            good=good,
            ended_at=self.now,
            message=self.mirror_fails or f"{len(job.versions)} versions",
        )
        self._end(id_, JobWord.SUCCEEDED)

    def _remove_versions(self, job: UpkeepJob) -> int:
        """As upkeep does: what is not named and numbered below the newest that is."""
        gone = [name for name in self.cards if job.keep_versions and name not in job.keep_versions and name < max(job.keep_versions)]
        pinned = shares.champion(self.observe())
        serving = self.versions.get(pinned.name) if pinned else None
        needed = {*self.versions, *([serving.name, serving.spec.parent] if serving else [])}
        assert not needed & set(gone), "files of a version that is needed were removed"
        for name in gone:
            del self.cards[name]
            self.preflights.pop(name, None)
        return len(gone)

    def _traffic(self, seconds: float) -> None:
        for replica in self.replicas:
            arms = replica.record.arms if replica.record else []
            asked = round(self.requests_per_second * seconds / len(self.replicas))
            split = self.draws.multinomial(asked, [arm.share / 100 for arm in arms]) if arms else []
            for arm, count in zip(arms, map(int, split), strict=True):
                errors = int(self.draws.binomial(count, self.error_rate.get(arm.version, 0.0)))
                rewards = int(self.draws.binomial(count - errors, self.reward_rate.get(arm.version, 0.3)))
                self._count(replica, arm.version, (count, errors, count - errors, rewards))
                # One that errs beside an arm that errs as much is not shown to be worse.
                others = [self.error_rate.get(other.version, 0.0) for other in arms if other.version != arm.version]
                if self.error_rate.get(arm.version, 0.0) > 0.2 + max(others, default=0.0):
                    self.bad_requests[arm.version] = self.bad_requests.get(arm.version, 0) + count
                if arm.variant == "candidate" and self.app and arms == self.app.record.arms:
                    self.impressions_at_share += count

    def _count(self, replica: Replica, version: str, counts: tuple[int, int, int, int]) -> None:
        """Add requests, errors, impressions and rewards of users drawn at random."""
        assert replica.record is not None
        stratum = stratum_of({arm.version: arm.share for arm in replica.record.arms})
        old = replica.counters.get(version, ArmCounters())
        there = old.strata.get(stratum) or StratumCounters(requests=[], errors=[], impressions=[], rewards=[])
        before = (there.requests, there.errors, there.impressions, there.rewards)
        groups = [list(numbers) or [0] * GROUPS for numbers in before]
        first = self.chance.randrange(GROUPS)
        for numbers, count in zip(groups, counts, strict=True):
            each, left = divmod(count, GROUPS)
            for user in range(GROUPS):
                numbers[(first + user) % GROUPS] += each + (user < left)
        requests, errors, impressions, rewards = groups
        grown = StratumCounters(requests=requests, errors=errors, impressions=impressions, rewards=rewards)
        given, liked = old.impressions + counts[2], old.rewards + counts[3]
        replica.counters[version] = ArmCounters(impressions=given, rewards=liked, strata={**old.strata, stratum: grown})

    # --- faults -------------------------------------------------------------------------------------------------

    def restart_ray(self) -> None:
        """The head is replaced: jobs, applications and counters are gone."""
        self.jobs, self.app, self.replicas = {}, None, []
        self.bad_requests.clear()

    def restart_replica(self) -> None:
        """One replica is replaced; what it counted stays on the board in reality, and is lost here: the harder case."""
        if self.replicas:
            self.replicas[0] = Replica(id=f"replica-{self.chance.getrandbits(32):08x}")
            self.bad_requests.clear()

    def kill_job(self, id_: str) -> None:
        """A job's process dies."""
        self._end(id_, JobWord.FAILED, "killed")

    def run_until(self, done: object, *, passes: int = 400) -> None:
        """Pass after pass until `done(self)`; LIVENESS fails when the passes are used up."""
        assert callable(done)
        for _ in range(passes):
            if done(self):
                return
            self.step()
            self.tick()
        said = "; ".join(f"{c.type}={c.status} {c.reason}: {c.message}" for c in self.status.conditions)
        raise AssertionError(f"LIVENESS: not reached in {passes} passes; phase {self.status.phase}; {said}")
