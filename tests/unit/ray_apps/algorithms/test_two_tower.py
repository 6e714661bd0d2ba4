"""Two towers: learned in JAX, the same bytes on any number of threads, and new items found by what they are."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from ray_apps.algorithms.content import ContentNeeded
from ray_apps.algorithms.hyperparameters import Unsuitable
from ray_apps.algorithms.popularity import Popularity
from ray_apps.algorithms.recommender import Fitting
from ray_apps.algorithms.towers import batches, padded, program
from ray_apps.algorithms.two_tower import TwoTower
from ray_apps.evaluation.measuring import measure
from ray_apps.evaluation.protocols import leave_one_out
from unit.ray_apps.algorithms.grouped import halves, interactions

pytestmark = pytest.mark.slow

SMALL = {"factors": 8, "iterations": 8, "batchSize": 256}


def digest(model: TwoTower) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for _, array in sorted(model.arrays().items()))).hexdigest()


@pytest.fixture(scope="module")
def model() -> TwoTower:
    known = replace(interactions(), n_items=63, content=halves(63, unknown=[62]))
    return TwoTower.fit(known, SMALL, 7)


def test_new_items_stand_where_their_content_puts_them(model: TwoTower):
    for likes in (np.array([0, 2], dtype=np.int32), np.array([1, 3], dtype=np.int32)):
        scores = model.scores(likes, np.ones(2, dtype=np.float32))
        same = int(likes[0]) % 2
        assert scores[60 + same] > scores[61 - same]
        assert scores[60 + same] > np.median(scores[1 - same : 60 : 2])
    assert not model.arrays()["items"][62].any()


def test_it_finds_planted_tastes_where_popularity_does_not():
    split = leave_one_out(interactions(), 3)
    towers, popularity = TwoTower.fit(split.train, SMALL, 7), Popularity.fit(split.train, {}, 7)
    found, plain = (measure(each.scores, each.scores_many, split).per_user["ndcg@10"].mean for each in (towers, popularity))
    assert found > 1.3 * plain


THREADS = """
import os, sys
os.sched_setaffinity(0, set(list(os.sched_getaffinity(0))[: int(sys.argv[1])]))
from unit.ray_apps.algorithms.test_two_tower import SMALL, TwoTower, digest, interactions
print(digest(TwoTower.fit(interactions(), SMALL, 7)))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity") or (os.cpu_count() or 1) < 2, reason="needs two processors to compare")
def test_one_processor_and_two_give_the_same_bytes():
    environment = os.environ | {"PYTHONPATH": "tests"}
    runs = [subprocess.run([sys.executable, "-c", THREADS, count], check=True, capture_output=True, env=environment) for count in "12"]
    assert runs[0].stdout == runs[1].stdout


def test_another_seed_gives_other_bytes_and_progress_is_told(model: TwoTower):
    told: list[tuple[int, int]] = []
    known = replace(interactions(), n_items=63, content=halves(63, unknown=[62]))
    other = TwoTower.fit(known, SMALL | {"iterations": 2}, 8, Fitting(tell=lambda done, of: told.append((done, of))))
    assert told == [(1, 2), (2, 2)]
    assert digest(other) != digest(model)


def test_a_target_is_never_in_its_own_history_and_each_is_a_target_once():
    known = interactions()
    seen: list[tuple[int, int]] = []
    for batch in batches(known, 100, np.random.default_rng(1)):
        for row in np.flatnonzero(batch.real):
            target = int(batch.unique[batch.targets[row]])
            history = batch.unique[batch.history[row]][batch.weights[row] > 0]
            assert target not in history
            seen.append((target, round(float(np.exp(batch.log_odds[row])) * len(known))))
    assert len(seen) == len(known)
    assert sorted(seen) == sorted((int(item), int(known.popularity()[item])) for item in known.items)


def test_a_user_with_one_like_has_an_empty_history():
    known = interactions()
    alone = known.take(np.concatenate(([True], np.diff(known.users) > 0)))
    for batch in batches(alone, 64, np.random.default_rng(1)):
        assert not batch.weights.any()


def test_the_features_that_say_most_are_kept():
    said, strength = padded(halves(4, unknown=[3]))
    assert said.shape == strength.shape == (4, 1)
    assert strength[:, 0].tolist() == [1, 1, 1, 0]
    assert said[:3, 0].tolist() == [0, 1, 0]


def test_without_a_catalogue_it_is_refused():
    with pytest.raises(ContentNeeded, match="TwoTower learns from what is known"):
        TwoTower.fit(replace(interactions(), content=None), {}, 7)


def test_without_jax_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    program.cache_clear()
    with pytest.raises(Unsuitable, match=r"TwoTower needs jax, which is not installed; install ray-apps\[neural\]"):
        TwoTower.fit(interactions(), SMALL, 7)
    monkeypatch.undo()
    program.cache_clear()


@pytest.mark.parametrize("name", ["items", "bias", "mixing", "nobody"])
def test_arrays_with_numbers_that_are_none_are_refused(model: TwoTower, name: str):
    arrays = model.arrays()
    with pytest.raises(ValueError, match=f"model array '{name}': has values that are not finite"):
        TwoTower.from_arrays(arrays | {name: np.full_like(arrays[name], np.nan)}, 63)
