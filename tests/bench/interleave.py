"""How many fewer users mixed lists need than an A/B test: two rankers of known quality before the simulated audience.

Each ranker sees users' true liking through noise of its own; the candidate's is a little less. What a user would do with any list is
known exactly (`SimulatedAudience.keenness`), so the two methods' rates are too, and only the number of users that they take is in question:
by the textbook's formula at 80 % power and 5 % error, and by the always-valid tests that rollouts are decided by, until they say Better.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from statistics import NormalDist, median

import numpy as np
from numpy.typing import NDArray

from ray_apps.serving.interleaving import team_draft
from recsys_dev.audience import SimulatedAudience, item_name, name_of
from recsys_dev.figures import tell
from recsys_dev.tastes import World, liking, taste
from recsys_operator.plan.evidence import Count, Levels, Verdict, less_often, preferred

K = 10
POWER, ERROR = 0.8, 0.05
LEVELS = Levels(worse=ERROR / 2, not_worse=ERROR)
MOST_USERS = 50_000_000
GROWTH = 1.05
"""A test looks again when so many times as many users have come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What the two methods observe of one user."""

    stable: float
    """Part of the users who watch something of the stable list."""
    candidate: float
    wins: float
    """Part of the users of mixed lists whose click is on the candidate's item."""
    losses: float


def first_watched(keen: Sequence[float]) -> list[float]:
    """Probability that each place is the one that is watched."""
    return [chance * prod(1 - before for before in keen[:place]) for place, chance in enumerate(keen)]


def measured(audience: SimulatedAudience, users: int, noise: tuple[float, float], seed: int) -> Rates:
    """The rates, over all users and coins."""
    chance, world = np.random.default_rng(seed), audience.world
    found: list[tuple[float, float, float, float]] = []
    for user in range(users):
        likes = liking(world, audience.catalogue, taste(world, user))
        lists = [best(likes + chance.normal(0, spread, size=likes.size)) for spread in noise]
        alone = [sum(first_watched(audience.keenness(name_of(user), items))) for items in lists]
        drawn = team_draft(lists[0], lists[1], K, lambda: bool(chance.integers(2)))
        clicks = first_watched(audience.keenness(name_of(user), [place.item for place in drawn]))
        own = sum(click for click, place in zip(clicks, drawn, strict=True) if place.of_candidate)
        found.append((alone[0], alone[1], own, sum(clicks) - own))
    return Rates(**dict(zip(("stable", "candidate", "wins", "losses"), np.mean(found, axis=0).tolist(), strict=True)))


def best(scores: NDArray[np.float64]) -> list[str]:
    """The best items' names."""
    return [item_name(item) for item in np.argsort(-scores)[:K].tolist()]


def by_formula(rates: Rates) -> tuple[float, float]:
    """Users that an A/B test of two rates takes, and users that a sign test of mixed lists takes."""
    z_error, z_power = NormalDist().inv_cdf(1 - ERROR / 2), NormalDist().inv_cdf(POWER)
    spread = rates.stable * (1 - rates.stable) + rates.candidate * (1 - rates.candidate)
    split = 2 * (z_error + z_power) ** 2 * spread / (rates.candidate - rates.stable) ** 2
    decided = rates.wins + rates.losses
    part = rates.wins / decided
    sign = ((z_error * 0.5 + z_power * (part * (1 - part)) ** 0.5) / (part - 0.5)) ** 2 / decided
    return split, sign


def until_shown(look: Callable[[int], Verdict]) -> float:
    """Users until a test says Better; it looks whenever there are a twentieth more."""
    users, step = 0, 100
    while users < MOST_USERS:
        users += step
        if look(step) is Verdict.BETTER:
            return float(users)
        step = max(100, int(users * (GROWTH - 1)))
    return float(MOST_USERS)


def by_test(rates: Rates, chance: np.random.Generator) -> tuple[float, float]:
    """The same by the tests of a rollout, once."""
    split, mixed = np.zeros(4), np.zeros(2)

    def compare(more: int) -> Verdict:
        half = more // 2
        split[:] += half, chance.binomial(half, rates.stable), half, chance.binomial(half, rates.candidate)
        stable, candidate = Count(trials=split[0], hits=split[1]), Count(trials=split[2], hits=split[3])
        return less_often(stable, candidate, harm=0.0, limit=0.05, levels=LEVELS).verdict

    def prefer(more: int) -> Verdict:
        wins, losses, _ = chance.multinomial(more, (rates.wins, rates.losses, 1 - rates.wins - rates.losses))
        mixed[:] += wins, losses
        return preferred(Count(hits=mixed[0], trials=mixed.sum()), levels=LEVELS).verdict

    return until_shown(compare), until_shown(prefer)


def main() -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(prog="bench.interleave")
    parser.add_argument("--users", type=int, default=1500)
    parser.add_argument("--runs", type=int, default=100)
    asked = parser.parse_args()
    audience = SimulatedAudience(World(users=asked.users), now_ms=1_760_000_000_000)
    figures: dict[str, dict[str, object]] = {}
    for noise in ((1.5, 1.4), (1.5, 1.2), (1.5, 0.9)):
        rates = measured(audience, asked.users, noise, seed=1)
        split, sign = by_formula(rates)
        chance = np.random.default_rng(2)
        runs = [by_test(rates, chance) for _ in range(asked.runs)]
        split_shown, sign_shown = median(run[0] for run in runs), median(run[1] for run in runs)
        figures[f"noise {noise[1]} for {noise[0]}"] = {
            "reward_A": round(rates.stable, 4),
            "reward_B": round(rates.candidate, 4),
            "prefer_B": round(rates.wins / (rates.wins + rates.losses), 4),
            "A/B": round(split),
            "mixed": round(sign),
            "times": round(split / sign, 1),
            "A/B_shown": round(split_shown),
            "mixed_shown": round(sign_shown),
            "times_shown": round(split_shown / sign_shown, 1),
        }
    # A/B, mixed: users by the formula; shown: users until a rollout's always-valid test says Better (median).
    tell("interleave", "users until B is known to be better than A", figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
