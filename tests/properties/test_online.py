"""Live knowledge against the plainest way to say the same."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ray_apps.serving.online.blending import blended
from ray_apps.serving.online.deeds import deed_of
from ray_apps.serving.online.delays import BOUNDS_MS, Delays
from ray_apps.serving.online.popularity import Likes, LivePopularity
from ray_apps.serving.online.recent import Deed, Recent

ITEMS = [f"i{place}" for place in range(12)]
PLACES = {item: place for place, item in enumerate(ITEMS)}
deeds = st.builds(
    Deed, st.sampled_from([*ITEMS, "unknown"]), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.integers(min_value=0, max_value=1000)
)


@given(st.lists(st.tuples(st.sampled_from("abc"), deeds), max_size=60), st.integers(1, 3), st.integers(1, 6))
def test_the_newest_deeds_of_the_users_last_heard_of_are_remembered(told: list[tuple[str, Deed]], most_users: int, most_items: int):
    recent = Recent(most_users=most_users, most_items=most_items)
    for user, deed in told:
        recent.take(user, deed)
    heard = list(dict.fromkeys(user for user, _ in reversed(told)))
    assert len(recent) == min(len(heard), most_users)
    for user in heard[:most_users]:
        of = recent.of(user)
        assert len(of) <= most_items
        assert [deed.at for deed in of] == sorted(deed.at for deed in of)
        assert len({deed.item for deed in of}) == len(of)
        if len({deed.item for one, deed in told if one == user}) <= most_items and most_users >= 3:
            best = {deed.item: max(d.weight for u, d in told if (u, d.item) == (user, deed.item)) for deed in of}
            last = {deed.item: max(d.at for u, d in told if (u, d.item) == (user, deed.item)) for deed in of}
            assert {deed.item: (deed.weight, deed.at) for deed in of} == {item: (best[item], last[item]) for item in best}
    assert all(recent.of(user) == () for user in heard[most_users:])


@given(st.dictionaries(st.integers(0, 11), st.sampled_from([0.1, 0.5, 1.0])), st.lists(deeds, max_size=8, unique_by=lambda deed: deed.item))
def test_a_blended_history_is_the_union_with_the_strongest_weight(trained: dict[int, float], done: list[Deed]):
    history = np.array(sorted(trained), dtype=np.int32)
    weights = np.array([trained[place] for place in sorted(trained)], dtype=np.float32)
    items, strength, shunned = blended(history, weights, done, PLACES)
    wanted = dict(trained)
    for deed in done:
        if deed.item in PLACES and deed.weight:
            wanted[PLACES[deed.item]] = max(deed.weight, wanted.get(PLACES[deed.item], 0))
    assert items.dtype == np.int32
    assert strength.dtype == np.float32
    assert items.tolist() == sorted(wanted)
    assert np.allclose(strength, [wanted[place] for place in sorted(wanted)])
    assert shunned == {PLACES[deed.item] for deed in done if deed.item in PLACES and not deed.weight}
    assert history.tolist() == sorted(trained), "what is mapped is never written to"


@given(st.lists(st.sampled_from([*ITEMS, "unknown"]), max_size=40), st.booleans())
def test_popularity_is_what_was_trained_and_what_was_liked_since(liked: list[str], fading: bool):
    trained = np.arange(12, dtype=np.int64) % 5
    recent = np.roll(trained, 3) / 4 if fading else None
    popularity = LivePopularity(Likes(counts=trained, recent=recent), PLACES)
    for item in liked:
        popularity.liked(item)
    popularity.refresh()
    counts = [int(trained[place]) + liked.count(item) for item, place in PLACES.items()]
    assert popularity.counts.tolist() == counts
    worth = [(trained if recent is None else recent)[place] + liked.count(item) for item, place in PLACES.items()]
    assert popularity.worth.tolist() == worth
    assert popularity.order.tolist() == sorted(range(12), key=lambda place: (-worth[place], place))


@given(st.lists(st.tuples(st.integers(0, 20_000), st.floats(0, 100_000)), min_size=1, max_size=50))
def test_quantiles_of_delays_are_upper_bounds_of_the_last_five_minutes(told: list[tuple[int, float]]):
    delays = Delays()
    for at, milliseconds in sorted(told):
        delays.take(milliseconds, at)
    now = max(at for at, _ in told)
    count, median, last = delays.quantiles(now)
    recent = sorted(ms for at, ms in told if at // 10 > now // 10 - 30)
    assert count == len(recent)
    for share, seen in ((0.5, median), (0.99, last)):
        exact = recent[max(int(np.ceil(share * len(recent))) - 1, 0)]
        assert seen == min(bound for bound in (*BOUNDS_MS, float("inf")) if bound >= exact)


@given(st.binary(max_size=40) | st.sampled_from([b"\x00\x00\x00\x00\x01", b"null", b"[]", b'{"user_id":1,"item_id":"a","timestamp":1}']))
def test_nothing_that_is_no_event_raises(value: bytes):
    assert deed_of("watch", value) is None or b"user_id" in value
    assert deed_of("rate", value) is None or b"user_id" in value
