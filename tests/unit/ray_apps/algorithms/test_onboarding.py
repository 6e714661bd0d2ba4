"""Lists for people of whom no event is known."""

import numpy as np
import pytest

from ray_apps.algorithms.content import content_of
from ray_apps.algorithms.interactions import Content, Interactions
from ray_apps.algorithms.onboarding import genres_liked, onboarding_of
from ray_apps.algorithms.recent_popularity import recent_popularity
from recsys_schemas.catalogue import CatalogueItem
from unit.ray_apps.algorithms.grouped import made

DAY = 86_400_000
IDS = ["alien", "heat", "new crime", "up", "unknown"]
CONTENT = content_of(
    [
        CatalogueItem(item_id="alien", genres=["Horror"]),
        CatalogueItem(item_id="heat", genres=["Crime", "Drama"]),
        CatalogueItem(item_id="new crime", genres=["Crime"]),
        CatalogueItem(item_id="up", genres=["Comédie"]),
    ],
    IDS,
)
POPULARITY = np.array([5.0, 4.0, 0.0, 6.0, 0.0])
NONE = np.empty(0, dtype=np.int32)


def best(scores: np.ndarray) -> list[str]:
    return [IDS[item] for item in np.argsort(-scores, kind="stable")]


def test_with_nothing_said_it_is_popularity_and_what_is_unknown_comes_last():
    scores = onboarding_of(CONTENT, POPULARITY).scores()
    assert best(scores) == ["up", "alien", "heat", "new crime", "unknown"]
    assert scores[4] == 0


def test_a_genre_that_somebody_likes_comes_first_and_a_new_item_of_it_before_others_new():
    scores = onboarding_of(CONTENT, np.array([5.0, 4.9, 0.0, 5.0, 0.0])).scores(["crime"])
    assert best(scores)[0] == "heat"
    plain = onboarding_of(CONTENT, np.array([5.0, 4.9, 0.0, 5.0, 0.0])).scores()
    assert scores[2] > 2 * plain[2]
    assert scores[0] == plain[0]


def test_a_new_item_is_found_by_whoever_likes_its_genre_and_by_nobody_without_content():
    onboarding = onboarding_of(CONTENT, np.array([1.0, 1.0, 0.0, 1.0, 0.0]))
    crime, horror = onboarding.scores(["Crime"], np.array([1], dtype=np.int32)), onboarding.scores(["Horror"])
    assert crime[2] > 2 * horror[2]
    assert crime[4] == horror[4] == 0


def test_a_new_item_of_a_genre_whose_items_are_popular_comes_before_one_of_another():
    chance = np.random.default_rng(2)
    genres = np.arange(200) % 2
    popularity = np.where(genres == 0, 30, 3) * chance.uniform(0.8, 1.2, 200)
    popularity[[198, 199]] = 0
    scores = onboarding_of(_of_genres(genres), popularity).scores()
    assert scores[198] == pytest.approx(30, rel=0.1)
    assert scores[199] == pytest.approx(3, rel=0.3)


def test_where_genres_say_nothing_of_popularity_new_items_are_as_popular_as_the_mean():
    genres = np.arange(400) % 20
    popularity = np.random.default_rng(3).pareto(1.5, 400)
    popularity[380:] = 0
    expected = onboarding_of(_of_genres(genres), popularity).scores()[380:]
    chance = np.array([popularity[:380][genres[:380] == genre].mean() for genre in range(20)])
    assert expected.mean() == pytest.approx(popularity[:380].mean(), rel=0.05)
    assert expected.std() < chance.std() / 2


def _of_genres(genres: np.ndarray) -> Content:
    ids = [f"{item:06d}" for item in range(genres.size)]
    return content_of([CatalogueItem(item_id=name, genres=[f"g{genre}"]) for name, genre in zip(ids, genres.tolist(), strict=True)], ids)


def test_what_content_is_worth_is_kept_while_counts_move():
    genres = np.arange(200) % 2
    before = onboarding_of(_of_genres(genres), np.where(genres == 0, 30.0, 3.0) * (np.arange(200) < 198))
    after = onboarding_of(before.content, np.arange(200.0), before)
    assert after.expected is before.expected
    assert np.allclose(after.scores(), np.arange(200) + before.expected)
    nothing = onboarding_of(before.content, np.zeros(200))
    assert onboarding_of(before.content, np.arange(200.0), nothing).expected.any()


def test_without_any_like_there_is_nothing_to_say():
    assert not onboarding_of(CONTENT, np.zeros(5)).scores().any()


@pytest.mark.parametrize("genre", ["comédie", "COMÉDIE", " Comédie "])
def test_genres_are_found_in_any_case(genre: str):
    assert best(onboarding_of(CONTENT, np.ones(5)).scores([genre]))[0] == "up"


def test_a_genre_that_no_item_has_says_nothing():
    onboarding = onboarding_of(CONTENT, POPULARITY)
    assert np.array_equal(onboarding.scores(["Western", ""]), onboarding.scores())


def test_liked_items_speak_as_their_content_does_in_any_order():
    onboarding = onboarding_of(CONTENT, POPULARITY)
    one, other = (onboarding.scores((), np.array(items, dtype=np.int32)) for items in ([0, 2], [2, 0]))
    assert np.allclose(one, other)
    assert one[0] > onboarding.scores()[0]
    assert np.array_equal(onboarding.scores((), np.array([4], dtype=np.int32)), onboarding.scores())


def test_popularity_of_other_items_is_refused():
    with pytest.raises(ValueError, match=r"popularity: shape \(3,\); \(5,\) was expected"):
        onboarding_of(CONTENT, np.ones(3))


def test_a_like_counts_half_after_each_half_life():
    known = made(np.array([0, 1, 2]), np.array([0, 1, 1]), np.ones(3), np.array([0, 20, 10]) * DAY)
    assert recent_popularity(known, 10.0).tolist() == [0.25, 1.5]
    nothing = known.take(np.zeros(3, dtype=np.bool_))
    assert isinstance(nothing, Interactions)
    assert recent_popularity(nothing, 10.0).tolist() == [0, 0]


def test_the_genres_of_items_are_told_once_in_order():
    assert genres_liked(CONTENT, np.array([1, 2, 4], dtype=np.int32)) == ["Crime", "Drama"]
    assert genres_liked(CONTENT, NONE) == []
