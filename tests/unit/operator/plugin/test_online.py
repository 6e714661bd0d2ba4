"""What `kubectl recsys online rewind` makes of its words."""

import argparse
from datetime import UTC, datetime

import pytest

from kubectl_recsys.online import Rewind, asked_of, merged, moment, ranges
from recsys_operator.world.errors import RefusedError
from recsys_schemas.v1alpha1.serving import SkippedRecords

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


def asked(to: str, until: str | None = None, topic: str | None = None, partition: int | None = None) -> Rewind:
    return asked_of(argparse.Namespace(to=to, until=until, topic=topic, partition=partition), NOW)


def skip(first: int, last: int, partition: int = 0, topic: str = "watch") -> SkippedRecords:
    return SkippedRecords(topic=topic, partition=partition, first=first, last=last)


def test_a_moment_is_an_offset_a_time_or_how_long_ago():
    assert moment("1204", NOW) == 1204
    assert moment("90m", NOW) == datetime(2026, 11, 30, 10, 30, tzinfo=UTC)
    assert moment("2026-11-30T09:00:00", NOW) == moment("2026-11-30T09:00:00Z", NOW) == datetime(2026, 11, 30, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("words", "mend"),
    [
        ({"to": "yesterday"}, "--to: seen 'yesterday'; name an offset"),
        ({"to": "9999999999d"}, "--to: seen '9999999999d'"),
        ({"to": "12"}, "add --topic and --partition"),
        ({"to": "12", "topic": "watch"}, "add --topic and --partition"),
        ({"to": "15m", "until": "12"}, "--until: name an offset where --to is one"),
        ({"to": "12", "until": "15m", "topic": "watch", "partition": 0}, "--until: name an offset where --to is one"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_mend(words: dict[str, str], mend: str):
    with pytest.raises(RefusedError, match=mend.replace("?", r"\?")):
        asked(**words)  # pyright: ignore[reportArgumentType]


def test_partitions_without_records_since_then_are_left_alone():
    first = {("watch", 0): 10, ("watch", 1): 7, ("watch", 2): 3}
    assert ranges(first, {("watch", 0): 15, ("watch", 1): 7, ("rate", 0): 9}) == [skip(10, 14)]


def test_ranges_that_touch_become_one():
    assert merged([skip(5, 9), skip(0, 4), skip(20, 30), skip(8, 12), skip(1, 2, partition=1), skip(5, 6, topic="rate")]) == [
        skip(5, 6, topic="rate"),
        skip(0, 12),
        skip(20, 30),
        skip(1, 2, partition=1),
    ]
