"""The Ray jobs and the store of the simulated world: runs end, versions and reports appear. SAFETY is asserted at every action."""

from dataclasses import dataclass
from datetime import datetime

from recsys_operator.plan import shares
from recsys_operator.state.actions import (
    CreateVersion,
    SubmitJob,
)
from recsys_operator.state.observed import (
    JobState,
    JobWord,
    Unavailable,
    VersionState,
)
from recsys_schemas.mirror import MirrorJob, MirrorReport
from recsys_schemas.snapshot import PROFILE_BUCKETS, PROFILE_EVENTS, EventProfile, SnapshotManifest
from recsys_schemas.train_job import IngestJob, PreflightJob, TrainJob, UpkeepJob
from recsys_schemas.upkeep import TableUpkeep, UpkeepReport
from recsys_schemas.v1alpha1.version import VersionStatus
from recsys_schemas.version_card import Estimate, Evaluation, FileDigest, PreflightReport, VersionCard, digest_of
from worlds.world_ground import Ground


@dataclass
class Jobs(Ground):
    """Jobs, versions and what they leave."""

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

    def _submit(self, action: SubmitJob) -> None:
        if isinstance(action.job, TrainJob):
            live = {id_ for id_, job in self.jobs.items() if not job.word.ended}
            running = [id_ for id_ in live if isinstance(self.submitted[id_].job, TrainJob)]
            assert not [id_ for id_ in running if id_ != action.id], "I2: two training runs at once"
        if isinstance(action.job, IngestJob):
            live = [id_ for id_, job in self.jobs.items() if id_.startswith("ingest-") and not job.word.ended]
            assert not [id_ for id_ in live if id_ != action.id], "two ingest jobs at once"
            assert action.job.dead_letter_topic in self.topics, "I1: ingest has nowhere to put a bad record aside"
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
            digest=self.same_digest or digest_of({name: file.sha256 for name, file in files.items()}),
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

    def kill_job(self, id_: str) -> None:
        """A job's process dies."""
        self._end(id_, JobWord.FAILED, "killed")
