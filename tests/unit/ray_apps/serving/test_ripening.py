from ray_apps.serving.counters import Tallies
from ray_apps.serving.ripening import Ripening


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_an_answer_and_its_reward_ripen_together_and_never_before():
    clock, tallies = Clock(), Tallies()
    ripening = Ripening(tallies, clock)
    shown_at = ripening.shown("m-1")
    clock.now += 50
    ripening.rewarded("m-1", shown_at)
    ripening.shown("m-1")
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


def test_memory_is_bounded_by_seconds_not_by_traffic():
    clock = Clock()
    ripening = Ripening(Tallies(), clock)
    for _ in range(10_000):
        ripening.shown("m-1")
    assert len(ripening._seconds) == 1


def test_a_reward_is_in_time_until_the_attribution_time_is_over():
    clock = Clock()
    ripening = Ripening(Tallies(), clock)
    assert ripening.in_time(999, 10)
    assert not ripening.in_time(989, 10)
    assert not ripening.in_time(1100, 10), "an answer of the future is no answer of ours"
