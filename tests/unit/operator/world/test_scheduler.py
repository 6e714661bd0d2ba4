"""Passes of one model never overlap, none is forgotten, and what fails is tried again more and more seldom."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from recsys_operator.loop import PassFailedError
from recsys_operator.scheduler import CONCURRENT, LEISURE_S, LEISURE_SHARE, LONGEST_BACK_OFF_S, LONGEST_WAIT_S, MOST_UNDER_WAY, Scheduler
from recsys_operator.state.observed import Key

MOVIES, FILMS = Key(namespace="default", name="movies"), Key(namespace="default", name="films")
NOW = datetime(2026, 9, 1, tzinfo=UTC)
DEADLINE_S = 60.0


def scheduler(run: Callable[[Key], Awaitable[datetime | None]]) -> Scheduler:
    return Scheduler(run=run, clock=lambda: NOW)


def drive(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), DEADLINE_S))


def test_a_wake_up_during_a_pass_is_another_pass_after_it() -> None:
    async def story() -> None:
        began, go_on, again = asyncio.Event(), asyncio.Event(), asyncio.Event()
        running, most, passes = 0, 0, 0

        async def run(_key: Key) -> datetime | None:
            nonlocal running, most, passes
            running, passes = running + 1, passes + 1
            most = max(most, running)
            began.set()
            await go_on.wait()
            running -= 1
            if passes == 2:
                again.set()
            return NOW + timedelta(hours=1)

        line = scheduler(run)
        line.wake(MOVIES)
        await began.wait()
        for _ in range(10):
            line.wake(MOVIES)
        go_on.set()
        await again.wait()
        await line.stop()
        assert (most, passes) == (1, 2)

    drive(story)


def test_a_pass_that_asks_for_another_gets_it_and_a_model_that_is_gone_is_forgotten() -> None:
    async def story() -> None:
        answers: list[datetime | None] = [NOW, NOW, None]
        done = asyncio.Event()

        async def run(_key: Key) -> datetime | None:
            answer = answers.pop(0)
            if not answers:
                done.set()
            return answer

        line = scheduler(run)
        line.wake(MOVIES)
        task = line.lines[MOVIES].task
        assert task is not None
        await done.wait()
        await task
        assert MOVIES not in line.lines
        assert answers == []

    drive(story)


def test_a_model_that_fails_holds_up_no_other_and_waits_longer_each_time() -> None:
    async def story() -> None:
        twice, other = asyncio.Event(), asyncio.Event()
        failures = 0

        async def run(key: Key) -> datetime | None:
            nonlocal failures
            if key == FILMS:
                other.set()
                return None
            failures += 1
            if failures == 2:
                twice.set()
                raise ZeroDivisionError
            raise PassFailedError("brokers away")

        line = scheduler(run)
        line.wake(MOVIES)
        line.wake(FILMS)
        await asyncio.gather(twice.wait(), other.wait())
        entry = line.lines[MOVIES]
        await line.stop()
        assert entry.failures == 2

    drive(story)


def test_models_whose_brokers_are_silent_keep_no_other_waiting() -> None:
    async def story() -> None:
        answered = asyncio.Event()
        waiting = 0

        async def run(key: Key) -> datetime | None:
            nonlocal waiting
            if key == FILMS:
                answered.set()
                return None
            waiting += 1
            await asyncio.Event().wait()
            return None

        line = scheduler(run)
        for number in range(CONCURRENT):
            line.wake(Key(namespace="default", name=f"silent-{number}"))
        line.wake(FILMS)
        await answered.wait()
        assert waiting == CONCURRENT
        await line.stop(within=0)

    drive(story)


def test_pauses_after_failures_double_and_are_bounded() -> None:
    async def story() -> None:
        async def run(_key: Key) -> datetime | None:
            return None

        line = scheduler(run)
        line.wake(MOVIES)
        entry = line.lines[MOVIES]
        waits = [line.back_off(MOVIES, entry, "away") for _ in range(20)]
        assert waits[:4] == [1, 2, 4, 8]
        assert max(waits) == waits[-1] == LONGEST_BACK_OFF_S
        await line.stop()

    drive(story)


def test_stopping_lets_a_pass_end_and_starts_no_other() -> None:
    async def story() -> None:
        began, ended = asyncio.Event(), asyncio.Event()

        async def run(_key: Key) -> datetime | None:
            began.set()
            await asyncio.sleep(0)
            ended.set()
            return NOW

        line = scheduler(run)
        line.wake(MOVIES)
        await began.wait()
        await line.stop()
        assert ended.is_set()
        line.wake(FILMS)
        assert FILMS not in line.lines

    drive(story)


def test_stopping_at_once_breaks_off_what_does_not_end() -> None:
    async def story() -> None:
        began, broken = asyncio.Event(), asyncio.Event()

        async def run(_key: Key) -> datetime | None:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                broken.set()
            return None

        line = scheduler(run)
        line.wake(MOVIES)
        await began.wait()
        await line.stop(within=0)
        assert broken.is_set()

    drive(story)


def test_with_many_models_only_the_looks_that_nothing_asks_for_become_rarer() -> None:
    async def story() -> None:
        asked, go_on = asyncio.Event(), asyncio.Event()

        async def run(_key: Key) -> datetime | None:
            asked.set()
            await go_on.wait()
            return None

        line = scheduler(run)
        for number in range(1000):
            line.wake(Key(namespace="default", name=f"model-{number}"))
        await asked.wait()
        line.cost_s = 0.02
        assert line.leisurely(1.0) == 1.0, "something is under way"
        assert line.leisurely(LEISURE_S) == 1000 * 0.02 / LEISURE_SHARE
        assert line.leisurely(4.9) == line.leisurely(LEISURE_S), "what a plan's five seconds are after a pass"
        line.cost_s = 1.0
        assert line.leisurely(LEISURE_S) == LONGEST_WAIT_S, "an event may be lost"
        line.cost_s = 0.0
        assert line.leisurely(60.0) == 60.0
        go_on.set()
        await line.stop()

    drive(story)


@pytest.mark.parametrize("bounded", [True, False])
def test_passes_that_hang_are_broken_off_and_leave_their_places_to_others(bounded: bool) -> None:
    async def story() -> None:
        hang, through = asyncio.Event(), asyncio.Event()

        async def run(key: Key) -> datetime | None:
            if key == MOVIES:
                through.set()
                return None
            hang.set()
            await asyncio.Event().wait()
            return None

        line = scheduler(run)
        line.longest_pass_s = 0.05 if bounded else 3600.0
        for number in range(MOST_UNDER_WAY):
            line.wake(Key(namespace="hangs", name=f"model-{number}"))
        await hang.wait()
        line.wake(MOVIES)
        if bounded:
            await through.wait()
        else:
            await asyncio.sleep(0.1)
            assert not through.is_set(), "without a bound nobody else has a turn"
        await line.stop(within=0)

    drive(story)
