"""What is compared: the same shares, the same time."""

import random
from datetime import UTC, datetime

import pytest

from recsys_operator.plan.reports import Reports
from recsys_operator.plan.weighing import weigh
from recsys_operator.state.observed import RolloutState
from recsys_schemas.serving_api import GROUPS, ArmCounters, EvidenceResponse, ReplicaReport, StratumCounters, stratum_of
from recsys_schemas.v1alpha1.analysis import Analysis
from recsys_schemas.v1alpha1.rollout import Pinned, RolloutSpec, RolloutStatus
from recsys_schemas.v1alpha1.strategy import Step
from recsys_schemas.v1alpha1.version import ModelReference

STEPS = [Step(set_weight=weight) for weight in (5, 25, 50)]


def rollout(weight: int) -> RolloutState:
    spec = RolloutSpec(
        model_ref=ModelReference(name="movies", uid="1"),
        stable=Pinned(name="old", digest="sha256:old"),
        candidate=Pinned(name="new", digest="sha256:new"),
        steps=STEPS,
        analysis=Analysis(),
    )
    return RolloutState(name="new", spec=spec, status=RolloutStatus(weight=weight, started_at=datetime(2026, 1, 1, tzinfo=UTC)))


def spread(count: int) -> list[int]:
    return [count // GROUPS + (group < count % GROUPS) for group in range(GROUPS)]


def arm(by_weight: dict[int, tuple[int, int]]) -> ArmCounters:
    """Impressions and rewards by the candidate's share, spread evenly over the groups."""
    strata = {
        stratum_of({"old": 100 - weight, "new": weight}): StratumCounters(
            requests=spread(shown), errors=[0] * GROUPS, impressions=spread(shown), rewards=spread(rewarded)
        )
        for weight, (shown, rewarded) in by_weight.items()
    }
    return ArmCounters(strata=strata)


def reports(*counters: dict[str, ArmCounters]) -> Reports:
    replicas = [
        ReplicaReport(replica_id=f"r{n}", epoch=1, age_seconds=0, ready={}, refused={}, counters=each) for n, each in enumerate(counters)
    ]
    return Reports(running=frozenset(), response=EvidenceResponse(replicas=replicas))


def test_rates_that_fall_with_the_hour_are_no_harm():
    """Both arms fall from 60 % to 40 %. Added up, the stable arm would take most of the better hour: 50 % against 42 %."""
    stable = arm({5: (9500, 5700), 25: (7500, 3000)})
    candidate = arm({5: (500, 300), 25: (2500, 1000)})
    found = weigh(rollout(25), reports({"old": stable, "new": candidate}))
    assert found is not None
    assert (sum(found.stable.rewards.trials), sum(found.candidate.rewards.trials)) == (7500, 2500)
    assert not found.failing
    assert not found.doubtful


def test_harm_under_the_same_shares_is_harm():
    found = weigh(rollout(25), reports({"old": arm({25: (7500, 3000)}), "new": arm({25: (2500, 500)})}))
    assert found is not None
    assert found.failing
    assert "500/2500 = 20.0 % against 3000/7500 = 40.0 % (Worse)" in found.words


def test_replicas_are_added_up_and_a_reward_never_outnumbers_its_answers():
    one, other = {"new": arm({5: (128, 0)})}, {"new": arm({5: (0, 192)})}
    found = weigh(rollout(5), reports(one, other))
    assert found is not None
    assert (found.answers, sum(found.candidate.rewards.hits)) == (128, 128)
    found = weigh(rollout(5), reports(one, {"new": ArmCounters(strata={"00000000": arm({5: (1, 1)}).strata.popitem()[1]})}))
    assert found is not None
    assert sum(found.candidate.rewards.hits) == 0, "other shares are not added"


@pytest.mark.parametrize("users", [3, 40])
def test_the_words_say_what_alike_users_are_worth(users: int):
    chance = random.Random(1)
    trials = [100 if group < users else 0 for group in range(GROUPS)]
    hits = [round(count * chance.random()) for count in trials]
    counters = StratumCounters(requests=trials, errors=[0] * GROUPS, impressions=trials, rewards=hits)
    stratum = stratum_of({"old": 75, "new": 25})
    found = weigh(rollout(25), reports({"new": ArmCounters(strata={stratum: counters})}))
    assert found is not None
    worth = found.candidate.rewards.effective.trials
    assert worth == pytest.approx(3) if users == 3 else users < worth < 40 * users
    assert f"(worth {worth:.0f})" in found.words
    assert found.evidence.candidate.reward_design_effect == pytest.approx(100 * users / worth, rel=0.01)
