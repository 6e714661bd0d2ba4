"""Two models on one Ray cluster: they live side by side, an operator killed beside them costs nothing, and one goes without the other."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from e2e.sight import Sight, until
from e2e.small import small_model
from recsys_dev.audience import SimulatedAudience
from recsys_dev.line import NAMESPACE, REPOSITORY, apply_model, manifest_of
from recsys_dev.producer import EventProducer
from recsys_dev.tallies import Tally
from recsys_dev.tastes import World
from recsys_dev.topics_seen import Topics
from recsys_dev.traffic import Traffic
from recsys_schemas.v1alpha1.version import VersionPhase

WORLD = World(users=150, items=150, mean_history=20)
STAYS, GOES = "films", "books"
ALGORITHMS = {STAYS: "ItemItem", GOES: "Popularity"}
VISITS_PER_S = 20.0
START_S = 400.0
END_S = 240.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two models that serve, and what was seen on their way."""

    audience: SimulatedAudience
    running_when_killed: list[str]
    """Training jobs that ran while no operator did."""
    uids: dict[str, str]

    def uid8(self, model: str) -> str:
        return self.uids[model][:8]


def wishes(name: str) -> dict[str, Any]:
    """A small model with topics for its answers of its own; the events are those of the other one too."""
    return small_model(name, ALGORITHMS[name], watch="watch", rate="rate")


@pytest.fixture(scope="module")
def pair(sight: Sight) -> Iterator[Pair]:
    """Both models Ready; on the way the operator is killed while a version is being trained, and started again."""
    line = sight.line
    for name in ALGORITHMS:
        apply_model(line, manifest_of(REPOSITORY / "examples" / "movies.yaml", line, wishes(name)))
    for name in ALGORITHMS:
        sight.told(name, "TopicsReady", "True", "Verified", within_s=START_S)
    audience = SimulatedAudience(WORLD, now_ms=time.time_ns() // 1_000_000)
    producer = EventProducer(line.brokers.bootstrap_servers)
    producer.send(audience.history())
    producer.flush()
    uids = {name: str(line.cluster.kubectl("get", "rm", name, "-o", "jsonpath={.metadata.uid}")) for name in ALGORITHMS}

    def training() -> list[str]:
        jobs = {id_: word for uid in uids.values() for id_, word in sight.jobs(uid[:8]).items()}
        return [id_ for id_, word in jobs.items() if id_.startswith("train-") and word == "RUNNING"]

    until(training, what="a training job", within_s=START_S, or_tell=lambda: sight.words(STAYS))
    operator = line.operator
    assert operator is not None
    os.kill(operator.pid, signal.SIGKILL)
    until(lambda: not operator.is_alive(), what="the operator's end", within_s=120)
    running = training()
    line.start_operator()
    for name in ALGORITHMS:
        until(lambda name=name: sight.ready(name), what=f"{name} Ready", within_s=START_S, or_tell=lambda name=name: sight.words(name))
    yield Pair(audience=audience, running_when_killed=running, uids=uids)
    for name in ALGORITHMS:
        line.cluster.kubectl("delete", "rm", name, "--ignore-not-found", "--wait=false")


def files_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_an_operator_killed_while_a_version_is_trained_finds_its_run_again(sight: Sight, pair: Pair):
    assert pair.running_when_killed, "the kill came too late to prove anything"
    for model in ALGORITHMS:
        trained = [id_ for id_ in sight.jobs(pair.uid8(model)) if id_.startswith("train-")]
        assert trained == [f"train-{model}-000001-{pair.uid8(model)}-0"]
        seen = sight.eyes.look(model)
        assert seen is not None
        assert [version.name for version in seen.versions] == [f"{model}-000001"]
        assert seen.versions[0].status.phase is VersionPhase.CHAMPION


def test_each_of_two_models_answers_on_its_own_path_with_its_own_version(sight: Sight, pair: Pair):
    tokens = {model: sight.api(model) for model in ALGORITHMS}
    for model, (url, token) in tokens.items():
        asked = {"user_id": pair.audience.visitor(), "k": 5}
        answer = httpx.post(
            f"{url}/v1/recommendations", json=asked, headers={"Authorization": f"Bearer {token}"}, timeout=60, trust_env=False
        )
        assert answer.status_code == 200, answer.text
        assert answer.json()["model_version"] == f"{model}-000001"
        assert len(answer.json()["items"]) == 5
    url, _ = tokens[STAYS]
    foreign = {"Authorization": f"Bearer {tokens[GOES][1]}"}
    assert httpx.post(f"{url}/v1/recommendations", json={"user_id": "u"}, headers=foreign, timeout=60, trust_env=False).status_code == 401


@pytest.fixture(scope="module")
def parted(sight: Sight, pair: Pair) -> "Parted":
    """One model deleted while users of the other go on asking."""
    url, token = sight.api(STAYS)
    left = sight.eyes.look(GOES)
    assert left is not None
    folder = Path(urlsplit(left.versions[0].spec.storage_uri).path)
    files, before = files_below(folder), sight.served(f"{NAMESPACE}.{STAYS}")
    traffic = Traffic(url, token, pair.audience, rate=VISITS_PER_S).start()
    try:
        until(lambda: traffic.tally.ok >= 40, what="answers", within_s=240, or_tell=lambda: list(traffic.tally.faults))
        # kubectl returns when the finalizer is gone.
        sight.line.cluster.kubectl("delete", "rm", GOES, f"--timeout={END_S:.0f}s")
        until(lambda: sight.app(f"{NAMESPACE}.{GOES}") is None, what="the end of its application", within_s=END_S)
        answered = traffic.tally.ok
        until(lambda: traffic.tally.ok >= answered + 100, what="answers", within_s=240, or_tell=lambda: list(traffic.tally.faults))
    finally:
        tally = traffic.stop()
    return Parted(tally=tally, before=before, folder=folder, files=files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parted:
    """What was there before, and what the users of the other model got meanwhile."""

    tally: Tally
    before: tuple[str, list[tuple[str, str]]]
    folder: Path
    files: set[Path]


def test_deleting_one_model_costs_the_users_of_the_other_nothing(sight: Sight, parted: Parted):
    assert (parted.tally.failed, parted.tally.events_failed) == (0, 0), list(parted.tally.faults)
    assert parted.tally.ok == parted.tally.sent
    assert set(parted.tally.versions) == {f"{STAYS}-000001"}
    assert parted.tally.good == parted.tally.ok
    assert sight.ready(STAYS)


def test_deleting_one_model_touches_neither_config_nor_replicas_of_the_other(sight: Sight, parted: Parted):
    config, replicas = sight.served(f"{NAMESPACE}.{STAYS}")
    assert config == parted.before[0]
    assert replicas == parted.before[1]
    assert [state for _, state in replicas] == ["RUNNING"]


def test_what_a_deleted_model_owned_is_gone(sight: Sight, pair: Pair, parted: Parted):
    assert parted.files
    owned = ("get", "rmv,rro,secrets", "-l", f"recsys.dev/model-uid={pair.uids[GOES]}", "-o", "name", "--ignore-not-found")
    until(
        lambda: not sight.line.cluster.kubectl(*owned).strip(),
        what="the end of all that it owned", within_s=END_S, or_tell=lambda: sight.line.cluster.kubectl(*owned),
    )  # fmt: skip
    jobs = sight.jobs(pair.uid8(GOES))
    assert [id_ for id_, word in jobs.items() if word in ("PENDING", "RUNNING")] == []
    names = [f"ingest.{NAMESPACE}.{GOES}", f"{NAMESPACE}.{GOES}#"]
    until(
        lambda: not [actor for actor in sight.living_actors() if any(name in actor for name in names)],
        what="the end of its actors", within_s=END_S, or_tell=sight.living_actors,
    )  # fmt: skip
    kept = ("get", "rmv,rro,secrets", "-l", f"recsys.dev/model-uid={pair.uids[STAYS]}", "-o", "name")
    assert len(sight.line.cluster.kubectl(*kept).split()) == 3


def test_topics_and_snapshots_of_a_deleted_model_stay(sight: Sight, parted: Parted):
    topics = Topics(sight.line.brokers.bootstrap_servers)
    try:
        names = ["watch", "rate", f"{GOES}.requests", f"{GOES}.responses", f"{NAMESPACE}.{GOES}.dead-letters"]
        assert [topic.in_sync for topic in topics.describe(names)] == [3] * 5
    finally:
        topics.close()
    assert sight.records(f"{GOES}.responses")
    assert parted.files <= files_below(parted.folder)
    assert parted.folder.joinpath("manifests", "latest.json").is_file()
