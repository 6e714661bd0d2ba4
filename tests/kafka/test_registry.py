"""A real schema registry: records are decoded by the schema they were written with, and nothing is lost while it is silent."""

import io
import json
import os
import signal
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
import httpx
import pytest
from confluent_kafka import Producer
from tests.kafka.test_ingest import LIMIT_S, Running, exact, job, producer, wait_covered

from ray_apps.ingest.framing import Framing
from ray_apps.ingest.quality import Fault
from ray_apps.ingest.registry import RegistryError, SchemaRegistry
from ray_apps.ingest.tables import RefusedError
from ray_apps.stores.objects import open_store
from ray_apps.stores.snapshots import open_snapshot
from recsys_dev import runs, schema_registry
from recsys_dev.ports import LOOPBACK, free_ports
from recsys_dev.processes import wait_until
from recsys_dev.schema_registry import SchemaRegistryServer
from recsys_schemas.event_fields import AddedField, with_fields
from recsys_schemas.events import DeadLetterReason, RateEvent, WatchEvent
from recsys_schemas.train_job import IngestJob

__all__ = ["job", "producer"]
RUNS = Path(__file__).resolve().parents[2] / "build" / "run" / "tests"
TEXTS = [{"name": name, "type": "string"} for name in ("event_id", "user_id", "item_id")]
AVRO: dict[str, Any] = {"type": "record", "name": "Watch", "fields": [*TEXTS, {"name": "timestamp", "type": "long"}]}
WIDER = AVRO | {"fields": [*AVRO["fields"], {"name": "device", "type": ["null", "string"], "default": None}]}


@pytest.fixture(scope="module")
def server() -> Iterator[SchemaRegistryServer]:
    run_dir = runs.claim(RUNS / f"registry-{os.getpid()}")
    running = schema_registry.start(run_dir, print)
    yield running
    running.stop()
    runs.discard(run_dir)


def put(server: SchemaRegistryServer, subject: str, schema: dict[str, Any], kind: str = "AVRO") -> int:
    body = {"schemaType": kind, "schema": json.dumps(schema)}
    answer = httpx.post(f"{server.url}/subjects/{subject}/versions", json=body, timeout=LIMIT_S, trust_env=False)
    return int(answer.raise_for_status().json()["id"])


def registered(server: SchemaRegistryServer, subject: str) -> list[dict[str, Any]]:
    url = f"{server.url}/subjects/{subject}/versions"
    with httpx.Client(timeout=LIMIT_S, trust_env=False) as client:
        return [json.loads(client.get(f"{url}/{each}").json()["schema"]) for each in client.get(url).json()]


def event(number: int, **more: object) -> dict[str, Any]:
    now = int(time.time() * 1000)
    return {"event_id": f"e{number}", "user_id": f"u{number % 7}", "item_id": "i", "timestamp": now, **more}


def in_avro(number: int, schema: dict[str, Any], value: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), value)
    return struct.pack(">bI", 0, number) + stream.getvalue()


def in_json(number: int, value: dict[str, Any]) -> bytes:
    return struct.pack(">bI", 0, number) + json.dumps(value).encode()


def test_records_of_several_schemas_and_kinds_become_rows_and_a_silent_registry_loses_none(
    server: SchemaRegistryServer, job: IngestJob, producer: Producer
) -> None:
    watch, rate = (each.topic for each in job.topics)
    first, second = put(server, f"{watch}-value", AVRO), put(server, f"{watch}-value", WIDER)
    third = put(server, f"{rate}-value", RateEvent.model_json_schema(), "JSON")
    added = {"watch": [AddedField(name="device", type="string")]}
    wanted = job.model_copy(update={"schema_registry_url": server.url, "added_fields": added})

    def send(begin: int) -> None:
        for number in range(begin, begin + 60, 4):
            key = [f"u{each % 7}" for each in range(number, number + 4)]
            producer.produce(watch, in_avro(first, AVRO, event(number)), key[0])
            producer.produce(watch, in_avro(second, WIDER, event(number + 1, device="tv")), key[1])
            producer.produce(rate, in_json(third, event(number + 2, rating=4)), key[2])
            producer.produce(watch, json.dumps(event(number + 3)).encode(), key[3])
        producer.flush(LIMIT_S)

    send(0)
    bad = [b"\x00\x00", in_json(999_999, event(1)), in_avro(first, AVRO, event(2))[:-9], struct.pack(">bI", 0, first) + b"\xff" * 40]
    for value in bad:
        producer.produce(watch, value, "u1")
    producer.flush(LIMIT_S)
    running = Running(wanted).start()
    try:
        wait_covered(job, 64)
        running.stop()
        os.kill(server.child.pid, signal.SIGSTOP)
        send(100)
        running = Running(wanted).start()
        wait_until(lambda: "schemaRegistryURL" in running.progress.trouble, what="words on the silent registry", deadline_s=LIMIT_S)
        assert server.url in running.progress.trouble
        os.kill(server.child.pid, signal.SIGCONT)
        wait_covered(job, 124)
        wait_until(lambda: not running.progress.trouble, what="the end of the trouble", deadline_s=LIMIT_S)
    finally:
        os.kill(server.child.pid, signal.SIGCONT)
        running.stop()
    found = exact(wanted)
    assert (found.rows, found.dead_letters) == (120, 4)
    rows = open_snapshot(open_store(job.storage_uri)).rows("watch", ["device"])["device"].to_pylist()
    assert (rows.count("tv"), rows.count(None)) == (30, 60)


def test_a_schema_that_cannot_be_read_ends_ingest_and_once_it_is_mended_the_next_start_reads_all(
    server: SchemaRegistryServer, job: IngestJob, producer: Producer
) -> None:
    watch, rate = (each.topic for each in job.topics)
    put(server, f"{watch}-value", AVRO | {"fields": AVRO["fields"][:3]})
    put(server, f"{rate}-value", RateEvent.model_json_schema(), "JSON")
    wanted = job.model_copy(update={"schema_registry_url": server.url})
    running = Running(wanted).start()
    wait_until(lambda: running.failure is not None, what="the refusal", deadline_s=LIMIT_S)
    assert isinstance(running.failure, RefusedError)
    assert f"schemaRegistryURL: {watch}-value.timestamp: WatchEvent needs it and the registered schema lacks it" in str(running.failure)
    for path in (f"/subjects/{watch}-value", f"/subjects/{watch}-value?permanent=true"):
        httpx.delete(server.url + path, timeout=LIMIT_S, trust_env=False).raise_for_status()
    number = put(server, f"{watch}-value", AVRO)
    for each in range(20):
        producer.produce(watch, in_avro(number, AVRO, event(each)), f"u{each % 7}")
    producer.flush(LIMIT_S)
    running = Running(wanted).start()  # as the operator does, after a pause
    try:
        wait_covered(job, 20)
    finally:
        running.stop()
    assert exact(wanted).rows == 20


def test_the_readers_schema_is_registered_where_there_is_none_and_grows_by_adding(server: SchemaRegistryServer) -> None:
    registry = SchemaRegistry(server.url, deadline_s=LIMIT_S)
    wider = with_fields(WatchEvent, [AddedField(name="device", type="string", max_length=8)])
    for schema in (WatchEvent, WatchEvent, wider):
        registry.settle("grown", schema)
    assert [sorted(each["properties"]) for each in registered(server, "grown-value")] == [
        sorted(WatchEvent.model_fields),
        sorted(wider.model_fields),
    ]


def test_a_narrowed_field_is_refused_with_its_name(server: SchemaRegistryServer) -> None:
    registry = SchemaRegistry(server.url, deadline_s=LIMIT_S)
    registry.settle("narrowed", with_fields(WatchEvent, [AddedField(name="device", type="string", max_length=8)]))
    with pytest.raises(RefusedError, match=r"narrowed-value\.device: maxLength fell from 8 to 7"):
        registry.settle("narrowed", with_fields(WatchEvent, [AddedField(name="device", type="string", max_length=7)]))
    assert len(registered(server, "narrowed-value")) == 1


@pytest.mark.parametrize(
    ("subject", "kind", "schema", "words"),
    [
        ("a", "AVRO", AVRO | {"fields": AVRO["fields"][:3]}, r"a-value\.timestamp: WatchEvent needs it and the registered schema lacks it"),
        (
            "b",
            "AVRO",
            AVRO | {"fields": [*TEXTS, {"name": "timestamp", "type": "string"}]},
            r"b-value\.timestamp: string in the registered schema, int or long needed",
        ),
        ("c", "JSON", {"type": "object", "properties": {"event_id": {"type": "string"}}}, r"c-value\.user_id: WatchEvent needs it"),
        (
            "d",
            "JSON",
            {"type": "object", "properties": {name: {"type": "integer"} for name in WatchEvent.model_fields}},
            r"d-value\.event_id: integer in the registered schema, string needed",
        ),
    ],
)
def test_a_registered_schema_that_the_reader_cannot_read_is_refused_with_the_fields_name(
    server: SchemaRegistryServer, subject: str, kind: str, schema: dict[str, Any], words: str
) -> None:
    put(server, f"{subject}-value", schema, kind)
    with pytest.raises(RefusedError, match=words):
        SchemaRegistry(server.url, deadline_s=LIMIT_S).settle(subject, WatchEvent)


def test_a_schema_is_fetched_once_and_an_unknown_one_is_a_fault(server: SchemaRegistryServer) -> None:
    number = put(server, "once-value", AVRO)
    registry = SchemaRegistry(server.url, deadline_s=LIMIT_S)
    assert registry.writer_schema(number) is registry.writer_schema(number)
    values, faults = Framing(registry).values([in_avro(number, AVRO, event(1)), in_json(999_999, event(2)), None, b"{}"])
    assert json.loads(values[0] or b"")["event_id"] == "e1"
    assert values[2:] == [None, b"{}"]
    assert {index: fault.reason for index, fault in faults.items()} == {1: DeadLetterReason.UNKNOWN_SCHEMA}
    assert isinstance(faults[1], Fault)
    assert "no schema 999999" in faults[1].detail


def test_a_registry_that_is_down_is_named_and_no_verdict_is_given() -> None:
    url = f"http://{LOOPBACK}:{free_ports(1)[0]}"
    framing = Framing(SchemaRegistry(url, deadline_s=1.0))
    with pytest.raises(RegistryError, match=rf"schemaRegistryURL: {url} does not answer .*; ingest waits until it does"):
        framing.values([in_json(1, event(1))])
