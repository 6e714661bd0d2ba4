"""How far snapshots are behind: what counts, and since when."""

from datetime import datetime, timedelta
from typing import Any

from recsys_operator.plan.lag import behind, consumers, furthest, lag_records, lag_seconds
from unit.operator.lagging import NOW, observed, partition


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def said(since: datetime, *, records: int = 5, consumers: int = 1) -> dict[str, Any]:
    """A status that tells of lag."""
    place = {"topic": "watch", "partition": 0, "records": records, "since": since.isoformat()}
    rest = {"rows": 1, "deadLetters": 0, "sequence": 1, "lastSnapshotTime": since.isoformat(), "consumers": consumers}
    return rest | {"lagRecords": records, "furthestBehind": place}


def test_what_can_be_read_and_is_not_covered_is_lag_of_its_partition() -> None:
    topics = {"watch": [partition(0, (ago(60), 10)), partition(1, (ago(60), 7))], "rate": [partition(0, (ago(60), 3))]}
    world = observed(topics, {("watch", 0): 4, ("watch", 1): 7})
    assert [(each.topic, each.partition, each.records) for each in behind(world) or ()] == [
        ("watch", 0, 6),
        ("watch", 1, 0),
        ("rate", 0, 3),
    ]
    assert lag_records(world) == 9


def test_topics_that_are_not_ingested_are_no_lag() -> None:
    assert lag_records(observed({"asked": [partition(0, (ago(9), 100))]}, {})) == 0


def test_without_lag_there_is_no_age() -> None:
    world = observed({"watch": [partition(0, (ago(86_400), 10))]}, {("watch", 0): 10})
    assert (lag_records(world), lag_seconds(world), furthest(world)) == (0, 0, None)


def test_the_age_is_that_of_the_oldest_record_not_covered_however_quiet_it_was_before() -> None:
    topics = {"watch": [partition(0, (ago(86_400), 10), (ago(12), 11), (ago(1), 12))]}
    assert lag_seconds(observed(topics, {("watch", 0): 10})) == 12
    assert lag_seconds(observed(topics, {("watch", 0): 11})) == 1


def test_the_partition_that_waits_longest_is_named() -> None:
    topics = {"watch": [partition(0, (ago(50), 10), (ago(3), 99)), partition(1, (ago(50), 5), (ago(40), 6))]}
    worst = furthest(observed(topics, {("watch", 0): 10, ("watch", 1): 5}))
    assert worst is not None
    assert (worst.topic, worst.partition, worst.records, worst.since) == ("watch", 1, 1, ago(40))


def test_a_new_operator_takes_the_age_from_the_status() -> None:
    topics = {"watch": [partition(0, (ago(2), 10))]}
    assert lag_seconds(observed(topics, {("watch", 0): 4})) == 2
    assert lag_seconds(observed(topics, {("watch", 0): 4}, status=said(ago(300)))) == 300


def test_once_its_own_watch_reaches_back_the_status_has_no_say() -> None:
    topics = {"watch": [partition(0, (ago(100), 10), (ago(20), 12))]}
    assert lag_seconds(observed(topics, {("watch", 0): 10}, status=said(ago(300)))) == 20


def test_ingest_that_never_published_anything_is_behind_by_everything() -> None:
    world = observed({"watch": [partition(0, (ago(90), 10))]}, None)
    assert (lag_records(world), lag_seconds(world)) == (10, 90)
    assert consumers(world, ago(3600)) == 1, "another consumer mends nothing"


def test_while_no_broker_answers_the_age_goes_on_growing() -> None:
    world = observed(None, {("watch", 0): 4}, status=said(ago(30)))
    assert (behind(world), lag_records(world), lag_seconds(world)) == (None, 5, 30)
    later = observed(None, {("watch", 0): 4}, status=said(ago(30)), now=NOW + timedelta(seconds=10))
    assert lag_seconds(later) == 40


def test_a_quiet_topic_with_nothing_left_to_read_lets_a_consumer_go() -> None:
    topics = {"watch": [partition(0, (ago(9000), 10))]}
    two = said(ago(9000), records=2, consumers=2)
    assert consumers(observed(topics, {("watch", 0): 10}, status=two), ago(7200)) == 1
    uncovered = consumers(observed(topics, {("watch", 0): 8}, status=two), ago(7200))
    assert uncovered == 2, "records that have waited for hours"
