"""Asking brokers where the machine may stand still for a while: what was not answered in time is asked again."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from recsys_operator.world.errors import UnavailableError, WorldError

LIMIT_S = 120.0
PAUSE_S = 0.1

T = TypeVar("T")
E = TypeVar("E", bound=WorldError)


def answered(call: Callable[[], T]) -> T:
    """What a call of the operator answers. Only for calls that may be made twice."""
    end = time.monotonic() + LIMIT_S
    while True:
        try:
            return call()
        except UnavailableError:
            if time.monotonic() > end:
                raise
            time.sleep(PAUSE_S)


def asked(call: Callable[[], Awaitable[T]]) -> T:
    """The same of a coroutine."""

    async def once() -> T:
        return await call()

    return answered(lambda: asyncio.run(once()))


def refused(call: Callable[[], object], kind: type[E], words: str) -> E:
    """The error of a call that must fail, of this kind and in these words (a regular expression).

    One that was not answered in time fails in other words, and is made again.
    """
    end = time.monotonic() + LIMIT_S
    while True:
        with pytest.raises(WorldError) as raised:
            call()
        error = raised.value
        if isinstance(error, kind) and re.search(words, str(error)):
            return error
        assert isinstance(error, UnavailableError), error
        assert time.monotonic() < end, error
        time.sleep(PAUSE_S)
