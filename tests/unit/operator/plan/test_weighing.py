"""What is compared: the same shares, the same time."""

import random
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from recsys_operator.plan.evidence import Grouped, Latencies
from recsys_operator.plan.reports import Counted, Reports
from recsys_operator.plan.weighing import Weighing, weigh, weighed
from recsys_operator.state.observed import Measured, RolloutState, Unavailable
from recsys_schemas.serving_evidence import (
    FOLDS,
    GROUPS,
    ArmCounters,
    EvidenceResponse,
    ReplicaReport,
    StratumCounters,
    latency_bin,
    stratum_of,
)
from recsys_schemas.v1alpha1.analysis import Analysis, Metric
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


def counted(requests: int, *, errors: int = 0, slow: int = 0, fallbacks: int = 0, empty: int = 0, rewards: int | None = None) -> Counted:
    """One arm: `slow` of its requests took 200 ms, the others 20."""
    fast = {latency_bin(20.0): [(requests - slow) // FOLDS] * FOLDS}
    late = {latency_bin(200.0): [slow // FOLDS] * FOLDS} if slow else {}
    trials = spread(requests)

    def part(count: int) -> Grouped:
        return Grouped(hits=spread(count), trials=trials)

    return Counted(
        errors=part(errors),
        rewards=part(requests // 5 if rewards is None else rewards),
        fallbacks=part(fallbacks),
        empty_lists=part(empty),
        latency=Latencies(bins=fast | late),
    )


GOOD = counted(90_000, errors=900, slow=160)


@pytest.mark.parametrize(
    ("metric", "candidate"),
    [
        ("errors", counted(10_000, errors=250, slow=16)),
        ("reward", counted(10_000, errors=100, rewards=1500, slow=16)),
        ("latency p50", counted(10_000, errors=100, slow=8000)),
        ("latency p99", counted(10_000, errors=100, slow=400)),
        ("fallbacks", counted(10_000, errors=100, slow=16, fallbacks=800)),
        ("empty lists", counted(10_000, errors=100, slow=16, empty=150)),
    ],
)
def test_each_metric_can_show_harm_by_itself(metric: str, candidate: Counted):
    found = weighed(Analysis(), GOOD, candidate, place=0, share=0.1)
    assert found.failing
    assert metric in [finding.metric for finding in found.findings if finding.verdict == "Worse"]
    assert f"{metric} " in found.words
    shown = next(each for each in found.evidence.shown if each.metric == metric)
    assert (shown.verdict, shown.harm) == ("Worse", 1.0)


def test_an_equal_candidate_is_shown_to_be_no_worse_in_all_that_may_be_demanded():
    found = weighed(Analysis(demand="NotWorse"), GOOD, counted(10_000, errors=100, slow=16), place=0, share=0.1)
    assert not found.failing
    assert found.not_worse
    assert found.objection == ""


def test_what_is_demanded_and_not_yet_shown_holds():
    few = weighed(Analysis(demand="NotWorse"), GOOD, counted(640, errors=6), place=0, share=640 / 90_640)
    assert few.objection.startswith("not yet shown to be no worse in errors, reward, latency p99")
    assert weighed(Analysis(), GOOD, counted(640, errors=6), place=0, share=640 / 90_640).objection == ""


def test_arms_that_do_not_get_their_users_hold_and_are_not_rolled_back():
    found = weighed(Analysis(), GOOD, counted(8_000, errors=80, slow=16), place=0, share=0.1)
    assert not found.failing
    assert found.doubtful
    assert "requests of the candidate 8.2 % of both arms', by its share 10.0 % (Invalid)" in found.words


def test_counters_of_an_earlier_release_say_nothing_of_what_it_did_not_count():
    found = weigh(rollout(25), reports({"old": arm({25: (7500, 3000)}), "new": arm({25: (2500, 1000)})}))
    assert found is not None
    silent = {finding.metric for finding in found.findings if finding.verdict == "InsufficientData"}
    assert silent == {"latency p50", "latency p99", "fallbacks", "empty lists"}
    assert not found.failing
    assert not found.doubtful


def test_a_metric_of_the_spec_that_cannot_be_read_holds_and_never_sends_back():
    asked = Metric(name="skips", address="http://prometheus:9090", hits="a $version", trials="b $version")
    walking = rollout(25)
    analysis = walking.spec.analysis.model_copy(update={"metrics": [asked]})
    walking = replace(walking, spec=walking.spec.model_copy(update={"analysis": analysis}))
    seen = reports({"old": arm({25: (7500, 3000)}), "new": arm({25: (2500, 1000)})})

    def found(measured: Measured | Unavailable) -> Weighing:
        weighing = weigh(walking, seen, None, {"skips": measured})
        assert weighing is not None
        return weighing

    gone = found(Unavailable(message="no answer"))
    assert (gone.failing, gone.objection) == (False, "nothing is known of skips (no answer)")
    assert found(Measured(stable=(90, 9000), candidate=(10, 1000))).objection == ""
    harmful = found(Measured(stable=(90, 9000), candidate=(60, 1000)))
    assert harmful.failing
    assert "skips 60/1000 = 6.0 % against 90/9000 = 1.0 % (Worse)" in harmful.words
