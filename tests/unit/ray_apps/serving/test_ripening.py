from ray_apps.serving.counters import Tallies
from ray_apps.serving.ripening import MAX_SPANS, Ripening, Shown

ANSWER = Shown("m-1", "0a0b0c0d", 5)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_an_answer_and_its_reward_ripen_together_and_never_before():
    clock, tallies = Clock(), Tallies()
    ripening = Ripening(tallies, clock)
    shown_at = ripening.shown(ANSWER)
    clock.now += 50
    ripening.rewarded(ANSWER, shown_at)
    ripening.shown(ANSWER)
    ripening.ripen(60)
    assert tallies.counters() == {}
    clock.now = 1061.5
    ripening.ripen(60)
    counted = tallies.counters()["m-1"]
    assert (counted.impressions, counted.rewards) == (1, 1)
    clock.now += 60
    ripening.ripen(60)
    counted = tallies.counters()["m-1"]
    assert (counted.impressions, counted.rewards) == (2, 1)
    under = counted.strata["0a0b0c0d"]
    assert (sum(under.impressions), under.impressions[5], under.rewards[5]) == (2, 2, 1)


def test_memory_is_bounded_by_spans_not_by_traffic_nor_by_the_attribution_time():
    clock = Clock()
    ripening = Ripening(Tallies(), clock)
    week = 604_800
    for _ in range(20_000):
        ripening.shown(ANSWER)
        ripening.ripen(week)
        clock.now += 100
    assert len(ripening._spans) <= MAX_SPANS
    assert sum(span.impressions[ANSWER] for span in ripening._spans.values()) <= week / 100 * 1.01


def test_a_reward_is_in_time_until_the_attribution_time_is_over():
    clock = Clock()
    ripening = Ripening(Tallies(), clock)
    assert ripening.in_time(999, 10)
    assert not ripening.in_time(989, 10)
    assert not ripening.in_time(1100, 10), "an answer of the future is no answer of ours"
