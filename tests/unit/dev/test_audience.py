"""Simulated users: the same for the same seed, honest in what they like."""

from itertools import pairwise

import numpy as np
import pytest

from recsys_dev.audience import SimulatedAudience, item_name, number_of
from recsys_dev.tastes import World
from recsys_schemas.events import RateEvent, WatchEvent

NOW = 1_800_000_000_000
SMALL = World(users=120, items=200, mean_history=20)


@pytest.fixture
def audience() -> SimulatedAudience:
    return SimulatedAudience(SMALL, now_ms=NOW)


def test_the_same_seed_tells_the_same_history(audience: SimulatedAudience):
    assert list(audience.history()) == list(SimulatedAudience(SMALL, now_ms=NOW).history())


def test_another_seed_tells_another(audience: SimulatedAudience):
    other = SimulatedAudience(World(users=120, items=200, mean_history=20, seed=8), now_ms=NOW)
    assert [e.item_id for e in audience.history()] != [e.item_id for e in other.history()]


def test_history_is_in_time_order_and_ends_now(audience: SimulatedAudience):
    times = [event.timestamp for event in audience.history()]
    assert all(a <= b for a, b in pairwise(times))
    assert times[-1] <= NOW


def test_every_record_fits_its_schema_and_no_id_comes_twice(audience: SimulatedAudience):
    schemas = {"watch": WatchEvent, "rate": RateEvent}
    events = [*audience.history(), *audience.live(300, NOW)]
    for event in events:
        schemas[event.event_type].model_validate_json(event.record(), strict=True)
    assert len({event.event_id for event in events}) == len(events)
    assert {event.event_type for event in events} == {"watch", "rate"}


def test_nobody_watches_an_item_twice_before_most_is_seen(audience: SimulatedAudience):
    watched = [(e.user_id, e.item_id) for e in [*audience.history(), *audience.live(500, NOW)] if e.event_type == "watch"]
    assert len(set(watched)) == len(watched)


def test_attention_has_a_long_tail(audience: SimulatedAudience):
    items = [number_of(event.item_id) or 0 for event in audience.history() if event.event_type == "watch"]
    counts = np.sort(np.bincount(items, minlength=SMALL.items))[::-1]
    assert counts[:20].sum() > 2 * counts[100:120].sum()


def test_new_users_and_new_items_come_while_it_runs(audience: SimulatedAudience):
    past = list(audience.history())
    live = audience.live(6000, NOW)
    assert {e.user_id for e in live} - {e.user_id for e in past}
    assert {e.item_id for e in live} - {e.item_id for e in past}


def test_users_watch_what_they_like_far_more_often_than_what_chance_shows(audience: SimulatedAudience):
    list(audience.history())
    chance = np.random.default_rng(1)
    liked = by_chance = 0
    for _ in range(400):
        user = audience.visitor()
        number = number_of(user)
        assert number is not None
        likes = audience._liking(number).copy()
        likes[audience._seen_by(number)] = -np.inf
        liked += audience.reaction(user, [item_name(int(i)) for i in np.argsort(-likes)[:10]]) is not None
        by_chance += audience.reaction(user, [item_name(int(i)) for i in chance.permutation(SMALL.items)[:10]]) is not None
    assert liked > 2 * by_chance


def test_a_watched_item_is_not_watched_again(audience: SimulatedAudience):
    user = audience.visitor()
    shown = [item_name(i) for i in range(SMALL.items)]
    watched = [item for _ in range(40) if (item := audience.reaction(user, shown)) is not None]
    assert len(set(watched)) == len(watched)


def test_strangers_and_unknown_items_get_no_reaction(audience: SimulatedAudience):
    assert audience.reaction("somebody", [item_name(1)]) is None
    assert audience.reaction(audience.visitor(), ["tt001", "m99999"]) is None
