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
from ray_apps.serving.ranking import ArmFailure, Scores
from ray_apps.serving.together import TOGETHER, Together, together_of
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


class Asker:
    """Users who like one item each and want to see all scores, and what the version was said to take."""

    def __init__(self, model: ALS) -> None:
        self.took = list[float]()
        self.together = Together(model, self.took.append)

    async def scores(self, user: int) -> Scores:
        return await self.together.best(np.array([user], dtype=np.int32), np.ones(1, dtype=np.float32), lambda scores: scores)


def ask(asker: Asker, users: int) -> list[Scores]:
    async def at_once() -> list[Scores]:
        return list(await asyncio.gather(*(asker.scores(user) for user in range(users))))

    return asyncio.run(at_once())


def products(asked: Together, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many users each product was for."""
    made: list[int] = []
    right = asked._products

    def noted(users: list[together.Vector]) -> list[Scores]:
        made.append(len(users))
        return right(users)

    monkeypatch.setattr(asked, "_products", noted)
    return made


@pytest.mark.parametrize("users", [1, TOGETHER - 1, TOGETHER, 40])
def test_each_gets_their_own_scores(model: ALS, users: int):
    asker = Asker(model)
    for user, scores in enumerate(ask(asker, users)):
        alone = model.scores(np.array([user], dtype=np.int32), np.ones(1, dtype=np.float32))
        np.testing.assert_allclose(scores, alone, rtol=1e-5, atol=1e-6)
    assert len(asker.took) == users, "its pace learns from each"
    assert min(asker.took) >= 0


def test_whoever_asks_at_once_is_in_one_turn_of_bounded_size_and_others_have_theirs_between(model: ALS, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(together, "MOST_SCORES", 10 * ITEMS)
    asker = Asker(model)
    made = products(asker.together, monkeypatch)
    seen: list[int] = []

    async def one(user: int) -> None:
        await asker.scores(user)
        seen.append(len(made))

    async def at_once() -> None:
        await asyncio.gather(*(one(user) for user in range(25)))

    asyncio.run(at_once())
    assert made == [10, 10, 5]
    assert seen == [1] * 10 + [2] * 10 + [3] * 5, "nobody waits for a turn that is not theirs"
    ask(asker, 2)
    assert made[3:] == [2]


def test_who_has_gone_away_is_not_scored_and_holds_nobody_up(model: ALS, monkeypatch: pytest.MonkeyPatch):
    asker = Asker(model)
    made = products(asker.together, monkeypatch)

    async def one_goes() -> list[Scores | BaseException]:
        tasks = [asyncio.create_task(asker.scores(user)) for user in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    seen = asyncio.run(one_goes())
    assert [isinstance(each, np.ndarray) for each in seen] == [True, False, True]
    assert made == [2]


def test_all_may_have_gone_away(model: ALS):
    asker = Asker(model)

    async def all_go() -> Scores:
        task = asyncio.create_task(asker.scores(1))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return await asker.scores(2)

    assert asyncio.run(all_go()).shape == (ITEMS,)


def test_one_whose_answer_cannot_be_made_is_told_and_holds_nobody_up(model: ALS):
    asker = Asker(model)

    def wrong(_: Scores) -> Scores:
        raise StopIteration

    async def at_once() -> list[Scores | BaseException]:
        nowhere, last = np.array([ITEMS + 1], dtype=np.int32), np.array([1], dtype=np.int32)
        weight = np.ones(1, dtype=np.float32)
        asked = [
            asker.scores(0),
            asker.together.best(nowhere, weight, lambda scores: scores),
            asker.together.best(last, weight, wrong),
            asker.scores(3),
        ]
        return list(await asyncio.gather(*asked, return_exceptions=True))

    seen = asyncio.run(at_once())
    assert [type(each) for each in seen] == [np.ndarray, ArmFailure, ArmFailure, np.ndarray]
    assert "IndexError" in str(seen[1])
    assert "StopIteration" in str(seen[2])


def test_a_product_that_fails_fails_for_all_that_are_in_it(model: ALS, monkeypatch: pytest.MonkeyPatch):
    asker = Asker(model)
    monkeypatch.setattr(model, "user_vector", lambda history, weights: np.ones(FACTORS + 1))  # noqa: ARG005 - as the model's own

    async def at_once() -> list[Scores | BaseException]:
        return list(await asyncio.gather(*(asker.scores(user) for user in range(6)), return_exceptions=True))

    assert all(isinstance(each, ArmFailure) for each in asyncio.run(at_once()))


class Parting(ALS):
    """One that scores newcomers otherwise."""

    def for_newcomers(self) -> ALS:
        return self


def test_only_what_scores_everybody_by_items_vectors_is_scored_together(model: ALS):
    parting = Parting.from_arrays(good_arrays(ITEMS, FACTORS, seed=1), ITEMS)
    assert together_of(parting, lambda _: None) is None
    assert together_of(model, lambda _: None) is not None
    assert together_of(object(), lambda _: None) is None


def loaded(folder: Path, model: Arrays, liked: int = 5) -> LoadedArm:
    """A version on disk, loaded as a replica does."""
    store = open_store(folder.as_uri())
    digest = write_version(store, "v", model, items=ITEMS, users=50, liked=liked)
    arm = Arm(version="v", digest=digest, variant=Variant.STABLE, share=100)
    return load(arm, lambda version, hashed: open_version(store, version, hashed, folder / "cache", load_model), still)


def test_answers_of_users_who_ask_at_once_are_those_that_each_would_get_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
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
def test_a_broken_version_fails_each_who_asks(tmp_path: Path, model: Arrays):
    arm = loaded(tmp_path, model, liked=1)
    user = RecommendationRequest(user_id="somebody")
    questions = [of_user(user.model_copy(update={"user_id": f"user-{place:06d}"})) for place in range(6)]

    async def at_once() -> list[Ranked | BaseException]:
        return list(await asyncio.gather(*(attempt(arm, question, 60_000) for question in questions), return_exceptions=True))

    seen = asyncio.run(at_once())
    assert all(isinstance(each, ArmFailure) for each in seen), seen
    arm.close()
