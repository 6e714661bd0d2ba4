"""Users who ask at the same moment are scored in one product, each by their own vector."""

import asyncio

import numpy as np
import pytest

from bench.serving_line import good_arrays
from ray_apps.algorithms import load_model
from ray_apps.algorithms.als import ALS
from ray_apps.serving import together
from ray_apps.serving.together import TOGETHER, Scored, Together, together_of

ITEMS, FACTORS = 300, 8


@pytest.fixture
def model() -> ALS:
    loaded = load_model("ALS", good_arrays(ITEMS, FACTORS, seed=1), ITEMS)
    assert isinstance(loaded, ALS)
    return loaded


def vectors(model: ALS, users: int) -> list[together.Vector]:
    whole = Together(model)
    return [whole.user(np.array([user], dtype=np.int32), np.ones(1, dtype=np.float32)) for user in range(users)]


def ask(asked: Together, users: list[together.Vector]) -> list[Scored]:
    async def at_once() -> list[Scored]:
        return list(await asyncio.gather(*(asked.scores(user) for user in users)))

    return asyncio.run(at_once())


def products(asked: Together, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many users each product was for."""
    made: list[int] = []
    right = asked._products

    def noted(users: list[together.Vector]) -> list[together.Scores]:
        made.append(len(users))
        return right(users)

    monkeypatch.setattr(asked, "_products", noted)
    return made


@pytest.mark.parametrize("users", [1, TOGETHER - 1, TOGETHER, 40])
def test_each_gets_their_own_scores(model: ALS, users: int):
    who = vectors(model, users)
    for user, scored in zip(who, ask(Together(model), who), strict=True):
        np.testing.assert_allclose(scored.scores, model.items @ user, rtol=1e-5, atol=1e-6)
        assert scored.scores.shape == (ITEMS,)
        assert scored.seconds >= 0


def test_whoever_asks_at_once_is_in_one_product_of_bounded_size(model: ALS, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(together, "MOST_SCORES", 16 * ITEMS)
    asked = Together(model)
    made = products(asked, monkeypatch)
    ask(asked, vectors(model, 40))
    assert made == [16, 16, 8]
    ask(asked, vectors(model, 2))
    assert made[3:] == [2]


def test_who_has_gone_away_is_not_scored_and_holds_nobody_up(model: ALS, monkeypatch: pytest.MonkeyPatch):
    asked = Together(model)
    made = products(asked, monkeypatch)
    who = vectors(model, 3)

    async def one_goes() -> list[Scored | BaseException]:
        tasks = [asyncio.create_task(asked.scores(user)) for user in who]
        await asyncio.sleep(0)
        tasks[1].cancel()
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    seen = asyncio.run(one_goes())
    assert [isinstance(each, Scored) for each in seen] == [True, False, True]
    assert made == [2]


def test_a_product_that_fails_fails_for_all_that_are_in_it(model: ALS):
    asked = Together(model)

    async def at_once() -> list[Scored | BaseException]:
        wrong = np.ones(FACTORS + 1, dtype=np.float32)
        return list(await asyncio.gather(*(asked.scores(wrong) for _ in range(6)), return_exceptions=True))

    assert all(isinstance(each, ValueError) for each in asyncio.run(at_once()))


def test_only_what_scores_by_many_numbers_of_items_is_scored_together(model: ALS, monkeypatch: pytest.MonkeyPatch):
    assert together_of(model) is None
    assert together_of(object()) is None
    monkeypatch.setattr(together, "FROM_NUMBERS", ITEMS * FACTORS)
    assert together_of(model) is not None
