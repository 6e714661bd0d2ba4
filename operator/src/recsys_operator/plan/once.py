"""What several concerns ask of one pass is worked out once."""

from collections.abc import Callable
from functools import wraps
from operator import is_
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def once(derive: Callable[P, T]) -> Callable[P, T]:
    """Remember the last answer, for as long as it is asked with the very same objects.

    What a pass has seen is frozen and the plan is pure, so the same objects have the same answer; equal ones are not looked for, since
    comparing them costs more than most answers. One answer is kept, that of the newest pass.
    """
    kept: list[tuple[tuple[object, ...], T]] = []

    @wraps(derive)
    def answer(*args: P.args, **named: P.kwargs) -> T:
        asked = (*args, *named, *named.values())
        for before, found in kept:
            if len(before) == len(asked) and all(map(is_, asked, before)):
                return found
        found = derive(*args, **named)
        kept[:] = [(asked, found)]
        return found

    return answer
