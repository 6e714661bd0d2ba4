"""Times of a cron line on somebody's clock, and how unlike two profiles are."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_operator.plan.drift import psi
from recsys_operator.plan.schedule import UnreadableScheduleError, coming, latest
from recsys_schemas.snapshot import PROFILE_BUCKETS, EventProfile
from recsys_schemas.v1alpha1.triggers import Trigger


def at(cron: str, zone: str | None = None) -> Trigger:
    return Trigger(type="Schedule", cron=cron, time_zone=zone)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type]


def test_the_very_moment_counts():
    nightly = at("0 3 * * *")
    assert latest(nightly, utc(2026, 1, 2, 3, 0, 0)) == utc(2026, 1, 2, 3)
    assert latest(nightly, utc(2026, 1, 2, 2, 59, 59)) == utc(2026, 1, 1, 3)
    assert coming(nightly, utc(2026, 1, 2, 3, 0, 0)) == utc(2026, 1, 3, 3)


@pytest.mark.parametrize(
    ("now", "found"),
    [
        (utc(2026, 3, 28, 12), utc(2026, 3, 28, 1, 30)),  # winter: an hour before UTC
        (utc(2026, 3, 29, 12), utc(2026, 3, 29, 1, 0)),  # half past two does not exist that night: right after
        (utc(2026, 3, 30, 12), utc(2026, 3, 30, 0, 30)),  # summer: two hours
    ],
)
def test_a_night_on_which_clocks_are_put_forward_loses_no_run(now: datetime, found: datetime):
    assert latest(at("30 2 * * *", "Europe/Paris"), now) == found


def test_a_night_on_which_clocks_are_put_back_has_one_run():
    times: set[datetime] = set()
    for minute in range(48 * 60):
        times.add(latest(at("30 2 * * *", "Europe/Paris"), utc(2026, 10, 24, 12) + timedelta(minutes=minute)))
    assert sorted(times) == [utc(2026, 10, 24, 0, 30), utc(2026, 10, 25, 0, 30), utc(2026, 10, 26, 1, 30)]


@given(st.integers(0, 730 * 86_400), st.sampled_from(["UTC", "Europe/Paris", "America/New_York", "Asia/Kolkata"]))
def test_the_latest_time_is_never_ahead_and_never_older_than_one_before_it(seconds: int, zone: str):
    now, trigger = utc(2025, 1, 1) + timedelta(seconds=seconds), at("*/20 * * * *", zone)
    found = latest(trigger, now)
    assert found <= now < coming(trigger, now)
    assert now - found < timedelta(minutes=20) + timedelta(hours=1)


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        (at("0 3 * * *", "Europe/Atlantis"), "timeZone 'Europe/Atlantis' is unknown; use a name such as Europe/Paris"),
        (at("0 3 30 2 *"), "cron '0 3 30 2 *' names no time"),
        (at("50-10 3 * * *"), "cron '50-10 3 * * *' names no time"),
    ],
)
def test_a_schedule_that_no_clock_can_follow_is_named(trigger: Trigger, words: str):
    with pytest.raises(UnreadableScheduleError, match=r"training\.triggers") as refused:
        latest(trigger, utc(2026, 1, 1))
    assert words in str(refused.value)


def profile(sequence: int, draws: list[int]) -> EventProfile:
    buckets = [0] * PROFILE_BUCKETS
    for draw in draws:
        buckets[draw % PROFILE_BUCKETS] += 1
    return EventProfile(sequence=sequence, events=len(draws), buckets=buckets)


@pytest.mark.parametrize("events", [300, 3_000, 20_000])
def test_chance_alone_is_no_drift(events: int):
    chance = random.Random(1)
    found = [psi(*(profile(n, [int(chance.paretovariate(1)) for _ in range(events)]) for n in (1, 2))) for _ in range(20)]
    assert max(found) < 0.1


def test_other_items_are():
    chance = random.Random(1)
    before = profile(1, [int(chance.paretovariate(1)) for _ in range(2_000)])
    after = profile(2, [int(chance.paretovariate(1)) + 20 for _ in range(2_000)])
    assert psi(before, after) > 1
    assert psi(before, before) == 0
