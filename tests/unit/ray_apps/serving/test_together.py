"""Users who ask at the same moment are scored in one product, each by their own vector."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from bench.serving_line import Arrays, arrays_not_finite, arrays_that_raise, good_arrays, write_version
from ray_apps.algorithms import load_model
from ray_apps.algorithms.als import ALS
from ray_apps.serving import together
from ray_apps.serving.answering import Ranked, attempt, rank
from ray_apps.serving.arms import LoadedArm, load
from ray_apps.serving.online.live import still
from ray_apps.serving.questions import of_user
from ray_apps.serving.ranking import ArmFailure
from ray_apps.serving.together import TOGETHER, Scored, Together, together_of
from ray_apps.stores.objects import open_store
from ray_apps.stores.registry import open_version
from recsys_schemas.serving_api import RecommendationRequest
from recsys_schemas.serving_record import Arm, Variant

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


def loaded(folder: Path, model: Arrays, liked: int = 5) -> LoadedArm:
    """A version on disk, loaded as a replica does."""
    store = open_store(folder.as_uri())
    digest = write_version(store, "v", model, items=ITEMS, users=50, liked=liked)
    arm = Arm(version="v", digest=digest, variant=Variant.STABLE, share=100)
    return load(arm, lambda version, hashed: open_version(store, version, hashed, folder / "cache", load_model), still)


def test_answers_of_users_who_ask_at_once_are_those_that_each_would_get_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(together, "FROM_NUMBERS", 1)
    arm = loaded(tmp_path, good_arrays(ITEMS, FACTORS, seed=2))
    assert arm.together is not None
    made = products(arm.together, monkeypatch)
    names = [*(f"user-{user:06d}" for user in range(12)), "nobody"]
    questions = [of_user(RecommendationRequest(user_id=name, k=7, exclude=["item-000003"])) for name in names]

    async def at_once() -> list[Ranked]:
        return list(await asyncio.gather(*(attempt(arm, question, 60_000) for question in questions)))

    for question, ranked in zip(questions, asyncio.run(at_once()), strict=True):
        alone = rank(arm, question)
        assert (ranked.reason, [item for item, _ in ranked.items]) == (alone.reason, [item for item, _ in alone.items])
        np.testing.assert_allclose([score for _, score in ranked.items], [score for _, score in alone.items], rtol=1e-5)
    assert made == [12], "nothing is known of the last one"
    arm.close()


@pytest.mark.parametrize("model", [arrays_not_finite(ITEMS), arrays_that_raise(ITEMS)], ids=["not finite", "raises"])
def test_a_broken_version_fails_each_who_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Arrays):
    monkeypatch.setattr(together, "FROM_NUMBERS", 1)
    arm = loaded(tmp_path, model, liked=1)
    user = RecommendationRequest(user_id="somebody")
    questions = [of_user(user.model_copy(update={"user_id": f"user-{place:06d}"})) for place in range(6)]

    async def at_once() -> list[Ranked | BaseException]:
        return list(await asyncio.gather(*(attempt(arm, question, 60_000) for question in questions), return_exceptions=True))

    seen = asyncio.run(at_once())
    assert all(isinstance(each, ArmFailure) for each in seen), seen
    arm.close()
