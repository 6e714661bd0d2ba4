"""How far a run is, as the operator reads it."""

from pathlib import Path

import pytest

from ray_apps.stores.objects import Store, open_store
from ray_apps.training.progress import Telling
from recsys_schemas.version_card import RunProgress, progress_file


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"file://{tmp_path}")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def left(store: Store) -> RunProgress:
    return RunProgress.model_validate_json(store.read(progress_file("movies-000001")))


def test_steps_are_counted_over_all_fits_and_time_left_by_their_pace(store: Store):
    clock = Clock()
    telling = Telling(store=store, version="movies-000001", fits=2, clock=clock)
    seen: list[tuple[int, int, float | None]] = []
    for _ in range(2):
        for done in (1, 2, 3):
            clock.now += 4.0
            telling.tell(done, 3)
            seen.append((left(store).step, left(store).of, left(store).seconds_left))
        clock.now += 100.0  # measuring is no step, and does not make those that follow slower
    assert seen == [(1, 6, None), (2, 6, 16.0), (3, 6, 12.0), (4, 6, 8.0), (5, 6, 4.0), (6, 6, 0.0)]


def test_short_steps_are_not_written_each(store: Store):
    clock = Clock()
    telling = Telling(store=store, version="movies-000001", fits=1, clock=clock)
    for done in range(1, 10):
        clock.now += 0.01
        telling.tell(done, 10)
    assert left(store).step == 1
    telling.tell(10, 10)
    assert left(store).step == 10


def test_a_fit_more_than_was_expected_never_ends_before_it_is_over(store: Store):
    clock = Clock()
    telling = Telling(store=store, version="movies-000001", fits=1, clock=clock)
    for _ in range(2):
        for done in (1, 2):
            clock.now += 2.0
            telling.tell(done, 2)
            assert left(store).step <= left(store).of


def test_a_store_that_cannot_be_written_costs_no_run(tmp_path: Path):
    (tmp_path / "runs").write_text("a file where the folder should be")
    Telling(store=open_store(f"file://{tmp_path}"), version="movies-000001", fits=1).tell(1, 2)
