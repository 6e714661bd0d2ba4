"""What is wrong is told by a condition that names the field, the value and the mend; mended, all goes on by itself."""

import contextlib
import json
import re
import time
from collections.abc import Generator, Iterator
from typing import Any

import pytest
import yaml

from e2e.sight import Sight, until
from recsys_dev.line import REPOSITORY, apply_model, make_ray_secret, manifest_of
from recsys_dev.ports import LOOPBACK, free_ports
from recsys_dev.producer import EventProducer
from recsys_schemas.events import DeadLetter, WatchEvent

SPOILT, FAULTY, RIVAL = "spoilt", "faulty", "rival"
SHOP = "shop"
MENDED_S = 240.0
"""After a mend the operator looks again within seconds; then Ray starts processes."""
GOOD = 2
BAD = 3


def apply(sight: Sight, name: str, namespace: str, **changes: Any) -> None:
    topics = [{"name": f"{SHOP}.watch", "role": "Watch", "partitions": 1}]
    topics += [{"name": f"{SHOP}.{role.lower()}", "role": role} for role in ("Requests", "Responses")]
    wanted: dict[str, Any] = {
        "metadata.name": name,
        "spec.kafka.topics": topics,
        "spec.data.snapshot.roll": {"maxSeconds": 1},
        "spec.serving": {"replicas": 1},
    }
    given = {key.replace("__", "."): value for key, value in changes.items()}
    apply_model(sight.line, manifest_of(REPOSITORY / "examples" / "movies.yaml", sight.line, wanted | given), namespace)


def put_secret(sight: Sight, namespace: str, token: str) -> None:
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ray-auth", "namespace": namespace}, "stringData": {"token": token}}
    sight.line.cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump(body))


@contextlib.contextmanager
def namespace(sight: Sight, name: str) -> Generator[str]:
    """A namespace of these tests' own, whose models are told to go at the end."""
    sight.line.cluster.kubectl("create", "namespace", name)
    try:
        yield name
    finally:
        sight.line.cluster.kubectl("delete", "rm", "--all", "--namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def faulty(sight: Sight) -> Iterator[str]:
    """A namespace with a good Secret."""
    with namespace(sight, FAULTY) as name:
        make_ray_secret(sight.line, name)
        yield name


@pytest.fixture(scope="module")
def unmended(sight: Sight) -> Iterator[list[str]]:
    """A model whose Secret is missing, then wrong, then right: what it said at each stage."""
    with namespace(sight, SPOILT) as name:
        apply(sight, SHOP, name)
        said = [sight.told(SHOP, "Stalled", "True", "ActionNeeded", namespace=name)]
        put_secret(sight, name, "not-the-token")
        said.append(
            until(
                lambda: (words := sight.conditions(SHOP, SPOILT)["Stalled"]["message"]) != said[0] and words,
                what="another message", within_s=MENDED_S, or_tell=lambda: sight.words(SHOP, SPOILT),
            )
        )  # fmt: skip
        put_secret(sight, name, sight.line.head.token)
        sight.told(SHOP, "Serving", "Unknown", "Empty", namespace=name, within_s=MENDED_S)
        said.append(sight.told(SHOP, "Stalled", "False", "Progressing", namespace=name))
        yield said


def test_a_missing_secret_is_named_with_the_command_that_makes_it(unmended: list[str]):
    assert f"spec.ray.tokenSecretRef: Secret {SPOILT}/ray-auth not found" in unmended[0]
    assert f"kubectl create secret generic ray-auth --namespace {SPOILT} --from-literal=token=" in unmended[0]


def test_a_token_that_ray_refuses_is_told_with_its_secret_and_not_shown(unmended: list[str]):
    assert "spec.ray.tokenSecretRef: Ray refused the token" in unmended[1]
    assert "403" in unmended[1]
    assert f"put the cluster's token into the Secret {SPOILT}/ray-auth, key 'token'" in unmended[1]
    assert "not-the-token" not in unmended[1]


def test_with_the_right_token_the_model_goes_on_by_itself(sight: Sight, unmended: list[str]):
    assert unmended[2] == "nothing waits for a person"
    uid = sight.line.cluster.kubectl("get", "rm", SHOP, "--namespace", SPOILT, "-o", "jsonpath={.metadata.uid}")
    until(
        lambda: [id_ for id_, word in sight.jobs(uid[:8]).items() if id_.startswith("ingest-") and word == "RUNNING"],
        what="its ingest job", within_s=MENDED_S, or_tell=lambda: sight.words(SHOP, SPOILT),
    )  # fmt: skip


def watch(number: int) -> bytes:
    event = WatchEvent(event_id=f"e{number}", user_id="u1", item_id="m1", timestamp=time.time_ns() // 1_000_000)
    return event.model_dump_json(exclude_none=True).encode()


@pytest.mark.usefixtures("unmended")
def test_events_that_fit_no_schema_are_put_aside_told_and_outweighed_by_good_ones(sight: Sight):
    dead, topic = f"{SPOILT}.{SHOP}.dead-letters", f"{SHOP}.watch"
    producer = EventProducer(sight.line.brokers.bootstrap_servers)
    for value in (watch(0), b"{not json", b'{"event_id": "e", "user_id": "u1", "timestamp": 1}', watch(3), b""):
        producer.send_raw(topic, b"u1", value)
    producer.flush()

    def counted() -> bool:
        body = json.loads(sight.line.cluster.kubectl("get", "rm", SHOP, "--namespace", SPOILT, "-o", "json"))
        seen = body["status"].get("ingestion", {})
        return (seen.get("rows"), seen.get("deadLetters")) == (GOOD, BAD)

    until(counted, what=f"{BAD} dead letters in status.ingestion", within_s=MENDED_S, or_tell=lambda: sight.words(SHOP, SPOILT))
    # Brokers mark the end of a transaction a moment after they have said yes to it.
    found = until(lambda: records if len(records := sight.records(dead)) >= BAD else None, what="the dead letters", within_s=MENDED_S)
    letters = [DeadLetter.model_validate_json(value) for value in found]
    assert sorted((each.topic, each.partition, each.offset, str(each.reason)) for each in letters) == [
        (topic, 0, 1, "Unparseable"),
        (topic, 0, 2, "SchemaMismatch"),
        (topic, 0, 4, "Empty"),
    ]
    assert any("item_id" in each.detail for each in letters)
    told = sight.told(SHOP, "SnapshotReady", "False", "DataQualityFailed", namespace=SPOILT)
    assert "3 of the newest 5 records (60.0%) were put aside, more than spec.data.snapshot.maxDeadLetterFraction 5.0%" in told
    assert f"training is held until good ones outweigh them; read {dead}" in told
    assert sight.told(SHOP, "Stalled", "True", "ActionNeeded", namespace=SPOILT) == told
    for number in range(60):
        producer.send_raw(topic, b"u1", watch(100 + number))
    producer.flush()
    sight.told(SHOP, "SnapshotReady", "True", "Committed", namespace=SPOILT, within_s=MENDED_S)
    sight.told(SHOP, "Stalled", "False", "Progressing", namespace=SPOILT)


@pytest.mark.usefixtures("unmended")
def test_a_route_that_another_namespaces_model_has_is_told_with_its_holder_and_given_up_for_a_free_one(sight: Sight):
    with namespace(sight, RIVAL) as name:
        make_ray_secret(sight.line, name)
        apply(sight, SHOP, name, spec__suspend=True)
        # Its topics are looked at, and its Secret is made, before there is a route to ask for.
        told = sight.told(SHOP, "Serving", "False", "RouteTaken", namespace=name, within_s=MENDED_S)
        assert f"spec.serving.routePrefix: /{SHOP} is taken by the application {SPOILT}.{SHOP} on this Ray cluster" in told
        assert "set another spec.serving.routePrefix" in told
        assert told in sight.told(SHOP, "Stalled", "True", "ActionNeeded", namespace=name)
        patch = json.dumps({"spec": {"serving": {"routePrefix": "/rival-shop"}}})
        sight.line.cluster.kubectl("patch", "rm", SHOP, "--namespace", name, "--type=merge", "--patch", patch)
        sight.told(SHOP, "Serving", "Unknown", "Empty", namespace=name, within_s=MENDED_S)
        sight.told(SHOP, "Stalled", "False", "Progressing", namespace=name)
        holder = sight.app(f"{SPOILT}.{SHOP}")
        assert holder is not None
        assert holder["route_prefix"] == f"/{SHOP}"


def test_more_replicas_than_live_brokers_are_told_by_topic_with_both_numbers(sight: Sight, faulty: str):
    topics: list[dict[str, Any]] = [{"name": "wide.watch", "role": "Watch", "replicas": 5}]
    topics += [{"name": f"wide.{role.lower()}", "role": role} for role in ("Requests", "Responses")]
    apply(sight, "wide", faulty, spec__suspend=True, spec__kafka__topics=topics)
    told = sight.told("wide", "TopicsReady", "False", "ReplicasInfeasible", namespace=faulty)
    assert told == "spec.kafka.topics[wide.watch].replicas: 5, but 3 brokers are live: lower replicas or add brokers"
    assert sight.told("wide", "Stalled", "True", "ActionNeeded", namespace=faulty) == told
    topics[0]["replicas"] = 3
    apply(sight, "wide", faulty, spec__suspend=True, spec__kafka__topics=topics)
    sight.told("wide", "TopicsReady", "True", "Verified", namespace=faulty, within_s=MENDED_S)


@pytest.fixture(scope="module")
def unreachable(sight: Sight, faulty: str) -> dict[str, str]:
    """A model for which neither broker nor dashboard answers, and whose store cannot be: three faults at once."""
    broker, dashboard = free_ports(2)
    file = sight.line.run_dir / "a-file"
    file.write_text("")
    where = {"broker": f"{LOOPBACK}:{broker}", "dashboard": f"http://{LOOPBACK}:{dashboard}", "store": f"{file.as_uri()}/store"}
    apply(
        sight, "lost", faulty,
        spec__kafka__bootstrapServers=[where["broker"]],
        spec__ray__dashboardURL=where["dashboard"],
        spec__data__snapshot__storageURI=where["store"],
    )  # fmt: skip
    return where | {"file": str(file)}


def test_brokers_that_do_not_answer_are_told_with_their_addresses(sight: Sight, faulty: str, unreachable: dict[str, str]):
    sight.told("lost", "TopicsReady", "Unknown", "KafkaUnreachable", namespace=faulty)
    words = (f"spec.kafka.bootstrapServers: no broker answers at {unreachable['broker']}", "Connection refused")
    words += ("start the brokers or correct the addresses",)

    def said() -> bool:
        """In one look: a machine that stood still is told in other words, which go with the next pass."""
        seen = sight.conditions("lost", faulty)
        told = str(seen["TopicsReady"]["message"])
        return all(each in told for each in words) and told in seen["Ready"]["message"]

    until(said, what=str(words), within_s=MENDED_S, or_tell=lambda: sight.words("lost", faulty))


def test_a_dashboard_that_does_not_answer_is_told_with_its_url(sight: Sight, faulty: str, unreachable: dict[str, str]):
    told = sight.told("lost", "Serving", "Unknown", "EngineUnavailable", namespace=faulty)
    assert f"spec.ray.dashboardURL: no Ray dashboard answers at {unreachable['dashboard']}" in told
    assert "start the cluster or correct the address" in told


def test_a_folder_that_cannot_be_is_told_with_the_file_in_its_way(sight: Sight, faulty: str, unreachable: dict[str, str]):
    told = sight.told("lost", "SnapshotReady", "Unknown", "StorageUnreachable", namespace=faulty)
    assert f"spec.data.snapshot.storageURI: {unreachable['store']} cannot be a folder, for {unreachable['file']} is a file" in told
    assert told in sight.told("lost", "Stalled", "True", "ActionNeeded", namespace=faulty)


def test_an_object_store_that_does_not_answer_is_told_with_its_bucket(sight: Sight, faulty: str):
    port = free_ports(1)[0]
    apply(
        sight, "far", faulty, spec__suspend=True,
        spec__ray__dashboardURL=f"http://{LOOPBACK}:{port}",
        spec__data__snapshot__storageURI="s3://nobucket/far",
    )  # fmt: skip
    told = sight.told("far", "SnapshotReady", "Unknown", "StorageUnreachable", namespace=faulty)
    assert "spec.data.snapshot.storageURI s3://nobucket/far" in told
    assert re.search(r"check that the store runs and that AWS_\* are right", told)
