"""From answers drawn by lot to a verdict: the API logs its chances on real brokers, ingest makes rows of them, training estimates what a
version would have earned, and a gate judges by it. Users' tastes are known here, so the truth is too."""

import asyncio
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from tests.kafka.test_ingest import LIMIT_S, Running, exact

from ray_apps.algorithms import ALGORITHMS, load_model
from ray_apps.evaluation.counterfactual import LENGTH, counterfactual, unknown_answers
from ray_apps.evaluation.off_policy import LoggedAnswers
from ray_apps.evaluation.ranking import best
from ray_apps.evaluation.splits import Split, by_time
from ray_apps.serving import fallback
from ray_apps.serving.answer_log import AnswerLog
from ray_apps.serving.api import Api
from ray_apps.serving.arms import Arms
from ray_apps.serving.counters import Tallies
from ray_apps.serving.event_writer import EventWriter
from ray_apps.serving.feedback import Credits
from ray_apps.serving.metrics import AnswerMetrics
from ray_apps.serving.online.live import still
from ray_apps.serving.replica import Replica
from ray_apps.serving.request_ids import key_of
from ray_apps.serving.ripening import Ripening
from ray_apps.stores.objects import open_store
from ray_apps.stores.registry import open_version
from ray_apps.stores.snapshots import latest_manifest, open_snapshot
from ray_apps.training.dataset import Dataset, read_dataset
from ray_apps.training.fitter import fitter_of
from ray_apps.training.job import run
from ray_apps.training.measuring import asked_of
from recsys_dev.kafka import Brokers
from recsys_dev.processes import wait_until
from recsys_operator.plan.gates import verdicts
from recsys_schemas.event_fields import RESPONSES
from recsys_schemas.serving_evidence import EvidenceResponse
from recsys_schemas.serving_record import ServingArguments
from recsys_schemas.train_job import IngestJob, ModelIdentity, TopicToRead, TrainJob
from recsys_schemas.v1alpha1.gates import Gate
from recsys_schemas.version_card import VersionCard

USERS, ITEMS, GENRES, EVENTS = 400, 64, 8, 20
ASKED = 6
"""Answers to each user."""
SHUFFLE = {"share": 0.8, "depth": 50}
"""Deep enough for all that users have not seen: so the log could have shown whatever another version would."""
ATTRIBUTION_S = 1.0
EXAMINED = 1 / (1 + 0.15 * np.arange(LENGTH))
"""How likely a user is to look at each place."""
ALONE = 0.5
"""How often a user finds something by themselves after an answer."""
LIKED, OTHERWISE = 0.6, 0.1
"""How likely they are to take what they look at."""


def likes(user: int, item: int) -> bool:
    """A user likes two genres at most, an item is of one."""
    return item % GENRES in (user % GENRES, user // GENRES % GENRES)


def taken(user: int, item: int, place: int) -> float:
    """The chance that a user takes an item at a place."""
    return float(EXAMINED[place]) * (LIKED if likes(user, item) else OTHERWISE)


@dataclass(slots=True)
class Line:
    """Topics, a store, and who reads the first into the second."""

    job: IngestJob
    producer: Producer
    sent: int = 0

    @property
    def uri(self) -> str:
        return self.job.storage_uri

    def watch(self, user: int, item: int, at: int, request: str | None = None) -> None:
        """One event."""
        self.sent += 1
        event = {"event_id": f"e{self.sent}", "user_id": f"u{user}", "item_id": f"i{item}", "timestamp": at, "request_id": request}
        self.producer.produce(self.job.topics[0].topic, json.dumps(event), f"u{user}")
        self.producer.poll(0)

    def settled(self, answers: int = 0) -> int:
        """The snapshot that has everything."""
        self.producer.flush(LIMIT_S)

        def newest() -> Any:
            return latest_manifest(open_store(self.uri))

        wait_until(lambda: (seen := newest()) is not None and seen.all_rows >= self.sent + answers, what="the rows", deadline_s=LIMIT_S)
        return int(newest().sequence)

    def trained(self, version: str, sequence: int, **more: Any) -> tuple[TrainJob, VersionCard]:
        """A version of a snapshot."""
        asked = TrainJob(
            model=self.job.model,
            version=version,
            storage_uri=self.uri,
            snapshot_sequence=sequence,
            algorithm="ItemItem",
            hyperparameters={},
            baselines=["Popularity"],
            seed=7,
            attribution_seconds=ATTRIBUTION_S,
        ).model_copy(update=more)
        return asked, run(asked)


@pytest.fixture
def line(brokers: Brokers, admin: AdminClient, topic_names: Callable[[str], str], tmp_path: Path) -> Iterator[Line]:
    watch, asked, answered, dead = (topic_names(name) for name in ("watch", "asked", "answered", "dead"))
    for made in admin.create_topics([NewTopic(name, 3, 3) for name in (watch, asked, answered, dead)]).values():
        made.result(timeout=LIMIT_S)
    job = IngestJob(
        model=ModelIdentity(namespace="test", name=watch, uid="0123456789"),
        bootstrap_servers=brokers.bootstrap_servers.split(","),
        topics=[TopicToRead(topic=watch, event_type="watch"), TopicToRead(topic=answered, event_type=RESPONSES)],
        dead_letter_topic=dead,
        storage_uri=f"file://{tmp_path}/store",
        roll_max_records=20_000,
        roll_max_seconds=0.5,
    )
    running = Running(job).start()
    yield Line(job=job, producer=Producer({"bootstrap.servers": brokers.bootstrap_servers, "linger.ms": 20}))
    running.stop()


def past(line: Line) -> None:
    """What users did by themselves, long ago: mostly what they like."""
    chance = np.random.default_rng(1)
    rows: list[tuple[int, int]] = []
    for user in range(USERS):
        odds = np.array([8.0 if likes(user, item) else 1.0 for item in range(ITEMS)])
        rows += [(user, int(item)) for item in chance.choice(ITEMS, size=EVENTS, replace=False, p=odds / odds.sum())]
    for number, index in enumerate(chance.permutation(len(rows)).tolist()):
        line.watch(*rows[index], at=1_700_000_000_000 + 1000 * number)


def replica_of(line: Line, card: VersionCard, cache: Path) -> Replica:
    """A replica that serves a version of the store and logs to the brokers; what it knows does not move, so that lists stay the same."""
    names = [each.topic for each in line.job.topics]
    arguments = ServingArguments(
        namespace="test",
        name="movies",
        uid="1f0c",
        storage_uri=line.uri,
        bootstrap_servers=line.job.bootstrap_servers,
        requests_topic=names[0].replace("watch", "asked"),
        responses_topic=names[1],
        event_topics={"watch": names[0]},
        timeout_ms=60_000,
        queue_ms=60_000,
    )
    store, tallies, key = open_store(line.uri), Tallies(), key_of("1f0c")
    ripening = Ripening(tallies)
    replica = Replica(
        replica_id="one",
        arguments=arguments,
        id_key=key,
        arms=Arms(lambda version, digest: open_version(store, version, digest, cache, load_model), still),
        tallies=tallies,
        ripening=ripening,
        credits=Credits(key, ripening),
        log=AnswerLog(arguments.bootstrap_servers, arguments.requests_topic, arguments.responses_topic, flush_seconds=60.0),
        events=EventWriter(arguments.bootstrap_servers),
        metrics=AnswerMetrics("test/movies"),
    )
    arm = {"version": card.version, "digest": card.digest, "variant": "stable", "share": 100}
    token = "3c469e9d6c5875d37a43f353d4f88e61fcf812c66eee3457465a40b0da4153e0"  # SHA-256 of "token"
    record: Any = {"epoch": 1, "salt": "s", "arms": [arm], "tokens": {token: "reader"}, "shuffle": SHUFFLE}
    assert replica.arms.apply(record)
    wait_until(lambda: replica.arms.epoch == 1, what="the arm", deadline_s=LIMIT_S)
    return replica


async def visits(line: Line, api: Api) -> None:
    """Everybody asks some times and takes what they like of what they see; now and then they find something by themselves."""
    chance = np.random.default_rng(2)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://replica") as client:
        for _ in range(ASKED):
            for user in range(USERS):
                asked = {"user_id": f"u{user}", "k": LENGTH}
                told = await client.post("/v1/recommendations", json=asked, headers={"Authorization": "Bearer token"})
                body = told.raise_for_status().json()
                for place, item in enumerate(body["items"]):
                    number = int(item["item_id"][1:])
                    if chance.random() < taken(user, number, place):
                        line.watch(user, number, int(time.time() * 1000), body["request_id"])
                if chance.random() < ALONE:
                    line.watch(user, int(chance.choice([item for item in range(ITEMS) if likes(user, item)])), int(time.time() * 1000))


def truth(dataset: Dataset, split: Split, log: LoggedAnswers, job: TrainJob) -> float:
    """What the measured fit would have earned for each place, had it answered: users' tastes are known."""
    fitted = fitter_of(job).fit(ALGORITHMS[job.algorithm], split.train, asked_of(job, ALGORITHMS)[job.algorithm])
    histories, earned = split.train.told(), dict[int, list[float]]()
    for user in np.unique(log.users).tolist():
        items, weights = histories.of(user)
        shown = best(fitted.scores(items, weights), LENGTH, items).tolist()
        who, names = int(dataset.user_ids[user][1:]), [int(dataset.item_ids[item][1:]) for item in shown]
        earned[user] = [taken(who, item, place) for place, item in enumerate(names)]
    return float(np.mean([earned[user][place] for user, place in zip(log.users.tolist(), log.places.tolist(), strict=True)]))


def test_what_a_version_would_have_earned_is_told_from_answers_drawn_by_lot_and_judged_by_a_gate(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fallback, "LOT", random.Random(12))
    past(line)
    _, first = line.trained("movies-000001", line.settled())
    replica = replica_of(line, first, tmp_path / "cache")

    async def evidence() -> EvidenceResponse:
        return EvidenceResponse(replicas=[])

    asyncio.run(visits(line, Api(replica, evidence)))
    replica.close()
    assert replica.log.dropped == 0
    ripe = time.time() + 2 * ATTRIBUTION_S
    wait_until(lambda: time.time() > ripe, what="the attribution time", deadline_s=LIMIT_S)
    line.watch(0, 0, int(time.time() * 1000), "later")
    sequence = line.settled(answers=ASKED * USERS)
    assert exact(line.job).dead_letters == 0

    job, card = line.trained("movies-000002", sequence, algorithm="ALS", champion="movies-000001")
    candidate = card.evaluations[0]
    assert not {"snips@10", "dr@10"} & candidate.abstained.keys()
    dataset = read_dataset(open_snapshot(open_store(line.uri), sequence), attribution_s=ATTRIBUTION_S)
    assert dataset.answers is not None
    assert len(dataset.answers) == ASKED * USERS * LENGTH
    split = by_time(dataset.interactions, job.seed, dataset.organic)
    log = unknown_answers(dataset.answers, split, job.seed)
    known = truth(dataset, split, log, job)
    for metric in (f"snips@{LENGTH}", f"dr@{LENGTH}"):
        told = candidate.metrics[metric]
        assert told.low <= known <= told.high, (metric, told, known)
        assert told.high - told.low < known, "an interval that says something"

    gates = [
        Gate(name="earns", metric="snips@10", at_least=0.05, proof="Shown"),
        Gate(name="too-much", metric="dr@10", at_least=0.9),
        Gate(name="offline", metric="snips@10", relative_to="Champion", at_least=-0.2),
    ]
    found = {verdict.name: verdict for verdict in verdicts(gates, card)}
    assert (found["earns"].verdict, found["too-much"].verdict, found["offline"].verdict) == ("Passed", "Failed", "Passed")
    assert f"{candidate.metrics['snips@10'].value:.4f}" in found["earns"].message
    assert "must be at least 0.05 (shown at 95 %)" in found["earns"].message

    # Broken twins of the log: chances that were not written down, or are not those of the answers, are noticed before they are used.
    fitted = fitter_of(job).fit(ALGORITHMS["ALS"], split.train, asked_of(job, ALGORITHMS)["ALS"])
    certain = counterfactual(fitted.scores_many, split, replace(log, propensities=np.ones(len(log))))
    assert "propensity of 1 everywhere" in certain.abstained["snips@10"]
    by_lot_alone = counterfactual(fitted.scores_many, split, replace(log, propensities=np.full(len(log), 0.8 / 50)))
    assert "not those of the policy that answered" in by_lot_alone.abstained["snips@10"]
