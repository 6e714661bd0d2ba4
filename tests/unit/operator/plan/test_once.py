"""What several concerns ask of one pass is worked out once, and never answered from another pass."""

from dataclasses import dataclass

import pytest

from recsys_operator.plan.once import once


@dataclass(frozen=True)
class Seen:
    """Something that a pass has seen."""

    number: int


def test_the_same_objects_are_answered_once_and_equal_ones_of_another_pass_anew() -> None:
    asked: list[int] = []

    @once
    def derive(seen: Seen, more: int = 0) -> int:
        asked.append(seen.number)
        return seen.number + more

    first, second = Seen(1), Seen(1)
    assert [derive(first), derive(first), derive(second), derive(first)] == [1, 1, 1, 1]
    assert asked == [1, 1, 1], "only the newest answer is kept"
    assert (derive(first, 2), derive(first, more=2), derive(first)) == (3, 3, 1)
    assert len(asked) == 6, "other arguments, another answer"


def test_an_answer_that_failed_is_not_kept() -> None:
    failing = [True]

    @once
    def derive(_: Seen) -> str:
        if failing.pop():
            raise ValueError("not yet")
        return "there"

    seen = Seen(1)
    with pytest.raises(ValueError, match="not yet"):
        derive(seen)
    failing.append(False)
    assert derive(seen) == "there"
