import numpy as np

from ray_apps.algorithms.popularity import Popularity
from ray_apps.algorithms.recent_popularity import RecentPopularity
from unit.ray_apps.algorithms.grouped import interactions, made

DAY = 86_400_000
NOBODY = (np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32))


def test_popularity_counts_the_users_of_each_item():
    known = interactions()
    counted = [
        len({int(user) for user, item in zip(known.users, known.items, strict=True) if item == each}) for each in range(known.n_items)
    ]
    assert Popularity.fit(known, {}, 7).scores(*NOBODY).tolist() == counted


def test_a_like_is_worth_half_as_much_after_each_half_life():
    times = np.array([100, 90, 90, 40]) * DAY
    known = made(np.arange(4), np.array([0, 1, 1, 2]), np.ones(4), times, n_items=4)
    scores = RecentPopularity.fit(known, {"halfLifeDays": 10}, 7).scores(*NOBODY)
    assert np.allclose(scores, [1, 2 * 0.5, 0.5**6, 0])


def test_with_an_endless_half_life_recent_popularity_is_popularity():
    known = interactions()
    scores = RecentPopularity.fit(known, {"halfLifeDays": 36_500}, 7).scores(*NOBODY)
    assert np.allclose(scores, Popularity.fit(known, {}, 7).scores(*NOBODY), rtol=1e-6)
