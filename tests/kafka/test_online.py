"""The live knowledge of an arm, from real brokers: a fold over the records from the card's offsets on, and nothing else."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

import numpy as np
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ray_apps.serving.following import Source
from ray_apps.serving.online.following import Follower
from ray_apps.serving.online.live import Followed
from ray_apps.serving.online.popularity import Likes
from recsys_dev.kafka import Brokers
from recsys_dev.processes import wait_until
from recsys_schemas.events import RateEvent, WatchEvent
from recsys_schemas.serving_record import Skip

ITEMS = [f"item-{place}" for place in range(20)]
PLACES = {item: place for place, item in enumerate(ITEMS)}
TRAINED = np.arange(20, dtype=np.int64)[::-1].copy()
LIMIT_S = 120.0


def watch(number: int, user: str, item: str, fraction: float = 1.0) -> bytes:
    event = WatchEvent(event_id=f"e{number}", user_id=user, item_id=item, timestamp=number, fraction=fraction)
    return event.model_dump_json().encode()


def rate(number: int, user: str, item: str, rating: float) -> bytes:
    return RateEvent(event_id=f"r{number}", user_id=user, item_id=item, timestamp=number, rating=rating).model_dump_json().encode()


@pytest.fixture
def topic(admin: AdminClient, topic_names: Callable[[str], str]) -> str:
    name = topic_names("online")
    for made in admin.create_topics([NewTopic(name, num_partitions=2, replication_factor=1)]).values():
        made.result(timeout=LIMIT_S)
    return name


@pytest.fixture
def send(brokers: Brokers, topic: str) -> Callable[..., None]:
    producer = Producer({"bootstrap.servers": brokers.bootstrap_servers, "acks": "all"})

    def sent(*values: bytes | None, partition: int = 0) -> None:
        for value in values:
            producer.produce(topic, value, key=b"u", partition=partition)
        assert producer.flush(LIMIT_S) == 0

    return sent


@contextmanager
def following(brokers: Brokers, topic: str, offsets: dict[int, int], event_type: str = "watch") -> Generator[Follower]:
    cluster = AdminClient({"bootstrap.servers": brokers.bootstrap_servers}).list_topics(timeout=LIMIT_S).cluster_id or ""
    source = Source(name="shop.movies", bootstrap_servers=[brokers.bootstrap_servers], topics={topic: event_type})
    known = Followed(cluster_id=cluster, offsets={(topic, partition): offset for partition, offset in offsets.items()})
    follower = Follower(source, known, Likes(counts=TRAINED), PLACES)
    try:
        assert follower.wait(LIMIT_S), follower.state()
        yield follower
    finally:
        follower.close()


def items(follower: Follower, user: str) -> list[str]:
    return [deed.item for deed in follower.knowledge.recent.of(user)]


def liked_since(follower: Follower) -> dict[str, int]:
    follower.knowledge.popularity.refresh()
    moved = follower.knowledge.popularity.counts - TRAINED
    return {ITEMS[place]: int(moved[place]) for place in np.flatnonzero(moved)}


def test_what_came_since_training_is_known_and_nothing_before(brokers: Brokers, topic: str, send: Callable[..., None]):
    send(*(watch(number, "ann", f"item-{number}") for number in range(5)))
    with following(brokers, topic, {0: 3, 1: 0}) as follower:
        assert items(follower, "ann") == ["item-3", "item-4"]
        send(watch(9, "ann", "item-9"), watch(10, "bob", "item-9"), watch(11, "bob", "item-9"), partition=1)

        def known() -> bool:
            return items(follower, "bob") == ["item-9"] and items(follower, "ann")[-1] == "item-9"

        wait_until(known, what="the last event is known", deadline_s=LIMIT_S)
        assert liked_since(follower) == {"item-3": 1, "item-4": 1, "item-9": 2}


def test_ratings_that_say_no_are_remembered_as_dealt_with(brokers: Brokers, topic: str, send: Callable[..., None]):
    send(rate(1, "ann", "item-1", 5.0), rate(2, "ann", "item-2", 1.0))
    with following(brokers, topic, {}, "rate") as follower:
        assert [(deed.item, deed.weight) for deed in follower.knowledge.recent.of("ann")] == [("item-1", 1.0), ("item-2", 0.0)]
        assert liked_since(follower) == {"item-1": 1}


def test_aborted_and_unreadable_records_change_nothing_and_do_not_hold_it_up(brokers: Brokers, topic: str, send: Callable[..., None]):
    producer = Producer({"bootstrap.servers": brokers.bootstrap_servers, "transactional.id": topic})
    producer.init_transactions(LIMIT_S)
    for number, (item, end) in enumerate((("item-1", producer.abort_transaction), ("item-2", producer.commit_transaction))):
        producer.begin_transaction()
        producer.produce(topic, watch(number, "ann", item), key=b"ann", partition=0)
        producer.flush(LIMIT_S)
        end(LIMIT_S)
    send(b"{", None, b'{"user_id": "ann"}', partition=1)
    with following(brokers, topic, {}) as follower:
        # Brokers mark the end of a transaction a moment after they have said yes to it.
        wait_until(lambda: items(follower, "ann") != [], what="the committed one", deadline_s=LIMIT_S)
        assert items(follower, "ann") == ["item-2"]
        assert follower.state().unreadable == 3


def test_a_bad_hour_is_undone_by_skipping_and_what_was_good_stays(brokers: Brokers, topic: str, send: Callable[..., None]):
    send(*(watch(number, "ann", f"item-{number}") for number in range(6)))
    with following(brokers, topic, {}) as follower:
        bad = Skip(topic=topic, partition=0, first=2, last=4)
        before = follower.knowledge
        follower.skip((bad,))
        wait_until(lambda: follower.knowledge is not before, what="the fold was made anew", deadline_s=LIMIT_S)
        assert items(follower, "ann") == ["item-0", "item-1", "item-5"]
        assert liked_since(follower) == {"item-0": 1, "item-1": 1, "item-5": 1}
        send(watch(9, "ann", "item-9"))
        wait_until(lambda: items(follower, "ann")[-1] == "item-9", what="it follows on", deadline_s=LIMIT_S)


def test_a_new_process_comes_to_know_the_same(brokers: Brokers, topic: str, send: Callable[..., None]):
    for number in range(60):
        send(watch(number, f"user-{number % 7}", f"item-{number * 7 % 20}"), partition=number % 2)
    known = []
    for _ in range(2):
        with following(brokers, topic, {0: 5, 1: 5}) as follower:
            known.append(({user: follower.knowledge.recent.of(f"user-{user}") for user in range(7)}, liked_since(follower)))
    assert known[0] == known[1]
    assert sum(map(len, known[0][0].values())) > 20
    with following(brokers, topic, {0: 5, 1: 6}) as twin:
        assert {user: twin.knowledge.recent.of(f"user-{user}") for user in range(7)} != known[0][0], "a record more or less is seen"


def test_delays_are_told_of_what_came_while_it_followed(brokers: Brokers, topic: str, send: Callable[..., None]):
    send(watch(0, "ann", "item-0"))
    time.sleep(0.1)
    with following(brokers, topic, {}) as follower:
        assert follower.state().events == 0
        send(*(watch(number, "ann", f"item-{number}") for number in range(1, 11)))
        wait_until(lambda: follower.state().events == 10, what="ten delays are told", deadline_s=LIMIT_S)
        state = follower.state()
        assert state.p50_ms is not None
        assert state.p99_ms is not None
        assert 0 < state.p50_ms <= state.p99_ms
