"""Topics of one replica get three on real brokers: the plan's own steps, with the operator killed between them."""

# The admin module offers these names, but does not list them as its own.
# pyright: reportPrivateImportUsage=false

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from confluent_kafka.cimpl import NewTopic
from tests.kafka.patience import asked

from recsys_dev.kafka import Brokers
from recsys_dev.processes import wait_until
from recsys_operator.plan import raising, throttle
from recsys_operator.plan.plan import plan
from recsys_operator.state.actions import (
    Action,
    ConfigureTopic,
    CreateTopic,
    ReassignReplicas,
    ThrottleReplication,
    UnthrottleReplication,
)
from recsys_operator.state.observed import ModelState, Observed, TopicsState, Unavailable
from recsys_operator.world.connection import Connection
from recsys_operator.world.errors import UnavailableError
from recsys_operator.world.kafka import Kafka
from recsys_operator.world.objects import read_model
from recsys_operator.world.observe import asked_replicas
from recsys_schemas.v1alpha1.replication import MovingPartition

PARTITIONS, BYTES, RATE = 4, 2_000_000, 1_500_000
LIMIT_S = 240.0
NOTHING = Unavailable(message="not looked at")


@dataclass
class Operator:
    """The topics' part of a reconcile, pass by pass; what the API server would keep is kept in `model`."""

    at: Connection
    model: ModelState
    kafka: Kafka = field(default_factory=Kafka)
    done: list[Action] = field(default_factory=list[Action])
    seen: list[Observed] = field(default_factory=list[Observed])

    def look(self) -> Observed:
        names = [*(topic.name for topic in self.model.spec.kafka.topics), self.model.dead_letter_topic]
        now = datetime.now(UTC)
        topics = asked(lambda: self.kafka.read(self.at, names, ends_of=names, now=now, asked=asked_replicas(self.model)))
        found = Observed(now=now, model=self.model, tokens={}, topics=topics, ray=NOTHING, manifest=None, evidence=None)
        self.seen.append(found)
        return found

    def step(self, *, survive: int | None = None) -> None:
        """One pass; one that is killed after `survive` actions writes no status, and another process goes on."""
        decided = plan(self.look())
        wanted = [action for action in decided.actions if isinstance(action, _KAFKA)]
        for action in wanted[:survive]:
            self.done.append(action)
            asyncio.run(self.perform(action))
        if survive is not None and survive < len(wanted):
            self.kafka = Kafka()
        else:
            self.model = replace(self.model, status=decided.status)

    async def perform(self, action: Action) -> None:
        match action:
            case CreateTopic():
                await self.kafka.create(self.at, action.name, action.partitions, action.replicas, action.config)
            case ConfigureTopic():
                await self.kafka.configure(self.at, action.name, action.config)
            case ThrottleReplication() | ReassignReplicas() | UnthrottleReplication():
                await self.kafka.move(self.at, action)
            case _:
                pytest.fail(f"not expected: {action}")

    def reason(self) -> str:
        return next(condition.reason for condition in self.model.status.conditions if condition.type == "TopicsReady")

    def run(self, survive: int | None = None) -> None:
        """Until the topics are as the spec asks."""
        deadline, number = time.monotonic() + LIMIT_S, 0
        while not (self.model.status.conditions and self.reason() == "Verified"):
            assert time.monotonic() < deadline, self.model.status
            number += 1
            with contextlib.suppress(UnavailableError):
                self.step(survive=survive if number % 2 else None)
            time.sleep(0.3)


_KAFKA = CreateTopic | ConfigureTopic | ThrottleReplication | ReassignReplicas | UnthrottleReplication


def operator_of(name: str, servers: list[str], names: Mapping[str, str], rate: int = RATE) -> Operator:
    """The eyes and hands of the operator for a model with these topics (role → name)."""
    topics = [{"name": topic, "role": role, "partitions": PARTITIONS if role == "Watch" else 1} for role, topic in names.items()]
    kafka = {"bootstrapServers": servers, "topics": topics, "replicationThrottleBytesPerSecond": rate}
    body = {
        "metadata": {"name": name, "namespace": "shop", "uid": "0123456789"},
        "spec": {"ray": {"dashboardURL": "http://127.0.0.1:1"}, "kafka": kafka},
    }
    return Operator(at=Connection(bootstrap_servers=tuple(servers)), model=read_model(body, "file:///x"))


@pytest.fixture
def operator(brokers: Brokers, admin: AdminClient, topic_names: Callable[[str], str]) -> Iterator[Operator]:
    """A model whose topic `watch` has data and one replica; its others are made by the operator."""
    name, servers = topic_names("model"), brokers.bootstrap_servers.split(",")
    names = {role: topic_names(role.lower()) for role in ("Watch", "Requests", "Responses")}
    old = {"min.insync.replicas": "1"}
    watch = NewTopic(names["Watch"], num_partitions=PARTITIONS, replication_factor=1, config=old)
    admin.create_topics([watch])[names["Watch"]].result(LIMIT_S)
    fill(brokers, names["Watch"])
    made = operator_of(name, servers, names)
    seen_in_sync(made, names["Watch"])
    yield made
    for key in throttle.RATES:  # a broken twin leaves them
        for broker in brokers.ids:
            change(admin, broker, key, None)
    dead = made.model.dead_letter_topic
    if dead in admin.list_topics(timeout=LIMIT_S).topics:
        admin.delete_topics([dead])[dead].result(LIMIT_S)


def fill(brokers: Brokers, topic: str) -> None:
    producer = Producer({"bootstrap.servers": brokers.bootstrap_servers, "acks": "all", "linger.ms": 20})
    for number in range(PARTITIONS * BYTES // 10_000):
        producer.produce(topic, bytes([number % 256]) * 10_000, partition=number % PARTITIONS)
        producer.poll(0)
    assert producer.flush(LIMIT_S) == 0


def change(admin: AdminClient, broker: int, key: str, value: str | None) -> None:
    """What a person does with kafka-configs.sh; None removes it."""
    entry = ConfigEntry(key, value, incremental_operation=AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.BROKER, str(broker), incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result(LIMIT_S)


def throttles(admin: AdminClient, brokers: Brokers, topic: str) -> dict[str, str]:
    """Every throttle that is set on the topic and on the brokers."""
    asked = [ConfigResource(ResourceType.TOPIC, topic), *(ConfigResource(ResourceType.BROKER, str(number)) for number in brokers.ids)]
    found: dict[str, str] = {}
    for resource in asked:  # librdkafka takes one broker a call
        entries = admin.describe_configs([resource])[resource].result(LIMIT_S)
        there = {key: entry.value for key, entry in entries.items() if "replication.throttled" in key and entry.value}
        found |= {f"{resource.name} {key}": value for key, value in there.items()}
    return found


def seen_in_sync(operator: Operator, topic: str) -> TopicsState:
    """What is seen once the topic's replicas are in sync: a broker that stood still for seconds is out of it until it has caught up."""
    seen: list[TopicsState] = []

    def in_sync() -> bool:
        now = operator.look().topics
        assert not isinstance(now, Unavailable)
        seen.append(now)
        partitions = now.topics[topic].partitions if topic in now.topics else ()
        return len(partitions) == PARTITIONS and all(set(each.synced) == set(each.assigned) and each.end_offset for each in partitions)

    wait_until(in_sync, what=f"the replicas of {topic} in sync", deadline_s=LIMIT_S)
    return seen[-1]


def check_raised(operator: Operator, admin: AdminClient, brokers: Brokers, before: Observed) -> None:
    """Three replicas each, the old one first, evenly; the records are there; no throttle is left; the settings are the spec's."""
    topic = operator.model.spec.kafka.topics[0].name
    now, then = seen_in_sync(operator, topic), before.topics
    assert not isinstance(then, Unavailable)
    old = {partition.id: partition for partition in then.topics[topic].partitions}
    for partition in now.topics[topic].partitions:
        assert len(set(partition.assigned)) == 3, partition
        assert partition.assigned[0] == old[partition.id].assigned[0], "the leader changed"
        assert partition.end_offset == old[partition.id].end_offset == BYTES // 10_000
    assert now.topics[topic].config["min.insync.replicas"] == "2"
    left = throttles(admin, brokers, topic)
    assert not left, f"a throttle was left behind: {left}"


@pytest.mark.parametrize("survive", [None, 0, 1], ids=["undisturbed", "killed-before-each-action", "killed-after-one"])
def test_a_topic_of_one_replica_gets_three_under_a_throttle(
    operator: Operator, admin: AdminClient, brokers: Brokers, survive: int | None
) -> None:
    before = operator.look()
    operator.run(survive)
    check_raised(operator, admin, brokers, before)
    moves = [action for action in operator.done if isinstance(action, ReassignReplicas)]
    assert {number for action in moves for number in action.partitions} == set(range(PARTITIONS))
    seen = [found.topics.topics.values() for found in operator.seen if not isinstance(found.topics, Unavailable)]
    assert any(throttle.LEADER in topic.config for topics in seen for topic in topics), "it was never seen with a throttle"
    told = [status.raising for found in operator.seen if (status := found.model.status.replication) and status.raising]
    topic = operator.model.spec.kafka.topics[0].name
    assert {(each.name, each.partitions) for raising in told for each in raising.topics} == {(topic, PARTITIONS)}
    assert operator.model.status.replication is not None
    assert operator.model.status.replication.raising is None
    assert operator.model.status.replication.min_replication_factor == 3


def test_the_throttle_holds_and_a_rate_that_a_person_sets_meanwhile_is_obeyed_and_stays(
    operator: Operator, admin: AdminClient, brokers: Brokers
) -> None:
    kafka = operator.model.spec.kafka.model_copy(update={"replication_throttle_bytes_per_second": 10_000})
    operator.model = replace(operator.model, spec=operator.model.spec.model_copy(update={"kafka": kafka}))
    before, topic = operator.look(), kafka.topics[0].name
    # Without a throttle all is copied in less time than a few of these passes take.
    enough = time.monotonic() + 60.0
    for _ in range(25):
        with contextlib.suppress(UnavailableError):
            operator.step()
        time.sleep(0.3)
        if time.monotonic() > enough:  # a slow machine's passes would last until all is copied at this rate too
            break
    assert operator.reason() == "RaisingReplication"
    for broker in brokers.ids:
        for key in throttle.RATES:
            change(admin, broker, key, "100000000")
    operator.run()
    left = throttles(admin, brokers, topic)
    assert left == {f"{broker} {key}": "100000000" for broker in brokers.ids for key in throttle.RATES}
    for broker in brokers.ids:
        for key in throttle.RATES:
            change(admin, broker, key, None)
    check_raised(operator, admin, brokers, before)


def test_a_raise_that_was_done_is_not_done_again(operator: Operator, admin: AdminClient, brokers: Brokers) -> None:
    before = operator.look()
    operator.run()
    seen_in_sync(operator, operator.model.spec.kafka.topics[0].name)
    done = len(operator.done)
    for _ in range(3):
        operator.step()
    assert len(operator.done) == done
    moves = [action for action in operator.done if isinstance(action, ReassignReplicas)]
    for action in moves:
        asked(lambda action=action: operator.perform(action))
    check_raised(operator, admin, brokers, before)


def test_a_throttle_that_is_never_taken_away_is_caught(
    operator: Operator, admin: AdminClient, brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "take_off", lambda *_args, **_more: ())
    before = operator.look()
    operator.run()
    with pytest.raises(AssertionError, match="a throttle was left behind"):
        check_raised(operator, admin, brokers, before)


def test_new_replicas_before_the_old_ones_are_caught(
    operator: Operator, admin: AdminClient, brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = raising._ask

    def turned(missing: list[MovingPartition]) -> list[Action]:
        return ask([each.model_copy(update={"replicas": each.replicas[::-1]}) for each in missing])

    monkeypatch.setattr(raising, "_ask", turned)
    before = operator.look()
    operator.run()
    with pytest.raises(AssertionError, match="the leader changed"):
        check_raised(operator, admin, brokers, before)
