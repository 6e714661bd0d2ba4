"""What is expected of an arm's scoring, and where it is done."""

import asyncio
import threading
import time

import pytest

from ray_apps.serving.pace import INLINE_MS, ArmLate, Pace

LONG_MS = 60_000
"""However busy the machine is that runs the tests, what is begun ends within it."""


def learned(*samples: float) -> Pace:
    pace = Pace()
    for sample in samples:
        pace.took(sample)
    return pace


def where(pace: Pace, budget_ms: float = LONG_MS) -> str:
    return asyncio.run(pace.run(lambda: threading.current_thread().name, budget_ms))


def test_one_slow_moment_does_not_send_a_quick_arm_to_a_thread():
    pace = learned(*[0.3] * 10, 400.0)
    assert pace.expected_ms < INLINE_MS
    assert where(pace) == threading.current_thread().name


def test_an_arm_that_has_become_slow_is_known_after_a_few_answers():
    pace = learned(*[0.3] * 10, *[50.0] * 6)
    assert pace.expected_ms > INLINE_MS
    assert where(pace).startswith("slow-arm")
    pace.close()


def test_waiting_for_a_core_makes_no_arm_slow_and_working_does():
    pace = learned(0.3)

    def waits() -> None:
        threading.Event().wait(0.01)

    def works() -> None:
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            pass

    for _ in range(30):
        asyncio.run(pace.run(waits, LONG_MS))
    assert pace.expected_ms < INLINE_MS / 2
    for _ in range(8):
        asyncio.run(pace.run(works, LONG_MS))
    assert pace.expected_ms > INLINE_MS
    pace.close()


def test_an_arm_that_is_quick_again_comes_back_inline():
    assert where(learned(50.0, *[0.3] * 12)) == threading.current_thread().name


def test_a_scoring_that_would_be_late_is_not_begun():
    pace = learned(50.0)
    with pytest.raises(ArmLate, match="expected to take 50 ms; 20 ms were left"):
        where(pace, budget_ms=20)


def test_an_arm_that_was_too_slow_once_is_tried_again_some_day():
    pace = learned(150.0)
    for _ in range(100):
        try:
            where(pace, budget_ms=100)
            break
        except ArmLate:
            continue
    else:
        pytest.fail("it was never tried again")
    pace.close()
