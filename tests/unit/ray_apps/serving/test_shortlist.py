"""Shortlists: exact for what is looked at, measured for what is missed."""

from dataclasses import replace

import numpy as np
import pytest

from ray_apps.algorithms.als import ALS, Trust
from ray_apps.serving.near import Near
from ray_apps.serving.shortlist import ENOUGH, FROM_ITEMS, Shortlist, cells_of, shortlist_of

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


def test_every_item_is_in_one_cell_with_its_own_vector(model: ALS):
    cells = cells_of(model.items)
    assert sorted(cells.members.tolist()) == list(range(ITEMS))
    assert (cells.vectors == model.items[cells.members]).all()
    assert cells.starts[0] == 0
    assert cells.starts[-1] == ITEMS


def test_what_is_looked_at_has_the_models_own_score_and_the_rest_none(model: ALS):
    shortlist = shortlist_of(model, model.items, histories(20))
    history = histories(30)[-1]
    look = shortlist.look()
    exact, found = model.scores(*history), look.scores(*history)
    looked_at = found > look.unseen
    assert 0 < looked_at.sum() < ITEMS
    assert found[looked_at] == pytest.approx(exact[looked_at], rel=1e-4, abs=1e-5)


def test_recall_is_measured_and_holds_for_others(model: ALS):
    shortlist = shortlist_of(model, model.items, histories(30))
    assert shortlist.recall >= ENOUGH
    others = histories(90)[-50:]
    best = [(set(np.argsort(-model.scores(*each))[:20]), set(np.argsort(-shortlist.look().scores(*each))[:20])) for each in others]
    assert np.mean([len(a & b) / 20 for a, b in best]) > ENOUGH - 0.1


def test_looking_at_the_farthest_cells_finds_next_to_nothing(model: ALS):
    """The broken twin."""
    cells = cells_of(model.items)
    turned = Shortlist(model, replace(cells, centres=-cells.centres), 16)
    best = [(set(np.argsort(-model.scores(*each))[:20]), set(np.argsort(-turned.look().scores(*each))[:20])) for each in histories(30)]
    assert np.mean([len(a & b) / 20 for a, b in best]) < ENOUGH / 2


def test_small_catalogues_need_none(model: ALS):
    class Version:
        def __init__(self) -> None:
            self.model = model

    near = Near()
    near.begin(Version())  # pyright: ignore[reportArgumentType] - as far as it is looked at
    assert ITEMS < FROM_ITEMS
    assert near.shortlist is None
