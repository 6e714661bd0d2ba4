import numpy as np
import pytest
from implicit.cpu.als import AlternatingLeastSquares

from ray_apps.algorithms import als
from ray_apps.algorithms.als import ALS, FULL_PENALTY
from ray_apps.algorithms.recommender import Fitting
from unit.ray_apps.algorithms.grouped import interactions, made

ASKED = {"factors": 8, "alpha": 3.0, "regularization": 0.5}


def test_the_vector_of_a_user_solves_the_normal_equations_of_hu_koren_and_volinsky():
    known = interactions()
    model = ALS.fit(known, ASKED | {"damping": 0.0}, 7)
    items = np.asarray(model.arrays()["item_factors"], dtype=np.float64)
    penalty = 0.5 * np.sqrt(len(known) / FULL_PENALTY) * np.eye(8)
    for length in (1, 7, 8, 9, 20):  # fewer than the factors, as many, and more
        history = np.arange(length, dtype=np.int32)
        weights = np.linspace(0.1, 1, length).astype(np.float32)
        confidence, preference = np.ones(known.n_items), np.zeros(known.n_items)
        confidence[history] += 3.0 * weights.astype(np.float64)
        preference[history] = 1
        wanted = np.linalg.solve(items.T @ (confidence[:, None] * items) + penalty, items.T @ (confidence * preference))
        assert np.allclose(model.user_vector(history, weights), wanted, rtol=1e-6, atol=1e-9)


def test_who_likes_four_times_as_much_as_is_usual_is_trusted_half_as_much_at_damping_one_half():
    known = interactions()
    usual = len(known) / known.n_users
    plain, damped = (ALS.fit(known, ASKED | {"damping": damping}, 7) for damping in (0.0, 0.5))
    same = ALS.from_arrays(damped.arrays() | {"trust": plain.arrays()["trust"]}, known.n_items)
    history = np.arange(int(4 * usual), dtype=np.int32)
    weights = np.full(history.size, 0.5, dtype=np.float32)
    wanted = same.user_vector(history, weights * np.float32(np.sqrt(usual / history.size)))
    assert np.allclose(damped.user_vector(history, weights), wanted, rtol=1e-4)


def test_without_damping_items_are_those_of_implicit():
    known = interactions()
    confidence = known.histories().matrix(known.n_items)
    confidence.data = (1 + 3 * confidence.data).astype(np.float32)
    penalty = 0.5 * np.sqrt(len(known) / FULL_PENALTY)
    kernel = AlternatingLeastSquares(factors=8, regularization=penalty, iterations=15, num_threads=1, random_state=7, dtype=np.float32)
    kernel.fit(confidence, show_progress=False)
    model = ALS.fit(known, ASKED | {"damping": 0.0}, 7)
    assert np.allclose(np.asarray(model.arrays()["item_factors"]), kernel.item_factors, atol=0.01)


def test_the_arrays_do_not_depend_on_the_threads():
    one, two = (ALS.fit(interactions(), ASKED, 7, Fitting(threads=threads)).arrays()["item_factors"] for threads in (1, 2))
    assert one.tobytes() == two.tobytes()


def test_the_defaults_leave_something_of_the_tastes_in_small_data():
    known = interactions(users=40, items=30)
    scores = ALS.fit(known, {}, 7).scores_many(known.histories())
    own = np.arange(40)[:, None] % 2 == np.arange(30) % 2
    assert scores[own].mean() > 3 * abs(scores[~own].mean())


@pytest.mark.parametrize("trust", [[np.nan, 0.5, 10.0], [3.0, 0.5, 0.0], [3.0, np.inf, 1.0]])
def test_a_trust_that_is_no_number_is_refused(trust: list[float]):
    arrays = ALS.fit(interactions(), ASKED, 7).arrays() | {"trust": np.array(trust)}
    with pytest.raises(ValueError, match="model array 'trust'"):
        ALS.from_arrays(arrays, 60)


def test_users_who_liked_nothing_do_not_change_what_is_usual():
    known = interactions()
    wider = made(known.users, known.items, known.weights, known.times, n_users=500, n_items=60)
    assert np.array_equal(np.asarray(ALS.fit(wider, ASKED, 7).arrays()["trust"]), np.asarray(ALS.fit(known, ASKED, 7).arrays()["trust"]))


def test_a_model_too_large_to_keep_its_projected_vectors_finds_the_same_users(monkeypatch: pytest.MonkeyPatch):
    arrays = ALS.fit(interactions(), ASKED, 7).arrays()
    kept, made = (ALS.from_arrays(arrays, interactions().n_items) for _ in range(2))
    for length in (1, 8, 20):
        history, weights = np.arange(length, dtype=np.int32), np.linspace(0.1, 1, length).astype(np.float32)
        known = kept.user_vector(history, weights)
        with monkeypatch.context() as small:
            small.setattr(als, "MOST_PROJECTED", 0)
            assert np.allclose(made.user_vector(history, weights), known, rtol=1e-9)
