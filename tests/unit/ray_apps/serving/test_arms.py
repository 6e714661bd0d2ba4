"""Records become arms: loading is off the request path, switching is a pointer."""

import threading
from typing import Any

import pytest

from ray_apps.serving.arms import NO_EPOCH, Arms
from ray_apps.serving.online.live import still


class Gate:
    """An opener that waits until the test lets it go."""

    def __init__(self, opener: Any) -> None:
        self.opener = opener
        self.open = threading.Event()
        self.asked: list[str] = []

    def __call__(self, version: str, digest: str) -> Any:
        self.asked.append(version)
        if version != "good":
            assert self.open.wait(60)
        return self.opener(version, digest)


@pytest.fixture
def gate(caller: Any):
    return Gate(caller.replica.arms._opener)


@pytest.fixture
def arms(gate: Any):
    made = Arms(gate, still)
    yield made
    gate.open.set()
    made.close()


def test_the_older_record_is_served_until_the_newer_ones_arms_are_mapped(arms: Any, gate: Any, make_record: Any, wait_until: Any):
    arms.apply(make_record(1, ("good", 100)))
    wait_until(lambda: arms.epoch == 1)
    arms.apply(make_record(2, ("good", 95), ("other", 5)))
    wait_until(lambda: "other" in gate.asked)
    assert arms.epoch == 1
    assert set(arms.serving.arms) == {"good"}
    gate.open.set()
    wait_until(lambda: arms.epoch == 2)
    assert set(arms.ready()) == {"good", "other"}


def test_the_time_from_a_records_coming_until_it_is_in_force_is_counted_by_bounds(gate: Any, make_record: Any, wait_until: Any):
    now = [100.0]
    arms = Arms(gate, still, clock=lambda: now[0])
    try:
        arms.apply(make_record(1, ("good", 100)))
        wait_until(lambda: arms.epoch == 1)
        assert arms.switches.buckets()[-1] == ("+Inf", 0), "the first record is no switch"
        arms.apply(make_record(2, ("good", 95), ("other", 5)))
        now[0] += 0.9
        gate.open.set()
        wait_until(lambda: arms.epoch == 2)
        arms.apply(make_record(3, ("good", 75), ("other", 25)))
        told = dict(arms.switches.buckets())
        assert (told["0.2"], told["1.0"], told["+Inf"]) == (1, 2, 2)
        assert arms.switches.seconds == pytest.approx(0.9)
    finally:
        gate.open.set()
        arms.close()


def test_an_arm_without_a_share_holds_nothing_up(arms: Any, gate: Any, make_record: Any, wait_until: Any):
    arms.apply(make_record(1, ("good", 100), ("other", 0)))
    wait_until(lambda: arms.epoch == 1)
    assert set(arms.ready()) == {"good"}
    gate.open.set()
    wait_until(lambda: set(arms.ready()) == {"good", "other"})
    arms.apply(make_record(2, ("good", 75), ("other", 25)))
    assert arms.epoch == 2, "a mapped arm is switched to at once"


def test_after_a_start_the_stable_arm_answers_for_a_candidate_that_is_not_there_yet(
    arms: Any, gate: Any, make_record: Any, wait_until: Any
):
    arms.apply(make_record(7, ("good", 50), ("other", 50)))
    wait_until(lambda: arms.serving is not None)
    assert arms.epoch == NO_EPOCH
    assert arms.serving.stable.name == "good"
    gate.open.set()
    wait_until(lambda: arms.epoch == 7)


def test_arms_that_nobody_wants_are_dropped(arms: Any, gate: Any, make_record: Any, wait_until: Any):
    gate.open.set()
    arms.apply(make_record(1, ("good", 50), ("other", 50)))
    wait_until(lambda: arms.epoch == 1)
    arms.apply(make_record(2, ("other", 100)))
    assert set(arms.ready()) == {"other"}
    assert arms.epoch == 2


def test_a_wrong_digest_is_refused_with_its_reason_and_the_old_record_stays(arms: Any, gate: Any, make_record: Any, wait_until: Any):
    gate.open.set()
    arms.apply(make_record(1, ("good", 100)))
    wait_until(lambda: arms.epoch == 1)
    wrong = make_record(2, ("good", 95), ("other", 5))
    wrong["arms"][1]["digest"] = "sha256:wrong"
    arms.apply(wrong)
    wait_until(lambda: "other" in arms.refused())
    assert "sha256:wrong" in arms.refused()["other"]
    assert arms.epoch == 1
    arms.apply(make_record(3, ("good", 100)))
    assert arms.epoch == 3
    assert arms.refused() == {}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"arms": "many"}, "arms"),
        ({"colour": "red"}, "colour"),
        ({"epoch": 0}, "epoch"),
        ({"salt": "another"}, "epoch"),
        ({"epoch": 9, "arms": [{"version": "good", "digest": "sha256:good", "variant": "stable", "share": 90}]}, "sum to 90"),
        ({"epoch": 9, "arms": [{"version": "good", "digest": "sha256:good", "variant": "candidate", "share": 100}]}, "stable"),
    ],
)
def test_a_bad_record_is_refused_whole_and_the_old_one_stays(
    arms: Any, make_record: Any, wait_until: Any, change: dict[str, Any], named: str
):
    arms.apply(make_record(1, ("good", 100)))
    wait_until(lambda: arms.epoch == 1)
    assert not arms.apply(make_record(1, ("good", 100)) | change)
    assert named in arms.refused_record
    assert arms.epoch == 1
    assert arms.apply(make_record(2, ("good", 100)))
    assert arms.refused_record is None


def test_tokens_change_within_an_epoch(arms: Any, make_record: Any):
    arms.apply(make_record(1, ("good", 100)))
    assert arms.apply(make_record(1, ("good", 100)) | {"tokens": {"ab": "reader"}})
    assert arms.wanted.tokens == {"ab": "reader"}


def test_the_same_record_twice_changes_nothing(arms: Any, gate: Any, make_record: Any, wait_until: Any):
    arms.apply(make_record(1, ("good", 100)))
    wait_until(lambda: arms.epoch == 1)
    before = arms.serving.arms["good"]
    assert arms.apply(make_record(1, ("good", 100)))
    assert arms.serving.arms["good"] is before
    assert gate.asked == ["good"]
