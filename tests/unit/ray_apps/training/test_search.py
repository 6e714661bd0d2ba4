"""A search's trials are a function of the job, and so is what it settles on."""

from pathlib import Path

import pytest

from ray_apps.algorithms import ALGORITHMS
from ray_apps.stores.objects import StorageError, open_store
from ray_apps.stores.snapshots import open_snapshot
from ray_apps.training.dataset import read_dataset
from ray_apps.training.measuring import asked_of
from ray_apps.training.refusals import TrainingRefused
from ray_apps.training.search import RANGES, best, drawn, searchable, searched, settled, tried, validation
from ray_apps.training.searched import read_search, search_file, write_search
from recsys_schemas.train_job import Search, TrainJob
from recsys_schemas.version_card import SearchReport, Trial
from unit.ray_apps.training import planted


def asked(uri: str = "file:///nowhere", **changes: object) -> TrainJob:
    job = planted.job(uri, algorithm="IALS", baselines=["Popularity"], search=Search(max_trials=8))
    return job.model_copy(update=changes)


def trials(job: TrainJob) -> list[dict[str, float | int | str]]:
    return drawn(job, ALGORITHMS["IALS"], asked_of(job, ALGORITHMS)["IALS"])


def test_trials_are_drawn_by_the_seed_and_the_first_is_what_was_asked():
    job = asked()
    assert trials(job) == trials(job)
    assert trials(job)[0] == asked_of(job, ALGORITHMS)["IALS"]
    assert trials(job)[1:] != trials(asked(seed=43))[1:]
    assert len(trials(job)) == 8


def test_what_the_job_gives_is_not_searched():
    assert {each["factors"] for each in trials(asked(hyperparameters={"factors": 24}))} == {24}


@pytest.mark.parametrize("name", sorted(RANGES))
def test_every_range_lies_within_what_its_algorithm_takes(name: str):
    for parameter, each in RANGES[name].items():
        taken = ALGORITHMS[name].parameters[parameter]
        assert taken.low <= each.low < each.high <= taken.high


def test_the_best_trial_is_the_first_of_equals_and_unfinished_ones_count_for_nothing():
    made = [Trial(hyperparameters={"factors": n}, value=value) for n, value in ((1, 0.1), (2, 0.3), (3, 0.3), (4, None))]
    found = best(made)
    assert found is not None
    assert found.hyperparameters == {"factors": 2}
    assert settled(asked(), SearchReport(metric="m", split="s", trials=made)).hyperparameters == {"factors": 2}
    assert settled(asked(), SearchReport(metric="m", split="s", trials=made[3:])).hyperparameters == {}


def test_an_algorithm_without_ranges_is_refused_by_name():
    with pytest.raises(TrainingRefused, match="'Popularity' has no ranges to search; use one of ALS, IALS, ItemItem"):
        searchable(asked().model_copy(update={"algorithm": "Popularity"}))


def test_a_search_that_was_done_is_not_done_again(tmp_path: Path):
    job, store = asked(f"file://{tmp_path}"), open_store(f"file://{tmp_path}")
    write_search(store, job.version, SearchReport(metric="m", split="s", trials=[Trial(hyperparameters={"factors": 3}, value=1.0)]))
    assert searched(job, ALGORITHMS).hyperparameters == {"factors": 3}
    store.write(search_file(job.version), b"{}")
    with pytest.raises(StorageError, match="is no report of a search"):
        read_search(store, job.version)


def test_trials_are_measured_on_nothing_that_the_card_is_measured_on(tmp_path: Path):
    dataset = read_dataset(open_snapshot(open_store(planted.snapshot(tmp_path, {"watch": planted.tastes(users=300, items=120)})), 1))
    job = asked()
    split = validation(dataset, job)
    known = dataset.interactions
    assert len(split.train) < 0.95 * 0.95 * len(known)
    assert split.train.times.max() <= known.times.max()
    assert split.held.size < len(known)
    value = tried(ALGORITHMS["IALS"], {"factors": 8, "iterations": 2}, job, split)
    assert 0 < value < 1


def test_too_few_users_to_measure_trials_on_are_refused(tmp_path: Path):
    tables = {"watch": planted.tastes(users=4, items=30, events=20)}
    dataset = read_dataset(open_snapshot(open_store(planted.snapshot(tmp_path, tables)), 1))
    with pytest.raises(TrainingRefused, match=r"training\.search: 4 users can be measured on"):
        validation(dataset, asked())
