"""Ingest as it runs for real: a Ray job whose actor and driver are killed."""

import json
import os
import re
import signal
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from prometheus_client.parser import text_string_to_metric_families

from ray_apps.ingest.verify import verify
from ray_apps.stores.objects import open_store
from ray_apps.stores.snapshots import latest_manifest
from recsys_dev.kafka import Brokers
from recsys_dev.processes import wait_until
from recsys_dev.ray import RayHead
from recsys_schemas import metric_names
from recsys_schemas.metric_names import Metric
from recsys_schemas.train_job import IngestJob, ModelIdentity, TopicToRead

LIMIT_S = 300.0


@pytest.fixture
def job(brokers: Brokers, admin: AdminClient, topic_names: Callable[[str], str], tmp_path: Path) -> IngestJob:
    watch, dead = topic_names("watch"), topic_names("dead")
    for made in admin.create_topics([NewTopic(name, 3, 3) for name in (watch, dead)]).values():
        made.result(timeout=120)
    return IngestJob(
        model=ModelIdentity(namespace="test", name=watch, uid="0123456789"),
        bootstrap_servers=brokers.bootstrap_servers.split(","),
        topics=[TopicToRead(topic=watch, event_type="watch")],
        dead_letter_topic=dead,
        storage_uri=f"file://{tmp_path}/store",
        roll_max_records=100,
        roll_max_seconds=0.2,
    )


def write(job: IngestJob, count: int) -> None:
    """Write records, each tenth a bad one; ids are new in each call, for repeats would be put aside."""
    producer = Producer({"bootstrap.servers": ",".join(job.bootstrap_servers)})
    for number in range(count):
        good = {"event_id": uuid.uuid4().hex, "user_id": f"u{number % 9}", "item_id": "i", "timestamp": int(time.time() * 1000)}
        producer.produce(job.topics[0].topic, json.dumps(good) if number % 10 else b"bad", f"u{number % 9}")
    producer.flush(LIMIT_S)


def wait_covered(job: IngestJob, count: int) -> None:
    def covered() -> bool:
        newest = latest_manifest(open_store(job.storage_uri))
        return newest is not None and newest.rows + newest.dead_letters >= count

    wait_until(covered, what=f"{count} records covered", deadline_s=LIMIT_S)


def submit(rest: httpx.Client, job: IngestJob, name: str) -> str:
    entry = f"{sys.executable} -m ray_apps.ingest --job '{job.model_dump_json()}'"
    rest.post("/api/jobs/", json={"entrypoint": entry, "submission_id": name}).raise_for_status()
    return name


def told(rest: httpx.Client, name: str) -> dict[str, Any]:
    return rest.get(f"/api/jobs/{name}").raise_for_status().json()


def actor_pid(rest: httpx.Client, name: str) -> int:
    """Pid of the newest actor process that the job's log names; 0 before there is one."""
    log = rest.get(f"/api/jobs/{name}/logs").raise_for_status().json()["logs"]
    pids = re.findall(r"Consuming pid=(\d+)\)[^\n]*session begins", log)
    return int(pids[-1]) if pids else 0


@pytest.mark.parametrize("consumers", [1, 2])
def test_a_killed_actor_and_a_killed_driver_lose_and_repeat_nothing(rest: httpx.Client, job: IngestJob, consumers: int) -> None:
    job = job.model_copy(update={"consumers": consumers})
    first = submit(rest, job, f"ingest-{consumers}-1")
    write(job, 500)
    wait_covered(job, 500)
    wait_until(lambda: actor_pid(rest, first) > 0, what="the actor's pid", deadline_s=LIMIT_S)
    os.kill(actor_pid(rest, first), signal.SIGKILL)
    write(job, 500)
    wait_covered(job, 1000)

    driver = int(told(rest, first)["driver_info"]["pid"])
    os.kill(driver, signal.SIGKILL)
    write(job, 500)
    wait_until(lambda: told(rest, first)["status"] == "FAILED", what="the end of the first job", deadline_s=LIMIT_S)
    second = submit(rest, job, f"ingest-{consumers}-2")
    wait_covered(job, 1500)

    rest.post(f"/api/jobs/{second}/stop").raise_for_status()
    wait_until(lambda: told(rest, second)["status"] in ("STOPPED", "SUCCEEDED"), what="the end of the second job", deadline_s=LIMIT_S)
    found = verify(open_store(job.storage_uri), job)
    assert found.exact, found
    assert (found.rows, found.dead_letters, found.uncovered) == (1350, 150, 0)


def exported(head: RayHead, metric: Metric, series: str = "") -> dict[tuple[str, ...], float]:
    """What the head's Ray agent exports of a metric, summed over processes: values of the metric's own labels → value."""
    assert head.ports is not None
    text = httpx.get(f"http://127.0.0.1:{head.ports.metrics}/metrics", timeout=120).raise_for_status().text
    found: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == f"ray_{metric.name}{series}":
                found[tuple(sample.labels[label] for label in metric.labels)] += sample.value
    return dict(found)


@pytest.mark.parametrize("consumers", [1, 2])
def test_what_ingest_counts_is_exported_by_rays_agent(rest: httpx.Client, ray_head: RayHead, job: IngestJob, consumers: int) -> None:
    job = job.model_copy(update={"consumers": consumers})
    model = (job.model.namespace, job.model.name)
    name = submit(rest, job, f"ingest-counted-{consumers}")
    write(job, 500)
    wait_covered(job, 500)
    lanes = {(*model, str(lane)): 1.0 for lane in range(consumers)}

    def mine(metric: Metric, series: str = "") -> dict[tuple[str, ...], float]:
        return {labels: value for labels, value in exported(ray_head, metric, series).items() if labels[:2] == model}

    # The agent is told every few seconds.
    wait_until(lambda: mine(metric_names.INGEST_ROWS) == {(*model, "watch"): 450}, what="the rows", deadline_s=LIMIT_S)
    wait_until(lambda: mine(metric_names.INGEST_DEAD) == {(*model, "Unparseable"): 50}, what="the dead letters", deadline_s=LIMIT_S)
    wait_until(lambda: mine(metric_names.INGEST_READING) == lanes, what="who reads", deadline_s=LIMIT_S)
    # Each metric is told by itself.
    wait_until(lambda: mine(metric_names.INGEST_BYTES).get((*model, "watch"), 0.0) > 0, what="the bytes", deadline_s=LIMIT_S)
    wait_until(lambda: mine(metric_names.INGEST_COMMIT_SECONDS, "_count").get(model, 0.0) >= 1, what="a commit", deadline_s=LIMIT_S)
    rest.post(f"/api/jobs/{name}/stop").raise_for_status()
    wait_until(lambda: told(rest, name)["status"] in ("STOPPED", "SUCCEEDED"), what="the job's end", deadline_s=LIMIT_S)
    wait_until(lambda: not sum(mine(metric_names.INGEST_READING).values()), what="nobody reads", deadline_s=LIMIT_S)


def lane_pids(rest: httpx.Client) -> set[int]:
    """Pids of the lanes that are up."""
    answered = rest.get("/api/v0/actors", params={"detail": "true", "limit": 1000}).raise_for_status()
    actors = answered.json()["data"]["result"]["result"]
    return {actor["pid"] for actor in actors if actor["class_name"] == "Reading" and actor["state"] == "ALIVE"}


def test_a_killed_lane_loses_and_repeats_nothing(rest: httpx.Client, job: IngestJob) -> None:
    job = job.model_copy(update={"consumers": 2})
    name = submit(rest, job, "ingest-lanes")
    write(job, 500)
    wait_covered(job, 500)
    wait_until(lambda: len(lane_pids(rest)) == 2, what="two lanes", deadline_s=LIMIT_S)
    lanes = lane_pids(rest)
    os.kill(min(lanes), signal.SIGKILL)
    write(job, 500)
    wait_covered(job, 1000)
    wait_until(lambda: len(lane_pids(rest)) == 2 and not lane_pids(rest) & lanes, what="two other lanes", deadline_s=LIMIT_S)
    rest.post(f"/api/jobs/{name}/stop").raise_for_status()
    wait_until(lambda: told(rest, name)["status"] in ("STOPPED", "SUCCEEDED"), what="the job's end", deadline_s=LIMIT_S)
    found = verify(open_store(job.storage_uri), job)
    assert found.exact, found
    assert (found.rows, found.dead_letters) == (900, 100)


def test_a_job_that_cannot_be_done_fails_with_the_field_and_the_mend(rest: httpx.Client, job: IngestJob) -> None:
    name = submit(rest, job.model_copy(update={"storage_uri": "ftp://nowhere/x"}), "ingest-refused")
    wait_until(lambda: told(rest, name)["status"] == "FAILED", what="the refusal", deadline_s=LIMIT_S)
    log = rest.get(f"/api/jobs/{name}/logs").raise_for_status().json()["logs"]
    assert "storageURI: 'ftp://nowhere/x' has scheme 'ftp'; use one of file, s3" in log
