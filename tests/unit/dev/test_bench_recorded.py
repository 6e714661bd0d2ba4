"""Rollouts on a recorded log: what is replayed is what was recorded, and what is told of a wrong file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.rollout.limits import least_seconds
from bench.rollout.logs import ERRORS, PARTS, SHARE, Candidate
from bench.rollout.recorded import Recording, Replay, counted, decide
from recsys_dev.errors import Unmet
from recsys_dev.recording import Answered, read, write
from recsys_schemas.v1alpha1.analysis import Analysis

SECONDS = 200
EQUAL = Candidate(name="equal")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of 60 answers a second to 500 users, a quarter of them watched; and some of another arm, which are not replayed."""
    chance, file = np.random.default_rng(5), tmp_path_factory.mktemp("recorded") / "answers.parquet"
    answers = [
        Answered(
            at=1000 + number / 60,
            user=f"user-{chance.integers(500)}",
            variant="candidate" if number % 10 == 0 else "stable",
            watched=bool(chance.random() < 0.25),
            ms=float(chance.lognormal(3, 0.5)),
        )
        for number in range(3600)
    ]
    assert write(file, reversed(answers)) == len(answers)
    return file


def test_a_replay_is_made_of_what_was_recorded(recorded: Path):
    recording = Recording.of(recorded)
    assert recording.at.size == 3240
    assert np.all(np.diff(recording.at) >= 0)
    replay = Replay(recording, EQUAL, np.random.default_rng(1), SECONDS)
    sums = {(part, tried): int(replay.counts(part, tried=tried)[-1].sum()) for part in PARTS for tried in (False, True)}
    asked = sums["requests", False] + sums["requests", True]
    assert asked == pytest.approx(54 * SECONDS, rel=0.03)
    assert sums["requests", True] == pytest.approx(SHARE * asked, rel=0.5)
    assert sums["errors", False] == pytest.approx(ERRORS * sums["requests", False], rel=0.4)
    assert sums["rewards", False] == pytest.approx(0.25 * sums["requests", False], rel=0.2)
    ends = list(replay.latencies([99, SECONDS - 1], tried=True))
    assert [each.trials for each in ends] == [int(replay.counts("requests", tried=True)[second].sum()) for second in (99, SECONDS - 1)]


def test_a_user_stays_with_one_arm(recorded: Path):
    replay = Replay(Recording.of(recorded), EQUAL, np.random.default_rng(2), SECONDS)
    again = Replay(Recording.of(recorded), replace(EQUAL, errors=50.0), np.random.default_rng(2), SECONDS)
    for tried in (False, True):
        assert np.array_equal(replay.counts("requests", tried=tried), again.counts("requests", tried=tried)), "other seconds were drawn"


def test_what_fails_is_found_and_what_is_equal_is_not(recorded: Path):
    recording = Recording.of(recorded)

    def worse(candidate: Candidate) -> list[int | None]:
        return [decide(Replay(recording, candidate, np.random.default_rng(seed), SECONDS), Analysis()).worse for seed in range(2)]

    found = worse(Candidate(name="bad", errors=50))
    assert all(second is not None and second < 60 for second in found), found
    assert worse(EQUAL) == [None, None]


def test_rules_of_thresholds_see_the_same(recorded: Path):
    replays = [Replay(Recording.of(recorded), EQUAL, np.random.default_rng(seed), SECONDS) for seed in range(2)]
    log = counted(replays)
    assert (log.rollouts, log.seconds) == (2, SECONDS)
    assert log.candidate.errors[1, -1] == replays[1].counts("errors", tried=True)[-1].sum()


def test_a_file_that_is_no_recording_is_told(tmp_path: Path):
    with pytest.raises(Unmet, match="make demo"):
        read(tmp_path / "none.parquet")
    wrong = tmp_path / "wrong.parquet"
    wrong.write_bytes(b"PAR0")
    with pytest.raises(Unmet, match=r"wrong\.parquet"):
        read(wrong)


def test_the_least_time_grows_as_the_harm_shrinks():
    times = [least_seconds(factor, 0.001) for factor in (50, 10, 5, 2, 1.5)]
    assert times == sorted(times)
    assert times[3] == pytest.approx(88.2, abs=0.5)
