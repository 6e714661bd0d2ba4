"""The bench's account of delays: an event is visible when the first commit that covers its offset is in place."""

import numpy as np
import pytest

from bench.ingest.visible import Publication, delays


def times(*ms: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(ms, np.int64)


def test_an_event_is_visible_with_the_first_commit_that_covers_its_offset():
    published = [Publication(at_ms=5_000, covers={0: 3}), Publication(at_ms=2_000, covers={0: 2})]
    seen = delays({0: times(1_000, 1_500, 1_600)}, published, since_ms=0, until_ms=9_000)
    assert (seen.events, seen.p50, seen.longest) == (3, 1.0, 3.4)


def test_only_events_of_the_span_count():
    published = [Publication(at_ms=2_000, covers={0: 2, 1: 1})]
    seen = delays({0: times(0, 1_000), 1: times(1_900)}, published, since_ms=1_000, until_ms=1_900)
    assert (seen.events, seen.longest) == (1, 1.0)


def test_a_commit_that_does_not_name_a_partition_covers_nothing_of_it():
    published = [Publication(at_ms=2_000, covers={0: 9}), Publication(at_ms=3_000, covers={0: 9, 1: 1})]
    assert delays({1: times(1_000)}, published, since_ms=0, until_ms=9_000).longest == 2.0


def test_a_commit_that_an_older_one_passed_in_covering_changes_nothing():
    published = [Publication(at_ms=2_000, covers={0: 2}), Publication(at_ms=3_000, covers={0: 1})]
    assert delays({0: times(1_000, 1_000)}, published, since_ms=0, until_ms=9_000).longest == 1.0


def test_an_event_that_was_never_published_is_named():
    with pytest.raises(ValueError, match="partition 0: offset 1 was never published"):
        delays({0: times(1_000, 1_100)}, [Publication(at_ms=2_000, covers={0: 1})], since_ms=0, until_ms=9_000)
