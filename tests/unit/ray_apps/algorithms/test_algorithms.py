import re
import subprocess
import sys

import numpy as np
import pytest

from ray_apps.algorithms import ALGORITHMS, load_model
from ray_apps.algorithms.hyperparameters import HyperparameterError
from unit.ray_apps.algorithms.grouped import interactions

EVERY = pytest.mark.parametrize("name", sorted(ALGORITHMS))


@EVERY
def test_the_same_interactions_and_seed_give_the_same_bytes(name: str):
    known = interactions()
    first, second = (ALGORITHMS[name].fit(known, {}, 7).arrays() for _ in range(2))
    assert {key: array.tobytes() for key, array in first.items()} == {key: array.tobytes() for key, array in second.items()}


@EVERY
def test_a_model_made_of_read_only_arrays_scores_the_same(name: str):
    known = interactions()
    model = ALGORITHMS[name].fit(known, {}, 7)
    arrays = {key: array.copy() for key, array in model.arrays().items()}
    for array in arrays.values():
        array.flags.writeable = False
    again = load_model(name, arrays, known.n_items)
    history, weights = known.histories().of(5)
    assert np.array_equal(again.scores(history, weights), model.scores(history, weights))


@EVERY
def test_scoring_many_users_at_once_is_scoring_each(name: str):
    known = interactions()
    model = ALGORITHMS[name].fit(known, {}, 7)
    histories = known.histories()
    together = model.scores_many(histories)
    for user in range(known.n_users):
        assert np.allclose(together[user], model.scores(*histories.of(user)), atol=1e-5)


@EVERY
def test_a_user_without_history_gets_finite_scores_of_all_items(name: str):
    known = interactions()
    scores = ALGORITHMS[name].fit(known, {}, 7).scores(np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32))
    assert scores.shape == (known.n_items,)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("name", sorted(set(ALGORITHMS) - {"Popularity", "RecentPopularity"}))
def test_a_new_user_is_given_the_items_of_those_who_like_the_same(name: str):
    model = ALGORITHMS[name].fit(interactions(), {}, 7)
    scores = model.scores(np.array([0, 2, 4], dtype=np.int32), np.ones(3, dtype=np.float32))
    best = 5 + np.argsort(-scores[5:])[:10]
    assert np.count_nonzero(best % 2 == 0) >= 8


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("ALS", {"factors": 0}, "hyperparameters.factors: 0 is out of range; use a whole number from 1 to 1024"),
        ("ALS", {"factors": 2.5}, "hyperparameters.factors: 2.5 does not fit; use a whole number from 1 to 1024"),
        ("ALS", {"alpha": -1.0}, "hyperparameters.alpha: -1.0 is out of range"),
        ("ALS", {"alpha": float("nan")}, "hyperparameters.alpha: nan is out of range"),
        ("ALS", {"factors": float("nan")}, "hyperparameters.factors: nan does not fit"),
        ("ALS", {"factors": float("inf")}, "hyperparameters.factors: inf does not fit"),
        ("ALS", {"regularization": "high"}, "hyperparameters.regularization: 'high' does not fit; use a number from 0 to 10000"),
        ("ItemItem", {"factors": 64}, "hyperparameters.factors: 64 is not taken by ItemItem; it takes: neighbours, similarity"),
        ("ItemItem", {"similarity": "Jaccard"}, "hyperparameters.similarity: 'Jaccard' does not fit; use one of Cosine, BM25"),
        ("ItemItem", {"similarity": 3}, "hyperparameters.similarity: 3 does not fit; use one of Cosine, BM25"),
        ("RecentPopularity", {"halfLifeDays": 0}, "hyperparameters.halfLifeDays: 0 is out of range; use a number from 0.01 to 36500"),
        ("EASE", {"ridge": 0}, "hyperparameters.ridge: 0 is out of range"),
        ("BPR", {"learningRate": 2}, "hyperparameters.learningRate: 2 is out of range"),
        ("Popularity", {"alpha": 1.0}, "it takes: none"),
    ],
)
def test_a_hyperparameter_that_does_not_fit_is_refused_by_name_value_and_range(name: str, given: dict[str, float | int | str], words: str):
    with pytest.raises(HyperparameterError, match=re.escape(words)):
        ALGORITHMS[name].fit(interactions(), given, 7)


@EVERY
def test_arrays_of_another_catalogue_are_refused(name: str):
    known = interactions()
    arrays = ALGORITHMS[name].fit(known, {}, 7).arrays()
    with pytest.raises(ValueError, match="model array"):
        load_model(name, arrays, known.n_items + 1)
    with pytest.raises(ValueError, match="is missing"):
        load_model(name, {}, known.n_items)


def test_an_unknown_algorithm_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=f"'Magic' is unknown; use one of {', '.join(sorted(ALGORITHMS))}"):
        load_model("Magic", {}, 3)


def test_scoring_needs_no_library_of_training():
    program = (
        "import sys, ray_apps.algorithms; assert not {'implicit', 'scipy', 'ray', 'pandas', 'jax'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
