"""Data that no algorithm was made for: each gives a model that works, or a refusal in words."""

from collections.abc import Callable

import numpy as np
import pytest

from ray_apps.algorithms import ALGORITHMS, load_model
from ray_apps.algorithms.content import ContentNeeded
from ray_apps.algorithms.hyperparameters import HyperparameterError, Unsuitable
from ray_apps.algorithms.interactions import Interactions
from unit.ray_apps.algorithms.grouped import interactions, made

EVERY = pytest.mark.parametrize("name", sorted(ALGORITHMS))
NOBODY = (np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32))


def _one_user() -> Interactions:
    return made(np.zeros(5, dtype=int), np.arange(5), np.ones(5), np.arange(5), n_items=8)


def _one_item() -> Interactions:
    return made(np.arange(5), np.zeros(5, dtype=int), np.ones(5), np.arange(5), n_users=8)


def _one_like() -> Interactions:
    return made(np.zeros(1, dtype=int), np.zeros(1, dtype=int), np.ones(1), np.zeros(1, dtype=int))


def _everybody_likes_all_alike() -> Interactions:
    users, items = np.divmod(np.arange(200), 10)
    return made(users, items, np.ones(200), np.zeros(200, dtype=int))


def _nothing_but_a_catalogue() -> Interactions:
    nothing = np.empty(0, dtype=int)
    return made(nothing, nothing, np.empty(0), nothing, n_users=0, n_items=4)


def _a_user_with_everything() -> Interactions:
    """One user with 100,000 events, which are one interaction for each item there is, beside 50 others."""
    chance = np.random.default_rng(1)
    few = [np.sort(chance.choice(2_000, size=10, replace=False)) for _ in range(50)]
    users = np.concatenate((np.zeros(2_000, dtype=int), np.repeat(np.arange(1, 51), 10)))
    return made(users, np.concatenate((np.arange(2_000), *few)), np.ones(users.size), np.zeros(users.size, dtype=int))


CASES: list[Callable[[], Interactions]] = [
    _one_user,
    _one_item,
    _one_like,
    _everybody_likes_all_alike,
    _nothing_but_a_catalogue,
    _a_user_with_everything,
]


@EVERY
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.strip("_"))
def test_strange_data_give_a_model_that_works_or_a_refusal_in_words(name: str, case: Callable[[], Interactions]):
    known = case()
    words = ""
    small = {"iterations": 3} if "iterations" in ALGORITHMS[name].parameters else {}
    try:
        model = ALGORITHMS[name].fit(known, small, 7)
    except (Unsuitable, ContentNeeded) as refused:
        words = str(refused)
        model = None
    if model is None:
        assert len(words.split()) > 5
        return
    again = load_model(name, model.arrays(), known.n_items)
    histories = [NOBODY, *(known.histories().of(user) for user in range(min(known.n_users, 3)))]
    for history, weights in histories:
        scores = again.scores(history, weights)
        assert scores.shape == (known.n_items,)
        assert np.isfinite(scores).all()


@EVERY
def test_hyperparameters_out_of_range_are_refused_for_every_algorithm(name: str):
    for parameter, limits in ALGORITHMS[name].parameters.items():
        for wrong in ("many", -1, 1e300, float("nan"), float("inf"), True):
            if wrong in limits.choices or (wrong is True and limits.choices):
                continue
            with pytest.raises(HyperparameterError, match=f"hyperparameters.{parameter}: .* use "):
                ALGORITHMS[name].fit(interactions(), {parameter: wrong}, 7)


@EVERY
def test_hostile_arrays_are_refused_by_name_for_every_algorithm(name: str):
    try:
        arrays = ALGORITHMS[name].fit(interactions(), {}, 7).arrays()
    except ContentNeeded:
        pytest.skip("needs a catalogue; its own tests have one")
    for key, array in arrays.items():
        for wrong in (array.astype(np.complex128), array[None], array.astype("U8")):
            with pytest.raises(ValueError, match=f"{key}|'{key.split('_', 1)[-1]}'"):
                load_model(name, arrays | {key: wrong}, 60)
        if (name == "Hybrid" and key in ("new", "newcomers")) or key.endswith("trust"):
            continue  # a version that was made before there were such has none
        with pytest.raises(ValueError, match="is missing"):
            load_model(name, {other: value for other, value in arrays.items() if other != key}, 60)
