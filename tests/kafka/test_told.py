"""What is told of users and items, from real brokers: the newest of each key, known by whoever follows, from the beginning on."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ray_apps.serving.following import Source
from ray_apps.serving.told.following import ITEMS, PREFERENCES, ToldFollower
from ray_apps.serving.told.told import Told
from recsys_dev.kafka import Brokers
from recsys_dev.processes import wait_until
from recsys_schemas.events import ItemEvent, PreferenceEvent

LIMIT_S = 120.0


@pytest.fixture
def topics(admin: AdminClient, topic_names: Callable[[str], str]) -> dict[str, str]:
    names = {topic_names(kind): kind for kind in (PREFERENCES, ITEMS)}
    asked = [NewTopic(name, num_partitions=2, replication_factor=3, config={"cleanup.policy": "compact"}) for name in names]
    for made in admin.create_topics(asked).values():
        made.result(timeout=LIMIT_S)
    return names


@pytest.fixture
def send(brokers: Brokers, topics: dict[str, str]) -> Callable[..., None]:
    producer = Producer({"bootstrap.servers": brokers.bootstrap_servers, "acks": "all"})
    of = {kind: name for name, kind in topics.items()}

    def sent(kind: str, key: str, value: bytes | None) -> None:
        producer.produce(of[kind], value, key=key.encode())
        assert producer.flush(LIMIT_S) == 0

    return sent


@contextmanager
def following(brokers: Brokers, topics: dict[str, str], renewed: Callable[[], None] = lambda: None) -> Generator[tuple[Told, ToldFollower]]:
    told = Told()
    follower = ToldFollower(Source(name="shop.movies", bootstrap_servers=[brokers.bootstrap_servers], topics=topics), told, renewed)
    try:
        assert follower.wait(LIMIT_S), follower.state()
        yield told, follower
    finally:
        follower.close()


def likes(user: str, *genres: str, at: int = 1) -> bytes:
    return PreferenceEvent(user_id=user, timestamp=at, genres=list(genres)).model_dump_json().encode()


def genres(told: Told, user: str) -> list[str] | None:
    said = told.preferences(user)
    return said.genres if said else None


def test_the_newest_of_each_user_is_known_also_to_whoever_comes_later(brokers: Brokers, topics: dict[str, str], send: Callable[..., None]):
    send(PREFERENCES, "ann", likes("ann", "War"))
    send(PREFERENCES, "ann", likes("ann", "Comedy", at=2))
    send(PREFERENCES, "bob", likes("bob", "War"))
    with following(brokers, topics) as (told, _):
        assert (genres(told, "ann"), genres(told, "bob"), genres(told, "cid")) == (["Comedy"], ["War"], None)
        send(PREFERENCES, "bob", None)
        wait_until(lambda: genres(told, "bob") is None, what="what was taken back is forgotten", deadline_s=LIMIT_S)
        with following(brokers, topics) as (later, _):
            assert (genres(later, "ann"), genres(later, "bob")) == (["Comedy"], None)


def test_what_is_no_record_changes_nothing_and_is_counted(brokers: Brokers, topics: dict[str, str], send: Callable[..., None]):
    send(PREFERENCES, "ann", b"{")
    send(ITEMS, "a", b'{"item_id": "a"}')
    send(ITEMS, "b", ItemEvent(item_id="b", timestamp=1).model_dump_json().encode())
    with following(brokers, topics) as (told, follower):
        assert (follower.state().unreadable, told.counts) == (2, (0, 1))


def test_a_new_item_is_told_of_at_once(brokers: Brokers, topics: dict[str, str], send: Callable[..., None]):
    turns: list[float] = []
    with following(brokers, topics, lambda: turns.append(time.monotonic())) as (told, _):
        before = len(turns)
        send(ITEMS, "new", ItemEvent(item_id="new", timestamp=1, genres=["War"]).model_dump_json().encode())
        wait_until(lambda: len(turns) > before, what="the shelves are made anew", deadline_s=LIMIT_S)
        live = told.item("new")
        assert live is not None
        assert live.item.genres == ["War"]


def test_a_topic_that_is_not_there_is_told_and_followed_once_it_is(brokers: Brokers, admin: AdminClient, topic_names: Callable[[str], str]):
    name = topic_names("late")
    follower = ToldFollower(Source(name="shop.movies", bootstrap_servers=[brokers.bootstrap_servers], topics={name: ITEMS}), Told(), print)
    try:
        wait_until(lambda: "nknown topic" in follower.state().trouble, what="it is told", deadline_s=LIMIT_S)
        for made in admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)]).values():
            made.result(timeout=LIMIT_S)
        assert follower.wait(LIMIT_S)
        wait_until(lambda: not follower.state().trouble, what="the trouble is over", deadline_s=LIMIT_S)
    finally:
        follower.close()
