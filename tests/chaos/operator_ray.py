"""A stand-in for a Ray head, as the operator sees one: jobs, Serve applications, the replicas' reports. In memory, and exact about how
often each was asked for.

It runs in the test's own process, so a run takes seconds; with `--ray real` the script puts a real head in its place.
"""

import asyncio
import shlex
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from recsys_dev.ports import LOOPBACK, free_ports
from recsys_schemas.serving_evidence import GROUPS, ArmCounters, EvidenceResponse, ReplicaReport, StratumCounters, stratum_of
from recsys_schemas.serving_record import ServingRecord
from recsys_schemas.snapshot import LATEST_MANIFEST, SnapshotManifest, manifest_path
from recsys_schemas.train_job import PreflightJob, TrainJob, UpkeepJob
from recsys_schemas.upkeep import UPKEEP_REPORT, UpkeepReport
from recsys_schemas.version_card import (
    CARD_FILE,
    PREFLIGHT_FILE,
    Estimate,
    Evaluation,
    FileDigest,
    PreflightReport,
    VersionCard,
    digest_of,
    version_folder,
)

ANSWERS = 64_000
"""What all arms together answer between two looks of the operator: a thousand for each group of users, so that rates come out even."""


@dataclass(slots=True, kw_only=True)
class Job:
    """One job, as the Jobs API tells of it."""

    id: str
    entrypoint: str
    began_ms: int
    word: str = "RUNNING"
    ended_ms: int | None = None

    def told(self) -> dict[str, Any]:
        return {"submission_id": self.id, "status": self.word, "message": "", "start_time": self.began_ms, "end_time": self.ended_ms}

    def end(self, word: str) -> None:
        self.word, self.ended_ms = word, int(time.time() * 1000)

    def arguments(self) -> str:
        return shlex.split(self.entrypoint)[-1]


@dataclass(slots=True)
class StandIn:
    """The head. `bad` names versions whose answers fail."""

    storage: Path
    bad: frozenset[str] = frozenset()
    run_s: float = 0.3
    """How long a job takes."""
    train_s: float | None = None
    """How long a training job does, where it is another time."""
    rows: int = 0
    cluster_id: str = ""
    port: int = field(default_factory=lambda: free_ports(1)[0])
    jobs: dict[str, Job] = field(default_factory=dict[str, Job])
    began: list[str] = field(default_factory=list[str])
    """Ids of jobs in the order in which they were begun: one that stands here twice ran twice."""
    app: dict[str, Any] | None = None
    walks: list[list[tuple[str, int]]] = field(default_factory=list[list[tuple[str, int]]])
    """Arms of the record, each time that they changed."""
    epochs: list[int] = field(default_factory=list[int])
    counters: dict[str, ArmCounters] = field(default_factory=dict[str, ArmCounters])
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    async def start(self) -> None:
        application = web.Application()
        add = application.router.add_route
        add("GET", "/api/jobs/", self._list)
        add("POST", "/api/jobs/", self._submit)
        add("GET", "/api/jobs/{id}", self._one)
        add("POST", "/api/jobs/{id}/stop", self._stop)
        add("DELETE", "/api/jobs/{id}", self._forget)
        add("GET", "/api/serve/applications/", self.serve)
        add("PUT", "/api/serve/applications/", self.put)
        add("GET", "/{route}/v1/evidence", self._evidence)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, self.port).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    # --- jobs

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response([job.told() for job in self.jobs.values()])

    async def _one(self, request: web.Request) -> web.Response:
        job = self.jobs.get(request.match_info["id"])
        return web.json_response(job.told()) if job else web.Response(status=404, text="not found")

    async def _submit(self, request: web.Request) -> web.Response:
        asked = await request.json()
        job_id = asked["submission_id"]
        if job_id in self.jobs:
            # As Ray does it: an error of its own, with a traceback.
            return web.Response(status=500, text=f"Traceback ...\nRuntimeError: Job with submission_id {job_id} already exists.")
        self.jobs[job_id] = Job(id=job_id, entrypoint=asked["entrypoint"], began_ms=int(time.time() * 1000))
        self.began.append(job_id)
        takes_s = self.train_s if self.train_s is not None and job_id.startswith("train-") else self.run_s
        asyncio.get_running_loop().call_later(takes_s, self._work, job_id)
        return web.json_response({"submission_id": job_id, "job_id": job_id})

    async def _stop(self, request: web.Request) -> web.Response:
        job = self.jobs.get(request.match_info["id"])
        if job is None:
            return web.Response(status=404, text="not found")
        if job.word == "RUNNING":
            job.end("STOPPED")
        return web.json_response({"stopped": True})

    async def _forget(self, request: web.Request) -> web.Response:
        self.jobs.pop(request.match_info["id"], None)
        return web.json_response({"deleted": True})

    def _work(self, job_id: str) -> None:
        """What the job leaves in the store."""
        job = self.jobs.get(job_id)
        if job is None or job.word != "RUNNING":
            return
        kind = job_id.split("-", 1)[0]
        if kind == "ingest":
            self.publish()
            return
        if kind == "train":
            self.train(TrainJob.model_validate_json(job.arguments()))
        elif kind == "upkeep":
            self.write(UPKEEP_REPORT, _kept(UpkeepJob.model_validate_json(job.arguments()), self.manifest().sequence))
        else:
            trial = PreflightJob.model_validate_json(job.arguments())
            report = PreflightReport(
                version=trial.version, digest=trial.digest, run=trial.run, passed=True, checks={"digest": "equal"}, requests=200, p99_ms=1.0
            )
            self.write(f"{version_folder(trial.version)}/{PREFLIGHT_FILE}", report)
        job.end("SUCCEEDED")

    def train(self, train: TrainJob) -> None:
        """A version of nothing but its card."""
        self.write(f"{version_folder(train.version)}/{CARD_FILE}", card_of(train, self.manifest()))

    def publish(self) -> None:
        """A snapshot of all rows so far."""
        manifest = self.manifest()
        self.write(manifest_path(manifest.sequence), manifest)
        self.write(LATEST_MANIFEST, manifest)

    def manifest(self) -> SnapshotManifest:
        now = datetime.now(UTC)
        return SnapshotManifest(
            sequence=self.rows // 100,
            cluster_id=self.cluster_id,
            tables=[],
            offsets=[],
            rows=self.rows,
            dead_letters=0,
            committed_at=now,
            newest_event_at=now,
        )

    def write(self, path: str, what: Any) -> None:
        file = self.storage / path
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_suffix(".new")
        fresh.write_text(what.model_dump_json())
        fresh.replace(file)

    # --- Serve

    async def serve(self, _: web.Request) -> web.Response:
        if self.app is None:
            return web.json_response({"applications": {}})
        replica = {"replica_id": "replica-1", "state": "RUNNING"}
        deployment = {"status": "HEALTHY", "message": "", "target_num_replicas": 1, "replicas": [replica]}
        told = {"status": "RUNNING", "message": "", "route_prefix": self.app["route_prefix"], "deployed_app_config": self.app}
        return web.json_response({"applications": {self.app["name"]: told | {"deployments": {"Recommender": deployment}}}})

    async def put(self, request: web.Request) -> web.Response:
        config = await request.json()
        apps = config["applications"]
        self.app = apps[0] if apps else None
        record = self._record()
        arms = [(arm.version, arm.share) for arm in record.arms] if record else []
        if not self.walks or self.walks[-1] != arms:
            self.walks.append(arms)
        if record:
            self.epochs.append(record.epoch)
        return web.Response(status=200)

    def _record(self) -> ServingRecord | None:
        return ServingRecord.model_validate(self.app["deployments"][0]["user_config"]) if self.app else None

    async def _evidence(self, _: web.Request) -> web.Response:
        record = self._record()
        if record is None:
            return web.Response(status=404)
        stratum = stratum_of({arm.version: arm.share for arm in record.arms})
        for arm in record.arms:
            self._count(arm.version, stratum, ANSWERS * arm.share // 100)
        report = ReplicaReport(
            replica_id="replica-1",
            epoch=record.epoch,
            age_seconds=0.1,
            ready={arm.version: arm.digest for arm in record.arms},
            refused={},
            counters=self.counters,
        )
        return web.Response(body=EvidenceResponse(replicas=[report]).model_dump_json().encode(), content_type="application/json")

    def _count(self, version: str, stratum: str, answers: int) -> None:
        """So many more answers, alike in all groups of users; every second one of a bad version fails, three of ten others are rewarded."""
        each = answers // GROUPS
        errors = each // 2 if version in self.bad else 0
        given = each - errors
        old = self.counters.get(version, ArmCounters())
        zeros = [0] * GROUPS
        there = old.strata.get(stratum) or StratumCounters(requests=zeros, errors=zeros, impressions=zeros, rewards=zeros)
        grown = StratumCounters(
            requests=[n + each for n in there.requests],
            errors=[n + errors for n in there.errors],
            impressions=[n + given for n in there.impressions],
            rewards=[n + given * 3 // 10 for n in there.rewards],
        )
        self.counters[version] = old.model_copy(update={"strata": {**old.strata, stratum: grown}})


def card_of(job: TrainJob, manifest: SnapshotManifest) -> VersionCard:
    """The card of a version that is as good as the champion and better than the baselines."""
    files = {"items.npy": FileDigest(sha256=job.version.encode().hex().rjust(64, "0")[-64:], size_bytes=10)}

    def estimate(value: float) -> Estimate:
        return Estimate(value=value, low=value - 0.005, high=value + 0.005, samples=500)

    def evaluation(name: str, role: str, value: float) -> Evaluation:
        paired = {} if role == "candidate" else {"ndcg@10": estimate(0.1 if role == "baseline" else 0.0)}
        return Evaluation(
            name=name,
            role=role,
            train_seconds=1,
            inference_ms_per_user=1,
            size_bytes=1,
            metrics={"ndcg@10": estimate(value)},
            difference=paired,
        )

    rivals = [evaluation(name, "baseline", 0.1) for name in job.baselines]
    rivals += [evaluation(job.champion, "champion", 0.2)] if job.champion else []
    return VersionCard(
        version=job.version,
        model=f"{job.model.namespace}/{job.model.name}",
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
        evaluations=[evaluation(job.algorithm, "candidate", 0.2), *rivals],
        files=files,
        libraries={},
        parent=job.champion,
        created_at=datetime.now(UTC),
    )


def _kept(job: UpkeepJob, sequence: int) -> UpkeepReport:
    now = datetime.now(UTC)
    return UpkeepReport(
        run=job.run,
        began_at=now,
        ended_at=now,
        sequence=sequence,
        tables=[],
        manifests_removed=0,
        files_removed=0,
        bytes_removed=0,
        log_entries_removed=0,
        runs_removed=0,
    )
