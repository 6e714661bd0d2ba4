"""A guarded broker: who comes in, by what, with which rights, and what is said to those who do not."""

import asyncio
import json
import os
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import Producer
from prometheus_client import CollectorRegistry
from tests.kafka.guarded import PASSWORD, USER, Guarded, start
from tests.kafka.patience import answered, asked, refused

from kubectl_recsys.acls import Acl, acls
from ray_apps.ingest.consumer import consume
from ray_apps.ingest.metrics import Metrics, RegistryMeters
from ray_apps.ingest.session import Progress
from ray_apps.ingest.verify import verify
from ray_apps.serving.event_writer import EventWriter, NotAcknowledged
from ray_apps.stores.objects import open_store
from recsys_dev import pki, runs
from recsys_dev.processes import wait_until
from recsys_operator.state.actions import ReassignReplicas, ThrottleReplication, UnthrottleReplication
from recsys_operator.state.observed import ModelState, MovesState, TopicsState, Unavailable
from recsys_operator.world import audit_topic
from recsys_operator.world.audit_topic import append, read
from recsys_operator.world.connection import Connection
from recsys_operator.world.errors import RefusedError, UnavailableError
from recsys_operator.world.kafka import Kafka
from recsys_operator.world.moves import Asked
from recsys_operator.world.objects import read_model
from recsys_schemas.kafka_access import FOLDER
from recsys_schemas.train_job import IngestJob, ModelIdentity, TopicToRead
from recsys_schemas.v1alpha1.conditions import Condition
from recsys_schemas.v1alpha1.model_status import ModelStatus
from recsys_schemas.v1alpha1.topics import Topic

RUNS = Path(__file__).resolve().parents[2] / "build" / "run" / "tests"
LIMIT_S = 120.0
CONFIG = {"min.insync.replicas": "1", "retention.ms": "3600000"}
ANN = f"User:{USER}"


@pytest.fixture(scope="module")
def guarded() -> Iterator[Guarded]:
    run_dir = runs.claim(RUNS / f"kafka-guarded-{os.getpid()}")
    found = None
    try:
        found = start(run_dir)
        yield found
    finally:
        if found is not None:
            found.brokers.stop()
        runs.discard(run_dir)


@pytest.fixture(autouse=True)
def as_at_first(guarded: Guarded) -> None:
    guarded.set_password(PASSWORD)
    guarded.allow([], ANN)


@pytest.fixture
def model(guarded: Guarded, request: pytest.FixtureRequest, tmp_path: Path) -> ModelState:
    """A model of its own topics, all of one replica."""
    name = f"m{zlib.crc32(request.node.name.encode())}"
    one = {"partitions": 1, "replicas": 1, "minInsyncReplicas": 1}
    topics = [{"name": f"{name}-{role.lower()}", "role": role} | one for role in ("Watch", "Rate", "Requests", "Responses")]
    security = {
        "protocol": "SASL_SSL",
        "mechanism": "SCRAM-SHA-512",
        "credentialsSecretRef": {"name": "kafka"},
        "caSecretRef": {"name": "kafka-ca"},
    }
    kafka = {"bootstrapServers": guarded.brokers.sasl_servers.split(","), "topics": topics, "security": security}
    body = {
        "metadata": {"name": name, "namespace": "shop", "uid": "0123456789"},
        "spec": {"ray": {"dashboardURL": "http://127.0.0.1:1"}, "kafka": kafka},
    }
    return read_model(body, f"file://{tmp_path}")


def of(part: str, model: ModelState) -> list[Acl]:
    return [acl for acl in acls(model) if acl.part == part]


def look(at: Connection, *names: str) -> int:
    return asyncio.run(Kafka().read(at, names, ends_of=names, now=datetime.now(UTC))).live_brokers


def seen(at: Connection, *names: str, kafka: Kafka | None = None, moves: bool = False) -> TopicsState:
    """What the brokers answer; asked again where they were not in time."""
    eyes, replicas = kafka or Kafka(), Asked(replicas={}, under_way=True) if moves else None
    return asked(lambda: eyes.read(at, names, ends_of=[], now=datetime.now(UTC), asked=replicas))


def test_every_door_opens_to_who_holds_its_secrets(guarded: Guarded) -> None:
    plain = guarded.by_sasl("PLAIN", username=guarded.guard.plain_user, password=guarded.guard.plain_password)
    assert [seen(at).live_brokers for at in (guarded.by_sasl(), plain, guarded.by_certificate())] == [1, 1, 1]


REFUSED: dict[str, tuple[Callable[[Guarded], Connection], str]] = {
    "a wrong password": (
        lambda g: g.by_sasl(password="wrong-of-ann"),
        "credentialsSecretRef: Secret shop/kafka: the brokers refuse its username and password with SCRAM-SHA-512",
    ),
    "a wrong password of PLAIN": (
        lambda g: g.by_sasl("PLAIN", password="wrong-of-ann"),
        "credentialsSecretRef: Secret shop/kafka: the brokers refuse its username and password with PLAIN",
    ),
    "an authority that did not sign": (
        lambda g: g.by_sasl(authority=g.stranger_authority),
        "caSecretRef: Secret shop/kafka-ca, key ca.crt: the brokers' certificate is not trusted",
    ),
    "a stranger's certificate": (
        lambda g: g.by_certificate(certificate=g.stranger.certificate_file.read_text(), private_key=g.stranger.key_file.read_text()),
        "clientCertificateSecretRef: Secret shop/kafka-client: the brokers refuse the certificate",
    ),
    "no certificate where one is asked": (
        lambda g: g.by_certificate(shown=False),
        "clientCertificateSecretRef: not set, but the brokers ask for one",
    ),
    "a key of another certificate": (
        lambda g: g.by_certificate(private_key=g.stranger.key_file.read_text()),
        "clientCertificateSecretRef: the client cannot use it",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_who_is_refused_hears_which_field_to_mend_and_nobody_hears_the_secret(guarded: Guarded, case: str) -> None:
    made, words = REFUSED[case]
    at = made(guarded)
    told = refused(lambda: look(at), RefusedError, f"^{re.escape(f'spec.kafka.security.{words}')}")
    assert not any(value in str(told) for name, value in at.secrets.values.items() if name != "username")


def test_a_door_of_another_protocol_is_told_from_a_dead_broker(guarded: Guarded) -> None:
    plain = Connection(bootstrap_servers=tuple(guarded.brokers.sasl_servers.split(",")))
    refused(lambda: look(plain), UnavailableError, r"spec\.kafka\.security\.protocol \(now PLAINTEXT\) to that of the listener")


def test_the_operator_takes_over_a_rotated_password_and_lets_the_old_client_go(guarded: Guarded) -> None:
    kafka = Kafka()
    old, new = guarded.by_sasl(), guarded.by_sasl(password="new-of-ann")

    neither = guarded.by_sasl(password="neither")
    assert seen(old, kafka=kafka).live_brokers == 1
    guarded.set_password("new-of-ann")
    refused(
        lambda: asyncio.run(kafka.read(neither, [], ends_of=[], now=datetime.now(UTC))), RefusedError, "refuse its username and password"
    )
    assert seen(new, kafka=kafka).live_brokers == 1
    for brokers in kafka.clients.values():
        brokers.used_at -= 3600
    assert seen(new, kafka=kafka).live_brokers == 1
    assert list(kafka.clients) == [new.identity]


def make_topics(at: Connection, model: ModelState) -> None:
    kafka = Kafka()

    async def all_of_them() -> None:
        names = [*(topic.name for topic in model.spec.kafka.topics), model.dead_letter_topic]
        deadline = time.monotonic() + LIMIT_S
        while missing := set(names) - (await kafka.read(at, names, ends_of=names, now=datetime.now(UTC))).topics.keys():
            assert time.monotonic() < deadline
            for name in sorted(missing):
                await kafka.create(at, name, 1, 1, CONFIG)
        await kafka.configure(at, names[0], {"retention.ms": "7200000"})
        await kafka.grow(at, names[0], 2)

    asked(all_of_them)


def test_the_operators_acls_are_enough_to_append_and_read_decisions_and_without_them_the_refusal_says_what_to_grant(
    guarded: Guarded, model: ModelState, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = Topic(name=f"{model.key.name}-why", role="Decisions", partitions=1, replicas=1, min_insync_replicas=1)
    kafka = model.spec.kafka.model_copy(update={"topics": [*model.spec.kafka.topics, why]})
    wanted = replace(model, spec=model.spec.model_copy(update={"kafka": kafka}))
    at, rights = guarded.by_sasl(), of("operator", wanted)
    guarded.allow([each for each in rights if each.operation not in ("Read", "Write")], ANN)
    make_topics(at, wanted)
    refused(lambda: append(at, why.name, model.uid, b"one"), RefusedError, "kubectl recsys topics acls")
    guarded.allow(rights, ANN)
    monkeypatch.setattr(audit_topic, "APPEND_S", LIMIT_S)  # else one that is late would be there twice
    append(at, why.name, model.uid, b"one")
    append(at, why.name, "another model", b"two")
    assert [value for _, value in answered(lambda: read(at, why.name, model.uid))] == [b"one"]


def test_the_operators_acls_are_enough_for_its_topics(guarded: Guarded, model: ModelState) -> None:
    guarded.allow(of("operator", model), ANN)
    make_topics(guarded.by_sasl(), model)


@pytest.mark.parametrize("operation", ["Create", "Alter", "AlterConfigs"])
def test_without_one_of_them_the_brokers_words_and_the_mend_are_told(guarded: Guarded, model: ModelState, operation: str) -> None:
    guarded.allow([acl for acl in of("operator", model) if acl.operation != operation], ANN)
    with pytest.raises(RefusedError, match=r"([Aa]uthoriz|no right).*; grant what `kubectl recsys topics acls` lists"):
        make_topics(guarded.by_sasl(), model)


def raises(model: ModelState) -> ModelState:
    """The same while replicas are to be added."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    condition = Condition(type="ReplicationHealthy", status="False", reason="RaiseDenied", message="m", last_transition_time=now)
    return replace(model, status=ModelStatus(conditions=[condition]))


def add_replicas(at: Connection, topic: str) -> MovesState | None:
    """Every call that it takes, in order; one broker has nowhere to copy to, so that nothing moves."""
    kafka, lists = Kafka(), {"leader.replication.throttled.replicas": "0:1", "follower.replication.throttled.replicas": "0:1"}

    async def all_of_them() -> MovesState | None:
        await kafka.move(at, ThrottleReplication(rates={1: 10_000}, topics={topic: lists}))
        await kafka.move(at, ReassignReplicas(topic=topic, partitions={0: (1,)}))
        found = await kafka.read(at, [topic], ends_of=[], now=datetime.now(UTC), asked=Asked(replicas={}, under_way=True))
        await kafka.move(at, UnthrottleReplication(brokers=(1,), topics=(topic,)))
        if isinstance(found.moves, Unavailable):
            raise UnavailableError(found.moves.message)
        return found.moves

    return asked(all_of_them)


def moves_of(at: Connection, *names: str) -> MovesState:
    """What is moving, and by which rights; asked again where it was not told in time."""

    def once() -> MovesState:
        found = seen(at, *names, moves=True).moves
        if isinstance(found, MovesState):
            return found
        raise UnavailableError(f"moves: {found}")

    return answered(once)


DOORS: dict[str, Callable[[Guarded], Connection]] = {
    "SCRAM over TLS": lambda g: g.by_sasl(),
    "PLAIN over TLS": lambda g: g.by_sasl("PLAIN", username=g.guard.plain_user, password=g.guard.plain_password),
    "mutual TLS": lambda g: g.by_certificate(),
}


@pytest.mark.parametrize("door", DOORS)
def test_the_operators_acls_are_enough_to_add_replicas_through_every_door(guarded: Guarded, model: ModelState, door: str) -> None:
    who = {"SCRAM over TLS": ANN, "PLAIN over TLS": f"User:{guarded.guard.plain_user}", "mutual TLS": "User:CN=ann-by-certificate"}[door]
    guarded.allow(of("operator", raises(model)), who)
    make_topics(DOORS[door](guarded), model)
    found = add_replicas(DOORS[door](guarded), model.spec.kafka.topics[0].name)
    assert found is not None
    assert (found.lacking, dict(found.under_way)) == ((), {})
    rates = dict.fromkeys(("leader.replication.throttled.rate", "follower.replication.throttled.rate"), "10000")
    assert [(broker.id, broker.rates) for broker in found.brokers] == [(1, rates)]
    after = moves_of(guarded.by_the_plain_door())
    assert [broker.rates for broker in after.brokers] == [{}]


@pytest.mark.parametrize(("operation", "lacking"), [("Alter", ("Alter", "AlterConfigs")), ("AlterConfigs", ("AlterConfigs",))])
def test_a_right_on_the_cluster_that_is_lacking_is_seen_before_anything_is_asked(
    guarded: Guarded, model: ModelState, operation: str, lacking: tuple[str, ...]
) -> None:
    guarded.allow([acl for acl in of("operator", raises(model)) if (acl.resource, acl.operation) != ("Cluster", operation)], ANN)
    make_topics(guarded.by_sasl(), model)
    name = model.spec.kafka.topics[0].name
    assert moves_of(guarded.by_sasl(), name).lacking == lacking, "without Alter the brokers do not tell of AlterConfigs"
    refused(lambda: add_replicas(guarded.by_sasl(), name), RefusedError, r"grant what `kubectl recsys topics acls` lists")


def test_the_second_client_tells_no_secret_and_leaves_no_thread_when_it_is_refused(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    threads = {thread.name for thread in threading.enumerate()}
    at = guarded.by_sasl(password="wrong-of-ann")
    with caplog.at_level("DEBUG"), pytest.raises(UnavailableError) as told:
        asyncio.run(Kafka().move(at, ReassignReplicas(topic="t", partitions={0: (1,)})))
    assert "wrong-of-ann" not in caplog.text + str(told.value)
    wait_until(
        lambda: not [each for each in threading.enumerate() if each.name.startswith("kafka-io") and each.name not in threads],
        what="the end of the client's thread",
        deadline_s=LIMIT_S,
    )


@dataclass(slots=True)
class Running:
    """A consumer on a thread of the test's own process, with its Secrets as mounted files."""

    job: IngestJob
    progress: Progress = field(default_factory=Progress)
    stopping: threading.Event = field(default_factory=threading.Event)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    thread: threading.Thread = field(init=False)

    def stop(self) -> None:
        self.stopping.set()
        self.thread.join(LIMIT_S)

    def _run(self) -> None:
        metrics = Metrics(self.job.model, RegistryMeters(CollectorRegistry()))
        consume(self.job, log=self._log, metrics=metrics, progress=self.progress, stopping=self.stopping)

    def _log(self, event: str, **facts: object) -> None:
        self.said.append(f"{event} {facts}")


@pytest.fixture
def mounted(guarded: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ann's Secrets as a volume shows them."""
    root = tmp_path / "secrets"
    held = guarded.values()
    for path, name in (("kafka/username", "username"), ("kafka/password", "password"), ("kafka-ca/ca.crt", "authority")):
        file = root / "shop" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(held[name])
    monkeypatch.setenv(FOLDER, str(root))
    return root / "shop" / "kafka" / "password"


@pytest.fixture
def job(guarded: Guarded, model: ModelState, mounted: Path, tmp_path: Path) -> IngestJob:
    assert mounted.exists()
    guarded.allow(of("operator", model), ANN)
    make_topics(guarded.by_sasl(), model)
    watch, rate = (topic.name for topic in model.spec.kafka.topics[:2])
    return IngestJob(
        model=ModelIdentity(namespace="shop", name=model.key.name, uid=model.uid),
        bootstrap_servers=model.spec.kafka.bootstrap_servers,
        topics=[TopicToRead(topic=watch, event_type="watch"), TopicToRead(topic=rate, event_type="rate")],
        dead_letter_topic=model.dead_letter_topic,
        storage_uri=f"file://{tmp_path}/store",
        roll_max_records=200,
        roll_max_seconds=0.2,
        kafka_security=model.spec.kafka.security.by_name("shop"),
    )


def write(guarded: Guarded, job: IngestJob, numbers: Sequence[int]) -> None:
    producer = Producer({"bootstrap.servers": guarded.brokers.bootstrap_servers})
    for number in numbers:
        event = {"event_id": f"e{number}", "user_id": f"u{number % 7}", "item_id": "i", "timestamp": int(time.time() * 1000)}
        producer.produce(job.topics[0].topic, json.dumps(event).encode(), str(event["user_id"]))
    producer.produce(job.topics[0].topic, b"no event")
    assert producer.flush(LIMIT_S) == 0


def covered(running: Running, rows: int, dead: int) -> None:
    wait_until(
        lambda: (running.progress.rows, running.progress.dead_letters) == (rows, dead),
        what=f"{rows} rows and {dead} dead letters ({running.progress}, {running.said[-5:]})",
        deadline_s=LIMIT_S,
    )


def trouble(running: Running, *words: str) -> None:
    """Wait until it says so; where the broker stood still it may say something else first."""
    wait_until(
        lambda: all(word in running.progress.trouble for word in words),
        what=f"{words} in what it says ({running.progress.trouble!r}, {running.said[-3:]})",
        deadline_s=LIMIT_S,
    )


def test_ingests_acls_are_enough_and_a_rotated_password_loses_no_record(
    guarded: Guarded, job: IngestJob, model: ModelState, mounted: Path
) -> None:
    guarded.allow(of("ingest", model), ANN)
    write(guarded, job, range(100))
    running = Running(job)
    try:
        covered(running, 100, 1)
        guarded.set_password("new-of-ann")
        mounted.write_text("new-of-ann")
        wait_until(lambda: running.progress.sessions >= 2, what="a session with the new password", deadline_s=LIMIT_S)
        write(guarded, job, range(100, 200))
        covered(running, 200, 2)
    finally:
        running.stop()
    assert running.progress.trouble == ""
    assert not any(PASSWORD in said or "new-of-ann" in said for said in running.said)
    assert verify(open_store(job.storage_uri), job).exact  # with ingest's own rights


def test_a_wrong_password_is_the_trouble_of_ingest_until_it_is_mended(
    guarded: Guarded, job: IngestJob, model: ModelState, mounted: Path
) -> None:
    guarded.allow(of("ingest", model), ANN)
    write(guarded, job, range(10))
    mounted.write_text("wrong-of-ann")
    running = Running(job)
    try:
        trouble(running, "spec.kafka.security.credentialsSecretRef: Secret shop/kafka: the brokers refuse")
        assert not any("wrong-of-ann" in said for said in [running.progress.trouble, *running.said])
        mounted.write_text(PASSWORD)
        covered(running, 10, 1)
    finally:
        running.stop()


def test_an_authority_that_did_not_sign_is_the_trouble_of_ingest_until_it_is_mended(
    guarded: Guarded, job: IngestJob, model: ModelState, mounted: Path
) -> None:
    guarded.allow(of("ingest", model), ANN)
    write(guarded, job, range(10))
    authority = mounted.parents[1] / "kafka-ca" / "ca.crt"
    right = authority.read_text()
    authority.write_text(guarded.stranger_authority)
    running = Running(job)
    try:
        trouble(running, "spec.kafka.security.caSecretRef: Secret shop/kafka-ca, key ca.crt: the brokers' certificate is not trusted")
        authority.write_text(right)
        covered(running, 10, 1)
    finally:
        running.stop()
    assert running.progress.trouble == ""


@pytest.mark.parametrize("lacking", ["Topic Read", "Topic Write", "Group Read", "TransactionalId Write"])
def test_without_one_of_its_acls_ingest_says_what_it_may_not(guarded: Guarded, job: IngestJob, model: ModelState, lacking: str) -> None:
    guarded.allow([acl for acl in of("ingest", model) if f"{acl.resource} {acl.operation}" != lacking], ANN)
    write(guarded, job, range(3))
    running = Running(job)
    try:
        trouble(running, "AUTHORIZATION_FAILED", "kubectl recsys topics acls")
    finally:
        running.stop()


@pytest.mark.parametrize("told", [True, False])
def test_serving_writes_on_after_a_rotation_that_it_is_told_of(  # noqa: PLR0917 - fixtures
    guarded: Guarded, job: IngestJob, model: ModelState, mounted: Path, caplog: pytest.LogCaptureFixture, told: bool
) -> None:
    guarded.allow(of("serving", model), ANN)
    writer = EventWriter(job.bootstrap_servers, job.kafka_security, acknowledge_seconds=LIMIT_S if told else 10)
    topic = job.topics[0].topic
    try:
        asyncio.run(writer.write(topic, [(b"k", b"one")]))
        guarded.set_password("new-of-ann")
        if told:
            with caplog.at_level("INFO"):
                mounted.write_text("new-of-ann")
                wait_until(lambda: "credentials renewed" in caplog.text, what="the new password", deadline_s=LIMIT_S)
        guarded.brokers.kill(1)  # so that a connection has to be made anew
        guarded.brokers.restart(1)
        if told:
            asyncio.run(writer.write(topic, [(b"k", b"two")]))
        else:
            with pytest.raises(NotAcknowledged):
                asyncio.run(writer.write(topic, [(b"k", b"two")]))
    finally:
        writer.close()
    assert "new-of-ann" not in caplog.text


def test_serving_replaces_a_certificate_while_it_writes_and_loses_no_record(
    guarded: Guarded, job: IngestJob, model: ModelState, mounted: Path, caplog: pytest.LogCaptureFixture
) -> None:
    guarded.allow(of("serving", model), "User:CN=ann-by-certificate")
    folder = mounted.parent.parent / "kafka-client"
    folder.mkdir()

    def mount(identity: pki.Identity) -> None:
        (folder / "tls.crt").write_bytes(identity.certificate_file.read_bytes())
        (folder / "tls.key").write_bytes(identity.key_file.read_bytes())

    mount(guarded.client)
    at, topic = guarded.by_certificate(), job.topics[0].topic
    writer = EventWriter(list(at.bootstrap_servers), at.security, acknowledge_seconds=LIMIT_S)
    first = writer._producer._producer
    written = 0
    try:
        asyncio.run(writer.write(topic, [(b"k", b"one")]))
        with caplog.at_level("INFO"):
            mount(pki.sign(guarded.guard.authority, "ann-by-certificate"))
            deadline = time.monotonic() + LIMIT_S
            while "credentials renewed" not in caplog.text:
                assert time.monotonic() < deadline
                asyncio.run(writer.write(topic, [(b"k", b"meanwhile")]))
                written += 1
        asyncio.run(writer.write(topic, [(b"k", b"last")]))
        assert writer._producer._producer is not first
    finally:
        writer.close()
    plain = Kafka()

    def ends() -> int:
        found = asked(lambda: plain.read(guarded.by_the_plain_door(), [topic], ends_of=[topic], now=datetime.now(UTC)))
        return sum(partition.end_offset for partition in found.topics[topic].partitions)

    wait_until(lambda: ends() >= written + 2, what="all that was written", deadline_s=LIMIT_S)
    assert ends() == written + 2
