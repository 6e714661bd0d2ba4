import numpy as np
from implicit.cpu.bpr import BayesianPersonalizedRanking

from ray_apps.algorithms.bpr import BPR, FOLD_RIDGE
from ray_apps.algorithms.recommender import Fitting
from unit.ray_apps.algorithms.grouped import interactions

ASKED = {"factors": 8, "iterations": 60, "learningRate": 0.1, "regularization": 0.02}


def kernel() -> BayesianPersonalizedRanking:
    known = interactions()
    model = BayesianPersonalizedRanking(
        factors=8, iterations=60, learning_rate=0.1, regularization=0.02, num_threads=1, random_state=7, dtype=np.float32
    )
    model.fit(known.histories().matrix(known.n_items), show_progress=False)
    return model


def test_items_are_those_of_implicit_whatever_the_threads():
    arrays = BPR.fit(interactions(), ASKED, 7, Fitting(threads=2)).arrays()
    assert np.array_equal(arrays["item_factors"], kernel().item_factors[:, :8])
    assert np.array_equal(arrays["item_biases"], kernel().item_factors[:, 8])


def test_the_map_from_histories_to_users_is_the_ridge_regression_on_the_users_of_training():
    known, theirs = interactions(), kernel()
    histories = known.histories()
    profiles = np.ones((known.n_users, 9))
    for user in range(known.n_users):
        liked, weights = histories.of(user)
        profiles[user, :8] = weights @ theirs.item_factors[liked, :8] / np.sqrt(liked.size)
    stacked = np.vstack((profiles, np.sqrt(FOLD_RIDGE) * np.eye(9)))
    wanted = np.linalg.lstsq(stacked, np.vstack((theirs.user_factors[:, :8], np.zeros((9, 8)))), rcond=None)[0]
    assert np.allclose(BPR.fit(known, ASKED, 7).arrays()["fold"], wanted, atol=1e-4)


def test_a_user_folded_in_ranks_items_as_the_vector_of_training_does():
    known, theirs = interactions(), kernel()
    ours = BPR.fit(known, ASKED, 7).scores_many(known.histories())
    stored = theirs.user_factors @ theirs.item_factors.T
    alike = [np.corrcoef(ours[user], stored[user])[0, 1] for user in range(known.n_users)]
    assert np.median(alike) > 0.95
