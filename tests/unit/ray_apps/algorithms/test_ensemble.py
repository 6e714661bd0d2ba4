import numpy as np
import pytest

from ray_apps.algorithms import ease
from ray_apps.algorithms.ensemble import PARTS, Ensemble
from ray_apps.algorithms.holding_out import HeldOut, held_out
from ray_apps.algorithms.interactions import Histories
from ray_apps.algorithms.recommender import Scores
from ray_apps.algorithms.weighing import CUT, gain, normalised, selected
from ray_apps.evaluation.ranking import best, hits, ndcg
from unit.ray_apps.algorithms.grouped import interactions

NOBODY = (np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32))


def test_normalised_scores_keep_their_order_and_lose_their_scale():
    chance = np.random.default_rng(1)
    scores = chance.normal(size=100).astype(np.float32)
    for scale, shift in ((1, 0), (1e-6, 0), (1e6, -3e7)):
        same = normalised((scores * scale + shift).astype(np.float32))
        assert abs(float(same.mean())) < 1e-5
        assert np.isclose(float(same.std()), 1, atol=1e-4)
        assert np.corrcoef(same, scores)[0, 1] > 0.999


def test_an_item_without_a_finite_score_counts_as_the_worst():
    same = normalised(np.array([1, -np.inf, 3, np.nan, 2], dtype=np.float32))
    assert same[1] == same[3] == same[0] == same.min()
    assert np.isfinite(same).all()


@pytest.mark.parametrize("scores", [[5, 5, 5], [-np.inf] * 3, [np.nan] * 3, [0, 0, 0]])
def test_scores_that_do_not_differ_say_nothing(scores: list[float]):
    assert normalised(np.array(scores, dtype=np.float32)).tolist() == [0, 0, 0]


def _tried(scores: Scores, seed: int = 3) -> HeldOut:
    """Users with five items known and three held out, among so many."""
    chance = np.random.default_rng(seed)
    drawn = np.stack([chance.choice(scores.shape[1], 8, replace=False) for _ in scores])
    rows = [np.sort(part, axis=1).reshape(-1).astype(np.int32) for part in (drawn[:, :5], drawn[:, 5:])]
    known, relevant = (
        Histories(indptr=np.arange(len(scores) + 1) * length, indices=row, weights=np.ones(row.size, dtype=np.float32))
        for row, length in zip(rows, (5, 3), strict=True)
    )
    return HeldOut(train=interactions(), histories=known, relevant=relevant)


def test_the_gain_of_a_blend_is_the_ndcg_of_its_lists():
    scores = np.random.default_rng(2).normal(size=(50, 40)).astype(np.float32)
    tried = _tried(scores)
    scores[np.repeat(np.arange(50), 5), tried.histories.indices] = -np.inf
    lists = np.stack([best(row, CUT, NOBODY[0]) for row in scores])
    assert np.isclose(gain(scores, tried), ndcg(hits(lists, tried.relevant), tried.relevant).mean)


def test_a_model_that_only_guesses_gets_no_weight_beside_one_that_knows():
    guess = np.random.default_rng(4).normal(size=(60, 100)).astype(np.float32)
    tried = _tried(guess)
    knows = np.zeros_like(guess)
    knows[np.repeat(np.arange(60), 3), tried.relevant.indices] = 1000
    assert selected({"guess": guess, "knows": knows}, tried) == {"knows": 1.0}


def test_two_that_know_a_half_each_are_blended_whatever_their_scales():
    chance = np.random.default_rng(5)
    noise = chance.normal(size=(2, 200, 100)).astype(np.float32)
    tried = _tried(noise[0])
    truth = np.zeros((200, 100), dtype=np.float32)
    truth[np.repeat(np.arange(200), 3), tried.relevant.indices] = 2
    first, second = 1e-4 * (truth + noise[0]), 1e4 * (truth + noise[1])
    weights = selected({"first": first, "second": second}, tried)
    assert min(weights.values()) > 0.3
    assert np.isclose(sum(weights.values()), 1)


def test_a_tenth_of_the_items_of_each_user_is_held_out_and_not_learned_from():
    known = interactions()
    tried = held_out(known, 7)
    for user in range(known.n_users):
        mine = known.items[known.users == user]
        relevant, _ = tried.relevant.of(user)
        history, _ = tried.histories.of(user)
        assert relevant.size == max(1, int(0.1 * mine.size))
        assert np.array_equal(np.sort(np.concatenate((relevant, history))), mine)
        assert np.array_equal(tried.train.items[tried.train.users == user], history)


def test_an_ensemble_adds_up_the_normalised_scores_of_its_parts():
    known = interactions()
    model = Ensemble.fit(known, {}, 7)
    arrays = model.arrays()
    names = bytes(np.asarray(arrays["parts"], dtype=np.uint8)).decode().split(",")
    wanted = np.zeros(known.n_items)
    history, weights = known.histories().of(3)
    for name, weight in zip(names, np.asarray(arrays["weights"], dtype=np.float64), strict=True):
        wanted += weight * normalised(PARTS[name].fit(known, {}, 7).scores(history, weights))
    assert np.allclose(model.scores(history, weights), wanted, atol=1e-5)


def test_the_names_of_its_arrays_are_names_of_files():
    assert all(key.replace("_", "").isalnum() and key.islower() for key in Ensemble.fit(interactions(), {}, 7).arrays())


def test_a_part_that_the_data_do_not_suit_is_left_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ease, "MOST_ITEMS", 10)
    assert "EASE" not in bytes(np.asarray(Ensemble.fit(interactions(), {}, 7).arrays()["parts"], dtype=np.uint8)).decode().split(",")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"parts": np.frombuffer(b"Magic", dtype=np.uint8)}, "model array 'parts' names 'Magic'"),
        ({"parts": np.frombuffer(b"ALS,ALS", dtype=np.uint8)}, "model array 'parts' names 'ALS, ALS'"),
        ({"parts": np.frombuffer(b"A" * 1000, dtype=np.uint8)}, "model array 'parts'"),
        ({"parts": np.empty(0, dtype=np.uint8)}, "model array 'parts'"),
        ({"parts": np.zeros(3)}, "model array 'parts'"),
        ({"parts": np.frombuffer(b"ALS", dtype=np.uint8), "weights": np.array([np.nan])}, "model array 'weights'"),
        ({"parts": np.frombuffer(b"ALS", dtype=np.uint8), "weights": np.array([-1.0])}, "model array 'weights'"),
        ({"parts": np.frombuffer(b"ALS", dtype=np.uint8), "weights": np.ones(2)}, "model array 'weights'"),
        ({"parts": np.frombuffer(b"ALS", dtype=np.uint8), "weights": np.ones(1)}, "part ALS: model array 'item_factors' is missing"),
    ],
)
def test_arrays_that_are_no_ensemble_are_refused_by_name(change: dict[str, np.ndarray], words: str):
    with pytest.raises(ValueError, match=words):
        Ensemble.from_arrays({"weights": np.ones(1)} | change, 60)
