"""One reading for all who ask at about the same time; none that is older than a change of ours, and no error that is kept."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from recsys_operator.world.errors import UnavailableError
from recsys_operator.world.shared import GOOD_FOR, MOST_S, Shared

DEADLINE_S = 60.0


def drive(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), DEADLINE_S))


@dataclass
class Brokers:
    """A place whose readings take as long as the test says."""

    now: float = 0.0
    takes: float = 0.01
    read: int = 0
    answers: asyncio.Event = field(default_factory=asyncio.Event)

    async def look(self) -> int:
        self.read += 1
        number = self.read
        await self.answers.wait()
        self.now += self.takes
        return number


def test_those_who_ask_at_once_share_one_reading():
    async def story() -> None:
        place = Brokers()
        shared = Shared[str, int](clock=lambda: place.now)
        asked = [asyncio.create_task(shared.get("a", place.look)) for _ in range(50)]
        await asyncio.sleep(0)
        place.answers.set()
        assert await asyncio.gather(*asked) == [1] * 50

    drive(story)


@pytest.mark.parametrize(("takes", "kept"), [(0.01, 0.01 * GOOD_FOR), (5.0, MOST_S)])
def test_a_reading_is_good_for_a_while_that_its_cost_sets_and_never_for_long(takes: float, kept: float):
    async def story() -> None:
        place = Brokers(takes=takes)
        place.answers.set()
        shared = Shared[str, int](clock=lambda: place.now)
        assert await shared.get("a", place.look) == 1
        place.now += 0.9 * kept
        assert await shared.get("a", place.look) == 1
        place.now += 0.2 * kept
        assert await shared.get("a", place.look) == 2
        assert await shared.get("b", place.look) == 3

    drive(story)


def test_after_a_change_nobody_is_told_what_was_read_before_it_not_even_by_a_reading_under_way():
    async def story() -> None:
        place = Brokers()
        shared = Shared[str, int](clock=lambda: place.now)
        before = asyncio.create_task(shared.get("a", place.look))
        await asyncio.sleep(0)
        shared.forget("a")
        after = asyncio.create_task(shared.get("a", place.look))
        await asyncio.sleep(0)
        place.answers.set()
        assert (await before, await after) == (1, 2)
        assert await shared.get("a", place.look) == 2

    drive(story)


def test_a_change_of_one_part_is_news_to_those_who_ask_for_it_and_to_nobody_else():
    async def story() -> None:
        place = Brokers()
        shared = Shared[str, int](clock=lambda: place.now)
        before = asyncio.create_task(shared.get("a", place.look, of=["mine", "yours"]))
        await asyncio.sleep(0)
        shared.forget("a", "mine")
        other = asyncio.create_task(shared.get("a", place.look, of=["yours"]))
        mine = asyncio.create_task(shared.get("a", place.look, of=["mine"]))
        await asyncio.sleep(0)
        place.answers.set()
        assert (await before, await other, await mine) == (1, 1, 2)
        assert await shared.get("a", place.look, of=["mine"]) == 2, "what was read after the change is shared again"

    drive(story)


def test_changes_are_remembered_only_while_a_reading_is_older_than_they_are():
    async def story() -> None:
        place = Brokers()
        place.answers.set()
        shared = Shared[str, int](clock=lambda: place.now)
        for number in range(500):
            await shared.get("a", place.look, of=[f"topic-{number}"])
            shared.forget("a", f"topic-{number}")
            place.now += MOST_S / 10
        assert len(shared.changes) <= 2

    drive(story)


def test_an_error_reaches_all_who_waited_and_nobody_after_them():
    async def story() -> None:
        tries = 0

        async def away() -> int:
            nonlocal tries
            tries += 1
            await asyncio.sleep(0)
            if tries == 1:
                raise UnavailableError("no broker answers")
            return tries

        shared = Shared[str, int]()
        seen = await asyncio.gather(shared.get("a", away), shared.get("a", away), return_exceptions=True)
        assert [str(each) for each in seen] == ["no broker answers"] * 2
        assert await shared.get("a", away) == 2

    drive(story)


def test_who_gives_up_does_not_take_the_answer_from_the_others():
    async def story() -> None:
        place = Brokers()
        shared = Shared[str, int](clock=lambda: place.now)
        first, second = (asyncio.create_task(shared.get("a", place.look)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        place.answers.set()
        assert await second == 1

    drive(story)


def test_what_is_remembered_is_bounded_by_what_was_asked_lately():
    async def story() -> None:
        place = Brokers()
        place.answers.set()
        shared = Shared[str, int](clock=lambda: place.now)
        for number in range(500):
            await shared.get(f"cluster-{number}", place.look)
        assert len(shared.readings) <= 1 + MOST_S / place.takes

    drive(story)
