"""Shortlists: exact for what is ranked, measured for what is missed."""

from typing import Any

import numpy as np
import pytest

from ray_apps.algorithms.als import ALS, Trust
from ray_apps.serving.near import Near
from ray_apps.serving.shortlist import ENOUGH, FROM_ITEMS, RANKED, Shortlist, bytes_of, codes_of, shortlist_of

ITEMS, FACTORS, TASTES = 6000, 16, 40


@pytest.fixture(scope="module")
def model() -> ALS:
    drawn = np.random.default_rng(3)
    tastes = drawn.normal(size=(TASTES, FACTORS))
    items = (tastes[drawn.integers(0, TASTES, ITEMS)] + 0.3 * drawn.normal(size=(ITEMS, FACTORS))).astype(np.float32)
    wide = items.astype(np.float64)
    return ALS(items, np.linalg.inv(wide.T @ wide + 10 * np.eye(FACTORS)).astype(np.float64), Trust(alpha=2, damping=0, usual=1))


def histories(many: int) -> list[tuple[np.ndarray, np.ndarray]]:
    drawn = np.random.default_rng(4)
    return [(np.sort(drawn.choice(ITEMS, 8, replace=False)).astype(np.int32), np.ones(8, dtype=np.float32)) for _ in range(many)]


def test_codes_take_half_a_byte_a_number_and_are_the_same_for_the_same_items(model: ALS):
    users = np.stack([model.user_vector(*each) for each in histories(20)]).astype(np.float32)
    once, again = codes_of(model.items).search(users, 100), codes_of(model.items).search(users, 100)
    assert (once[0] == again[0]).all()
    assert (once[1] == again[1]).all()
    assert bytes_of(model.items) == ITEMS * FACTORS // 2


def test_what_is_ranked_has_the_models_own_score_and_the_rest_none(model: ALS):
    shortlist = shortlist_of(model, model.items, histories(20))
    history = histories(30)[-1]
    look = shortlist.look()
    exact, found = model.scores(*history), look.scores(*history)
    ranked = found > look.unseen
    assert ranked.sum() == look.ranked < ITEMS
    assert found[ranked] == pytest.approx(exact[ranked], rel=1e-4, abs=1e-5)


def test_recall_is_measured_and_holds_for_others(model: ALS):
    shortlist = shortlist_of(model, model.items, histories(30))
    assert shortlist.recall >= ENOUGH
    others = histories(90)[-50:]
    best = [(set(np.argsort(-model.scores(*each))[:20]), set(np.argsort(-shortlist.look().scores(*each))[:20])) for each in others]
    assert np.mean([len(a & b) / 20 for a, b in best]) > ENOUGH - 0.1


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_items_that_have_nothing_in_common_are_found_too_whatever_their_norms(spread: float):
    drawn = np.random.default_rng(8)
    items = (drawn.normal(size=(ITEMS, FACTORS)) * drawn.lognormal(0, spread, size=(ITEMS, 1))).astype(np.float32)
    wide = items.astype(np.float64)
    alone = ALS(items, np.linalg.inv(wide.T @ wide + 10 * np.eye(FACTORS)).astype(np.float64), Trust(alpha=2, damping=0, usual=1))
    assert shortlist_of(alone, items, histories(30)).recall >= ENOUGH


def test_the_items_with_the_worst_codes_are_none_of_the_best(model: ALS):
    """The broken twin."""
    turned = Shortlist(model, codes_of(-model.items), RANKED[0])
    best = [(set(np.argsort(-model.scores(*each))[:20]), set(np.argsort(-turned.look().scores(*each))[:20])) for each in histories(30)]
    assert np.mean([len(a & b) / 20 for a, b in best]) < ENOUGH / 2


def test_where_filters_leave_little_more_is_ranked_up_to_a_bound(model: ALS):
    shortlist = Shortlist(model, codes_of(model.items), 300)
    assert [shortlist.look(allowed).ranked for allowed in (1.0, 0.5, 0.1, 0.001, 0.0)] == [300, 600, 3000, RANKED[-1], RANKED[-1]]
    few, many = (
        np.isin(np.argsort(-look.scores(*histories(1)[0]))[: look.ranked], range(600)).sum()
        for look in (shortlist.look(), shortlist.look(0.1))
    )
    assert few < 100 < many


def test_more_than_there_are_is_all_of_them(model: ALS):
    history = histories(1)[0]
    assert Shortlist(model, codes_of(model.items), RANKED[-1]).look().scores(*history) == pytest.approx(
        model.scores(*history), rel=1e-4, abs=1e-5
    )


def test_small_catalogues_need_none(model: ALS):
    class Version:
        def __init__(self) -> None:
            self.model = model

    near = Near()
    near.begin(Version())  # pyright: ignore[reportArgumentType] - as far as it is looked at
    assert ITEMS < FROM_ITEMS
    assert near.shortlist is None


def test_whoever_measures_may_see_what_is_found(caller: Any, make_record: Any, model: ALS):
    caller.serve(make_record(1, ("good", 100)))
    caller.role = "operator"
    assert "recsys_shortlist_recall{" not in caller.call("GET", "/metrics").text
    made = Shortlist(model, codes_of(model.items), 100)
    made.recall = 0.97
    caller.replica.arms.serving.arms["good"].near.shortlist = made
    assert 'recsys_shortlist_recall{model="shop/movies",version="good"} 0.97' in caller.call("GET", "/metrics").text
