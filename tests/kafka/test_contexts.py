"""Likes by context, from real brokers: counted from what events say, also before whoever counts began, and without what is skipped."""

import json
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ray_apps.serving.contexts import following
from ray_apps.serving.contexts.counting import Contexts
from ray_apps.serving.contexts.following import ContextFollower
from ray_apps.serving.following import Source
from recsys_dev.kafka import Brokers
from recsys_dev.processes import wait_until
from recsys_schemas.serving_record import ContextCounting, ContextKey, Skip

LIMIT_S = 120.0
COUNTING = ContextCounting(keys=[ContextKey(name="device", values=["tv", "phone"])], half_life_days=7, shrinkage=20)


@pytest.fixture
def topic(admin: AdminClient, topic_names: Callable[[str], str]) -> str:
    name = topic_names("watch")
    for made in admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=3)]).values():
        made.result(timeout=LIMIT_S)
    return name


@pytest.fixture
def like(brokers: Brokers, topic: str) -> Callable[..., None]:
    producer = Producer({"bootstrap.servers": brokers.bootstrap_servers, "acks": "all"})

    def sent(user: str, item: str, **said: object) -> None:
        event = {"event_id": f"{user}-{item}", "user_id": user, "item_id": item, "timestamp": int(time.time() * 1000)} | said
        producer.produce(topic, json.dumps(event).encode(), key=user.encode())
        assert producer.flush(LIMIT_S) == 0

    return sent


@contextmanager
def counted(brokers: Brokers, topic: str) -> Generator[ContextFollower]:
    source = Source(name="shop.movies", bootstrap_servers=[brokers.bootstrap_servers], topics={topic: "watch"})
    follower = ContextFollower(source, Contexts(COUNTING))
    try:
        assert follower.wait(LIMIT_S)
        yield follower
    finally:
        follower.close()


def cells(follower: ContextFollower) -> dict[str, dict[str, int]]:
    """Value → items with their likes, rounded."""
    return {
        value: {item: round(weight) for item, weight in zip(cell.items, cell.weights.tolist(), strict=True)}
        for (_, value), cell in follower.contexts.cells.items()
    }


def test_what_was_liked_where_is_known_to_whoever_begins_later_and_goes_on(brokers: Brokers, topic: str, like: Callable[..., None]):
    for user in ("ann", "bob"):
        like(user, "a", device="tv")
    like("ann", "b", device="Phone")
    like("ann", "c")
    like("ann", "d", device="fridge")
    like("cid", "a", device="tv", fraction=0.0)  # seen, and not liked
    with counted(brokers, topic) as follower:
        assert cells(follower) == {"tv": {"a": 2}, "phone": {"b": 1}}
        like("cid", "b", device="tv")
        wait_until(lambda: cells(follower).get("tv") == {"a": 2, "b": 1}, what="the newest like", deadline_s=LIMIT_S)


def test_what_is_skipped_is_taken_back_and_what_was_known_answers_meanwhile(brokers: Brokers, topic: str, like: Callable[..., None]):
    for number in range(4):
        like(f"user-{number}", "a", device="tv")
    with counted(brokers, topic) as follower:
        assert cells(follower) == {"tv": {"a": 4}}
        seen: list[object] = []
        follower.skip((Skip(topic=topic, partition=0, first=1, last=2),))

        def taken_back() -> bool:
            seen.append(cells(follower))
            return seen[-1] == {"tv": {"a": 2}}

        wait_until(taken_back, what="what was skipped is taken back", deadline_s=LIMIT_S)
        assert {} not in seen


def test_of_a_long_past_the_newest_is_read(brokers: Brokers, topic: str, like: Callable[..., None], monkeypatch: pytest.MonkeyPatch):
    for number in range(6):
        like(f"user-{number}", f"item-{number}", device="tv")
    monkeypatch.setattr(following, "MOST_REPLAYED", 2)
    with counted(brokers, topic) as follower:
        assert cells(follower) == {"tv": {"item-4": 1, "item-5": 1}}
