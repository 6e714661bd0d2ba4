"""Collaborative where user and item are known, content where they are not."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ray_apps.algorithms import beliefs, hybrid
from ray_apps.algorithms.beliefs import GRID, PREFIXES, belief, rising
from ray_apps.algorithms.content import ContentNeeded
from ray_apps.algorithms.first_likes import with_a_new_item
from ray_apps.algorithms.hybrid import PARTS, Hybrid
from ray_apps.algorithms.interactions import Interactions
from ray_apps.algorithms.neighbours import Neighbours, neighbours_of
from ray_apps.algorithms.popularity import Popularity
from ray_apps.algorithms.recommender import Recommender
from ray_apps.algorithms.welcoming import for_newcomers
from unit.ray_apps.algorithms.grouped import halves, interactions, made

FEW = np.array([0, 2], dtype=np.int32)
NOBODY = np.empty(0, dtype=np.int32)
NEW_EVEN, NEW_ODD, NEW_UNKNOWN = 60, 61, 62


def ones(items: np.ndarray) -> np.ndarray:
    return np.ones(items.size, dtype=np.float32)


def with_new_items() -> Interactions:
    """Three items more that nobody has liked: one of each half, and one of which nothing is known."""
    return replace(interactions(), n_items=63, content=halves(63, unknown=[NEW_UNKNOWN]))


@pytest.fixture(scope="module")
def model() -> Hybrid:
    return Hybrid.fit(with_new_items(), {"itemShrinkage": 3.0}, 7)


def test_a_new_item_is_recommended_to_those_who_like_its_genre(model: Hybrid):
    for likes in (FEW, np.arange(0, 40, 2, dtype=np.int32)):
        scores = model.scores(likes, ones(likes))
        assert scores[NEW_EVEN] > scores[NEW_ODD]
        assert scores[NEW_EVEN] > np.median(scores[1:60:2])


def test_without_content_a_new_item_comes_after_all_that_somebody_liked(model: Hybrid):
    for likes in (NOBODY, FEW, FEW + 1):
        scores = model.scores(likes, ones(likes))
        assert scores[NEW_UNKNOWN] <= scores[:60].min() + 1e-6 or scores[NEW_UNKNOWN] <= 0


def test_a_long_history_is_believed_and_none_is_content_and_popularity(model: Hybrid):
    known = replace(model._known, beliefs=np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0]), near=_nobody_speaks(model), place=0)
    sure = Hybrid(model._part, known)
    long = np.arange(0, 60, 2, dtype=np.int32)
    own = model._part.scores(long, ones(long))
    assert np.allclose(sure.scores(long, ones(long)), own / own.max(), atol=1e-6)
    assert np.allclose(sure.scores(FEW, ones(FEW)), sure.both(FEW, ones(FEW))[1], atol=1e-6)
    wanted = model._known.wanted
    assert np.allclose(sure.scores(NOBODY, ones(NOBODY)), wanted / wanted.max(), atol=1e-6)


def test_a_newcomer_is_shown_one_new_item_and_who_is_known_is_not():
    known = replace(interactions(), n_items=63, content=halves(63, unknown=[NEW_UNKNOWN]))
    lists = {place: _list_of(Hybrid.fit(known, {"newItemPlace": place}, 7), FEW) for place in (0, 5)}
    assert NEW_EVEN not in lists[0][:10]
    assert lists[5][4] == NEW_EVEN
    assert [item for item in lists[5] if item != NEW_EVEN] == [item for item in lists[0] if item != NEW_EVEN]
    long = np.arange(0, 40, 2, dtype=np.int32)
    without, with_place = (Hybrid.fit(known, {"newItemPlace": place}, 7).scores(long, ones(long)) for place in (0, 5))
    assert np.array_equal(without, with_place)


def test_a_version_made_before_new_items_had_a_place_scores_as_it_did(model: Hybrid):
    earlier = np.array([0.0, 0.1, 0.5, 0.8, 1.0])
    arrays = {name: array for name, array in model.arrays().items() if name not in ("new", "place")} | {"beliefs": earlier}
    opened = Hybrid.from_arrays(arrays, 63)
    for likes in (1, 2, 3, 5, 7, 10, 25):
        history = np.arange(likes, dtype=np.int32)
        share = float(np.interp(np.log(likes), np.log(beliefs.EARLIER), earlier))
        collaborative, content = model.both(history, ones(history))
        assert np.allclose(opened.scores(history, ones(history)), share * collaborative + (1 - share) * content, atol=1e-6)


def _list_of(model: Hybrid, likes: np.ndarray) -> list[int]:
    scores = model.scores(likes, ones(likes))
    return [item for item in np.argsort(-scores, kind="stable").tolist() if item not in likes]


@pytest.mark.parametrize(
    ("scores", "history", "new", "wanted"),
    [
        ([5, 4, 3, 2, 1], [], [4], [0, 1, 4, 2, 3]),
        ([5, 4, 3, 2, 1], [0], [4], [1, 2, 4, 3]),
        ([5, 4, 3, 2, 1], [], [3, 4], [0, 1, 3, 2, 4]),
        ([1, 2, 3, 4, 5], [], [4, 0], [4, 3, 2, 1, 0]),
        ([3, 3, 3, 3, 1], [], [4], [4, 0, 1, 2, 3]),
        ([5, 4, 3, 2, 1], [4], [4], [0, 1, 2, 3]),
        ([5, 4, 3, 2, 1], [0, 1, 2], [4], [3, 4]),
        ([5, 4, 3, 2, 1], [], [], [0, 1, 2, 3, 4]),
    ],
)
def test_the_best_new_item_stands_third_or_before(scores: list[float], history: list[int], new: list[int], wanted: list[int]):
    given = np.array(scores, dtype=np.float32)
    raised = with_a_new_item(given, np.array(history, dtype=np.int32), np.isin(np.arange(5), new), 3)
    assert given.tolist() == scores
    assert [item for item in np.argsort(-raised, kind="stable").tolist() if item not in history] == wanted


def _nobody_speaks(model: Hybrid) -> Neighbours:
    return neighbours_of(model._known.content, np.ones(63, dtype=np.int64), shrinkage=0.0, most=5)


def test_an_item_speaks_for_itself_the_more_the_more_users_liked_it():
    popularity = np.array([0, 1, 4, 100, 100, 100])
    near = neighbours_of(halves(6), popularity, shrinkage=1.0, most=2)
    assert np.allclose(near.trust, [0.0, 0.5, 0.8, 1.0, 1.0, 1.0])
    rows = [near.indices[near.indptr[item] : near.indptr[item + 1]].tolist() for item in range(6)]
    assert rows == [[2, 4], [3, 5], [4], [], [], []]


def test_an_item_of_which_nothing_is_known_speaks_for_itself():
    near = neighbours_of(halves(6, unknown=[0]), np.array([0, 1, 4, 9, 9, 9]), shrinkage=1.0, most=2)
    assert near.trust[0] == 1
    assert near.indptr[1] == 0


def test_beliefs_never_fall_and_win_what_can_be_won():
    chance = np.random.default_rng(3)
    for _ in range(20):
        gained = chance.random((4, 5))
        path = rising(gained)
        every = [(a, b, c, d) for a in range(5) for b in range(a, 5) for c in range(b, 5) for d in range(c, 5)]
        assert gained[range(4), path].sum() == max(gained[range(4), list(each)].sum() for each in every)
        assert (np.diff(path) >= 0).all()


def test_belief_is_none_without_likes_and_lies_between_what_was_learned():
    table = np.array([0.0, 0.1, 0.1, 0.2, 0.8, 1.0])
    assert belief(table, 0) == 0
    assert [belief(table, likes) for likes in PREFIXES] == table.tolist()
    assert 0.2 < belief(table, 17) < 0.8
    assert belief(table, 10_000) == 1


def test_where_tastes_are_collaborative_long_histories_are_believed():
    learned = beliefs.beliefs_of(interactions(users=300, seed=4), 7, lambda _: lambda history, _: _halves(history))
    assert set(learned.regulars.tolist()) <= set(GRID.tolist())
    assert min(learned.regulars[-1], learned.newcomers[-1]) >= 0.8


def _halves(history: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Right about the taste by one score, and wrong by the other."""
    own = (np.arange(60) % 2 == np.round((history % 2).mean())).astype(np.float64)
    return own, 1 - own


@pytest.mark.parametrize("likes", [8, 25])
def test_those_who_were_there_before_are_believed_from_their_tenth_like_on_and_newcomers_are_not(likes: int):
    """Newcomers like the first items, which content knows; all others what the collaborative scores say."""
    known_to_all = likes + 2
    chance = np.random.default_rng(5)
    rows: list[tuple[int, int, int]] = []
    for user in range(200):
        new = user >= 180
        items = chance.permutation(known_to_all)[:likes] if new else known_to_all + 2 * chance.choice(25, size=15, replace=False) + user % 2
        rows += [(user, int(item), (1_000_000 if new else 0) + 100 * user + place) for place, item in enumerate(items)]
    user, item, time = (np.array(column) for column in zip(*rows, strict=True))
    order = np.lexsort((item, user))
    known = made(user[order], item[order], np.ones(user.size), time[order], n_items=known_to_all + 50)

    def both(history: np.ndarray, _: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        places = np.arange(known_to_all + 50)
        return (places >= known_to_all) * (places % 2 == np.median(history % 2)) * 1.0, (places < known_to_all) * 1.0

    learned = beliefs.beliefs_of(known, 7, lambda _: both)
    assert learned.regulars[: beliefs.FEW].max() <= 0.5 < learned.regulars[beliefs.FEW :].min()
    assert learned.newcomers.max() <= 0.5, "no newcomer tells of 30 likes: they are believed as with fewer"
    assert learned.newcomers[: beliefs.FEW].tolist() == learned.regulars[: beliefs.FEW].tolist()


def test_a_newcomers_long_history_is_blended_by_their_own_shares_and_a_short_one_as_any(model: Hybrid):
    shares = {"beliefs": np.array([0.1, 0.2, 0.2, 0.9, 1.0, 1.0]), "newcomers": np.array([0.1, 0.2, 0.2, 0.3, 0.3, 0.3])}
    opened = Hybrid.from_arrays(model.arrays() | shares, 63)
    welcoming = for_newcomers(opened)
    long = np.arange(0, 20, 2, dtype=np.int32)
    collaborative, content = opened.both(long, ones(long))
    for asked, share in ((opened, 0.9), (welcoming, 0.3)):
        assert np.allclose(asked.scores(long, ones(long)), share * collaborative + (1 - share) * content, atol=1e-6)
    assert np.array_equal(opened.scores(FEW, ones(FEW)), welcoming.scores(FEW, ones(FEW)))


def test_a_version_made_before_newcomers_were_told_apart_scores_them_as_it_did(model: Hybrid):
    opened = Hybrid.from_arrays({name: array for name, array in model.arrays().items() if name != "newcomers"}, 63)
    long = np.arange(0, 24, 2, dtype=np.int32)
    assert np.array_equal(for_newcomers(opened).scores(long, ones(long)), opened.scores(long, ones(long)))


def test_a_model_that_does_not_tell_newcomers_apart_scores_them_itself():
    popular = Popularity.fit(interactions(), {}, 7)
    assert for_newcomers(popular) is popular


@pytest.mark.parametrize("better", PARTS)
def test_the_part_is_the_one_whose_scores_win_more_within_training(better: type[Recommender], monkeypatch: pytest.MonkeyPatch):
    learned = iter(
        [
            beliefs.Beliefs(regulars=np.full(6, place / 4), newcomers=np.zeros(6), gained=3.0 + (part is better))
            for place, part in enumerate(PARTS)
        ]
    )
    asked: list[Interactions] = []

    def beliefs_of(known: Interactions, seed: int, fit: Callable[[Interactions], beliefs.Both]) -> beliefs.Beliefs:
        del seed, fit
        asked.append(known)
        return next(learned)

    monkeypatch.setattr(hybrid, "beliefs_of", beliefs_of)
    known = with_new_items()
    arrays = Hybrid.fit(known, {}, 7).arrays()
    assert asked == [known, known]
    assert PARTS[int(arrays["collaborative"])] is better
    assert arrays["beliefs"].tolist() == [PARTS.index(better) / 4] * 6, "with the shares that were learned with it"


def test_what_shares_win_is_what_could_be_found_with_them():
    learned = beliefs.beliefs_of(interactions(users=300, seed=4), 7, lambda _: lambda history, _: _halves(history))
    wrong = beliefs.beliefs_of(interactions(users=300, seed=4), 7, lambda _: lambda history, _: (_halves(history)[1], _halves(history)[1]))
    assert learned.gained > 2 * wrong.gained > 0


def test_too_few_users_to_learn_from_leave_caution():
    learned = beliefs.beliefs_of(interactions(users=20), 7, _never)
    assert learned.regulars.tolist() == beliefs.CAUTIOUS.tolist()
    assert learned.newcomers.tolist() == beliefs.CAUTIOUS_OF_NEWCOMERS.tolist()


def _never(_: Interactions) -> beliefs.Both:
    raise AssertionError


def test_without_a_catalogue_there_is_no_hybrid():
    with pytest.raises(ContentNeeded, match=r"Hybrid learns from what is known of the items.*set spec\.data\.catalogue"):
        Hybrid.fit(replace(interactions(), content=None), {}, 7)


@pytest.mark.parametrize(
    ("name", "hostile", "words"),
    [
        ("near_indices", lambda old: np.full_like(old, 99), "'near_indices': points outside the 63 items"),
        ("near_indptr", lambda old: old[::-1], "'near_indptr': bounds that rise"),
        ("near_shares", lambda old: np.full_like(old, np.nan), "have values that are not finite"),
        ("content_indices", lambda old: old + 2, "points outside the 2 features"),
        ("content_weights", lambda old: np.full_like(old, np.inf), "not finite"),
        ("features", lambda _: np.array(-3), "points outside the 0 features"),
        ("wanted", lambda old: np.full_like(old, np.nan), "finite numbers"),
        ("beliefs", lambda old: old + 2, "shares from 0 to 1"),
        ("collaborative", lambda _: np.array(9), "9 is no part"),
        ("beliefs", lambda old: old[:2], "'beliefs'"),
        ("newcomers", lambda old: old - 2, "'newcomers': shares from 0 to 1"),
        ("newcomers", lambda old: old[:2], "'newcomers': 2 shares"),
        ("newcomers", lambda old: np.full_like(old, np.nan), "'newcomers'"),
        ("new", lambda old: old.astype(np.float64), "'new'"),
        ("place", lambda _: np.array(0.5), "'place'"),
    ],
)
def test_hostile_arrays_are_refused(model: Hybrid, name: str, hostile: Callable[[np.ndarray], np.ndarray], words: str):
    arrays = model.arrays()
    with pytest.raises(ValueError, match=words):
        Hybrid.from_arrays(arrays | {name: hostile(arrays[name])}, 63)
