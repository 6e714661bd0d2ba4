"""How many fewer users mixed lists need than an A/B test: two rankers of known quality before the simulated audience.

Each ranker sees users' true liking through noise of its own; the candidate's is a little less. What a user would do with any list is
known exactly (`SimulatedAudience.keenness`), so the rates of all methods are too, and only the number of users that they take is in
question: by the textbook's formula at 80 % power and 5 % error, and by the always-valid tests that rollouts are decided by, until they
say Better.

Users ask once each, or as often as their activity says (lognormal, as in the audience's history). An A/B test compares either the part of
the answers that is rewarded, as rollouts do, or rewards a user, as is common where the user is the unit: that varies with how often users
come. Mixed lists are counted with every click, and without those that the coin alone gave to a side, as replicas do.
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
COINS = 16
"""Mixed lists that are drawn for each user."""
LEVELS = Levels(worse=ERROR / 2, not_worse=ERROR)
MOST_USERS = 50_000_000
GROWTH = 1.05
"""A test looks again when so many times as many users have come."""


Reals = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """What the methods observe of each user, shape (users,): probabilities of one answer."""

    activity: Reals
    """How often they ask, over the mean."""
    stable: Reals
    """Something of the stable list is watched."""
    candidate: Reals
    wins: Reals
    """In a mixed list the click is on an item of the candidate's that tells the two apart."""
    losses: Reals
    clicks: Reals
    """It is on any item. Those that tell nothing fall to either side by a coin that changes nothing else: on average they add nothing."""


def first_watched(keen: Sequence[float]) -> list[float]:
    """Probability that each place is the one that is watched."""
    return [chance * prod(1 - before for before in keen[:place]) for place, chance in enumerate(keen)]


def measured(audience: SimulatedAudience, users: int, noise: tuple[float, float], seed: int) -> Users:
    """The probabilities, over some coins."""
    chance, world = np.random.default_rng(seed), audience.world
    found: list[list[float]] = []
    for user in range(users):
        who = taste(world, user)
        likes = liking(world, audience.catalogue, who)
        lists = [best(likes + chance.normal(0, spread, size=likes.size)) for spread in noise]
        alone = [sum(first_watched(audience.keenness(name_of(user), items[:K]))) for items in lists]
        credit = np.zeros(3)
        for _ in range(COINS):
            drawn = team_draft(lists[0], lists[1], K, lambda: bool(chance.integers(2)))
            clicks = first_watched(audience.keenness(name_of(user), [place.item for place in drawn]))
            for click, place in zip(clicks, drawn, strict=True):
                credit[0 if place.of_candidate else 1] += click * place.tells / COINS
                credit[2] += click / COINS
        found.append([who.activity, *alone, *credit.tolist()])
    told = np.array(found).T
    return Users(
        activity=told[0] / told[0].mean(),
        **dict(zip(("stable", "candidate", "wins", "losses", "clicks"), told[1:], strict=True)),
    )


def best(scores: Reals) -> list[str]:
    """The best items' names, enough for a mixed list."""
    return [item_name(item) for item in np.argsort(-scores)[: 2 * K].tolist()]


def variance(mean: Reals, square: Reals, asked: Reals | None) -> float:
    """Of a user's sum of values with these means and mean squares; of one value where all ask once, else of a Poisson number of them."""
    if asked is None:
        return float(square.mean() - mean.mean() ** 2)
    return float((asked * mean).var() + (asked * square).mean())


def by_formula(users: Users, times: float | None) -> dict[str, float]:
    """Users that each method takes, who ask once each, or so many times on average."""
    asked = None if times is None else users.activity * times
    weight = np.ones_like(users.activity) if asked is None else asked
    size = (NormalDist().inv_cdf(1 - ERROR / 2) + NormalDist().inv_cdf(POWER)) ** 2
    rates = [float((weight * rate).mean() / weight.mean()) for rate in (users.stable, users.candidate)]
    gain = float((weight * (users.candidate - users.stable)).mean())
    by_rate = [
        variance(rate - whole, rate * (1 - whole) ** 2 + (1 - rate) * whole**2, asked)
        for rate, whole in zip((users.stable, users.candidate), rates, strict=True)
    ]
    by_user = [variance(rate, rate, asked) for rate in (users.stable, users.candidate)]
    found = {
        "A/B, rate": 2 * size * sum(by_rate) / (weight.mean() * (rates[1] - rates[0])) ** 2,
        "A/B, rewards a user": 2 * size * sum(by_user) / gain**2,
    }
    lead = users.wins - users.losses
    for name, counted in (("mixed, all clicks", users.clicks), ("mixed", users.wins + users.losses)):
        found[name] = size * variance(lead, counted, asked) / float((weight * lead).mean()) ** 2
    return found


def until_shown(look: Callable[[int], Verdict]) -> float:
    """Users until a test says Better; it looks whenever there are a twentieth more."""
    users, step = 0, 100
    while users < MOST_USERS:
        users += step
        if look(step) is Verdict.BETTER:
            return float(users)
        step = max(100, int(users * (GROWTH - 1)))
    return float(MOST_USERS)


def by_test(users: Users, chance: np.random.Generator) -> tuple[float, float]:
    """The same by the tests of a rollout, once, for users who ask once."""
    split, mixed = np.zeros(4), np.zeros(2)
    stable_rate, candidate_rate, wins_rate, losses_rate = (
        float(rate.mean()) for rate in (users.stable, users.candidate, users.wins, users.losses)
    )

    def compare(more: int) -> Verdict:
        half = more // 2
        split[:] += half, chance.binomial(half, stable_rate), half, chance.binomial(half, candidate_rate)
        stable, candidate = Count(trials=split[0], hits=split[1]), Count(trials=split[2], hits=split[3])
        return less_often(stable, candidate, harm=0.0, limit=0.05, levels=LEVELS).verdict

    def prefer(more: int) -> Verdict:
        wins, losses, _ = chance.multinomial(more, (wins_rate, losses_rate, 1 - wins_rate - losses_rate))
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
    shown: dict[str, dict[str, float]] = {}
    for noise in ((1.5, 1.4), (1.5, 1.2), (1.5, 0.9)):
        users = measured(audience, asked.users, noise, seed=1)
        name = f"noise {noise[1]} for {noise[0]}"
        for times in (None, 10.0, 50.0):
            needed = by_formula(users, times)
            least = needed["mixed"]
            row: dict[str, object] = {method: round(count) for method, count in needed.items()}
            row |= {f"times ({method})": round(count / least, 1) for method, count in needed.items() if method != "mixed"}
            figures[f"{name}, {'once' if times is None else f'{times:.0f} times'} each"] = row
        chance = np.random.default_rng(2)
        runs = [by_test(users, chance) for _ in range(asked.runs)]
        split, mixed = median(run[0] for run in runs), median(run[1] for run in runs)
        rewarded = {"rewarded A": round(float(users.stable.mean()), 3), "rewarded B": round(float(users.candidate.mean()), 3)}
        shown[name] = rewarded | {"A/B": round(split), "mixed": round(mixed), "times fewer": round(split / mixed, 1)}
    tell("interleave", "users until B is known to be better than A, by the formula", figures)
    tell("interleave", "until a rollout's always-valid test says Better, users who ask once (median)", shown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
