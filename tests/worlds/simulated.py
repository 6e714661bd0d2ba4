"""A whole world for one model: brokers, a Ray cluster, a registry and an API server, as values that a plan acts on.

Simulated, and only for the pure plan: the real parts have tests of their own. SAFETY is asserted at every action.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, assert_never

from recsys_operator.plan import freshness, ingest, mirror, rollback, rollout, serving, shares, topics, training, upkeep
from recsys_operator.plan.plan import plan
from recsys_operator.state.actions import (
    Action,
    AddFinalizer,
    AppendRecord,
    ConfigureTopic,
    CreateRollout,
    CreateTopic,
    CreateVersion,
    DeleteVersion,
    DeployApp,
    EnsureTokens,
    ForgetJob,
    GrowTopic,
    KeepCluster,
    Notify,
    PublishEvent,
    ReassignReplicas,
    ReleaseCluster,
    RemoveApp,
    RemoveFinalizer,
    RunOwnJob,
    StopJob,
    SubmitJob,
    ThrottleReplication,
    UnthrottleReplication,
    WriteRolloutStatus,
    WriteVersionStatus,
)
from recsys_operator.state.observed import (
    AUDIT,
    Delivery,
    JobWord,
    Key,
    ModelState,
    Observed,
    RolloutState,
    TopicsState,
    TopicState,
    Unavailable,
    VersionState,
)
from recsys_operator.state.plan import Plan
from recsys_operator.world.observe import asked_replicas
from recsys_schemas.mirror import MirrorJob
from recsys_schemas.serving_record import Role
from recsys_schemas.train_job import PreflightJob, TrainJob, UpkeepJob
from recsys_schemas.v1alpha1.rollout import RolloutStatus
from worlds.world_ground import START, Replica, spec
from worlds.world_serving import Serving

__all__ = ["START", "Replica", "World", "spec"]


def _told(status: RolloutStatus) -> RolloutStatus:
    """A status but for what its decisions keep until the audit topic has it."""
    return status.model_copy(update={"decisions": [each.model_copy(update={"kept": ""}) for each in status.decisions]})


@dataclass
class World(Serving):
    """Everything outside the plan."""

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
            deliveries={place.name: Delivery(sent=frozenset(self.notified)) for place in self.spec.notifications}
            | {AUDIT: Delivery(sent=frozenset(self.appended))},
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

    def step(self, *, survive: int | None = None) -> Plan:
        """One pass; after `survive` actions the operator dies, and its status is never written."""
        observed, before = self.observe(), dict(self.words)
        self._check_words(observed)
        decided = plan(observed)
        assert decided.wake_at > self.now, "a plan must not wake at once: that is a busy loop"
        for action in decided.actions[:survive]:
            self.apply(action)
        if survive is None or survive >= len(decided.actions):
            self.status = decided.status
        else:
            self.appended.clear()
            # What it judged may be done in part, or not at all: the next pass may come from either.
            self.words = {concern: words | before.get(concern, frozenset()) for concern, words in self.words.items()}
        return decided

    def _append(self, action: AppendRecord) -> None:
        """What is in line is known to this process alone, and written while there are brokers."""
        record = action.record
        if action.topic in self.topics and "kafka" not in self.unreachable and record.id not in self.appended:
            self.decisions.append(record.written)
            self.appended.add(record.id)

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
            before = self.words.get(concern, frozenset())
            anywhere = {training.Training.UNAVAILABLE, training.Training.SUSPENDED}
            known = not before or word in before | anywhere or before & anywhere or any(word in table[each] for each in before)
            assert known, f"{concern}: {', '.join(map(str, before))} → {word} is not in its table"
            self.words[concern] = frozenset({word})

    def apply(self, action: Action) -> None:  # noqa: PLR0912 - one case for each action
        """Do one action, as idempotently as the real world does."""
        held = self.finalizer or not isinstance(action, SubmitJob | DeployApp | ThrottleReplication)
        assert held, f"{type(action).__name__}: nothing would take it back, were the model deleted now"
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
                ended = old_rollout.status.phase in shares.ENDED
                assert not ended or _told(old_rollout.status) == _told(action.status), "an ended rollout was changed"
                if action.status.verified and not old_rollout.status.verified:
                    self._check_verified()
                self._check_decided(old_rollout, action.status)
                if action.status.decisions and action.status.decisions[-1].verdict == "Promoted":
                    taken = action.status.winner.name if action.status.winner else action.name
                    self.bad_when_promoted.setdefault(taken, self.bad_requests.get(taken, 0))
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
            case AppendRecord():
                self._append(action)
            case RunOwnJob() | KeepCluster() | ReleaseCluster():
                raise AssertionError("no model of this world names spec.ray.cluster")
            case _:
                assert_never(action)

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
        self._load()
        self._traffic(seconds)

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
