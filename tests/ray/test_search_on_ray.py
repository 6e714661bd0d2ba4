"""A search with Ray Tune before a version is made."""

from pathlib import Path

import httpx
from tests.ray.test_ials_on_ray import ENDED, submit, until

from ray_apps.algorithms import ALGORITHMS
from ray_apps.stores.objects import open_store
from ray_apps.stores.registry import read_card
from ray_apps.training.measuring import asked_of
from ray_apps.training.search import best, drawn
from recsys_schemas.train_job import Search
from unit.ray_apps.training import planted


def test_the_best_trials_values_make_the_version_and_all_trials_are_in_its_card(rest: httpx.Client, tmp_path: Path):
    uri = planted.snapshot(tmp_path, {"watch": planted.tastes(users=300, items=150)})
    job = planted.job(uri, version="movies-000005", algorithm="ALS", baselines=["Popularity"], hyperparameters={"iterations": 5})
    job = job.model_copy(update={"search": Search(max_trials=4, parallel_trials=2)})
    seen = until(submit(rest, job, "searches"), lambda seen: seen["status"] in ENDED)
    assert seen["status"] == "SUCCEEDED", seen["logs"]
    card = read_card(open_store(uri), job.version)
    assert card is not None
    assert card.search is not None
    assert [trial.hyperparameters for trial in card.search.trials] == drawn(job, ALGORITHMS["ALS"], asked_of(job, ALGORITHMS)["ALS"])
    assert all(trial.value is not None for trial in card.search.trials), card.search
    found = best(card.search.trials)
    assert found is not None
    assert card.hyperparameters == found.hyperparameters
