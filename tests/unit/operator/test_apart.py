"""What runs apart goes on while this loop computes, is cancelled from here, and ends with its block."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from recsys_operator.apart import Apart, apart

DEADLINE_S = 60.0


async def drive(story: Callable[[Apart], Coroutine[Any, Any, None]]) -> None:
    with apart("beside") as beside:
        await asyncio.wait_for(story(beside), DEADLINE_S)


def test_it_goes_on_while_this_loop_stands_still() -> None:
    went_on = threading.Event()

    async def go_on() -> str:
        await asyncio.sleep(0)
        went_on.set()
        return threading.current_thread().name

    async def story(beside: Apart) -> None:
        begun = beside.run(go_on())
        assert went_on.wait(DEADLINE_S), "this loop does not turn meanwhile"
        assert await begun == "beside"

    asyncio.run(drive(story))


def test_what_it_raises_is_raised_here() -> None:
    async def fail() -> None:
        raise ValueError("there")

    async def story(beside: Apart) -> None:
        with pytest.raises(ValueError, match="there"):
            await beside.run(fail())

    asyncio.run(drive(story))


@pytest.mark.parametrize("by", ["a cancellation", "the end of the block"])
def test_what_waits_there_ends_by(by: str) -> None:
    begun, ended = threading.Event(), threading.Event()

    async def wait() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def story(beside: Apart) -> None:
        waiting = beside.run(wait())
        assert begun.wait(DEADLINE_S)
        if by == "a cancellation":
            waiting.cancel()
            assert await asyncio.to_thread(ended.wait, DEADLINE_S)

    asyncio.run(drive(story))
    assert ended.wait(DEADLINE_S)
    assert all(each.name != "beside" for each in threading.enumerate())
