from datetime import UTC, datetime

import pytest

from recsys_operator.plan.gates import passed, verdicts
from recsys_schemas.snapshot import SnapshotManifest
from recsys_schemas.v1alpha1.gates import Gate
from recsys_schemas.version_card import Estimate, Evaluation, VersionCard

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def estimate(low: float, high: float) -> Estimate:
    return Estimate(value=(low + high) / 2, low=low, high=high, samples=100)


def evaluation(role: str, difference: dict[str, Estimate] | None = None, name: str = "ALS") -> Evaluation:
    return Evaluation(
        name=name,
        role=role,
        train_seconds=1,
        inference_ms_per_user=0.5,
        size_bytes=2_000_000,
        metrics={"ndcg@10": estimate(0.1, 0.2)},
        difference=difference or {},
    )


def card(*others: Evaluation) -> VersionCard:
    manifest = SnapshotManifest(sequence=1, cluster_id="c", tables=[], offsets=[], rows=1, dead_letters=0, committed_at=NOW)
    return VersionCard(
        version="m-000001",
        model="ns/m",
        digest="sha256:1",
        algorithm="ALS",
        hyperparameters={},
        seed=1,
        snapshot=manifest,
        split="time",
        users=1,
        items=1,
        interactions=1,
        test_users=1,
        evaluations=[evaluation("candidate"), *others],
        files={},
        libraries={},
        created_at=NOW,
    )


@pytest.mark.parametrize(
    ("low", "high", "proof", "verdict"),
    [
        (0.01, 0.03, "Shown", "Passed"),
        (-0.01, 0.03, "Shown", "Inconclusive"),
        (-0.03, -0.01, "Shown", "Failed"),
        (-0.01, 0.03, "NotRefuted", "Passed"),
        (-0.03, -0.01, "NotRefuted", "Failed"),
    ],
)
def test_a_difference_is_judged_by_its_whole_interval(low: float, high: float, proof: str, verdict: str):
    gate = Gate.model_validate({"name": "b", "metric": "ndcg@10", "relativeTo": "Baselines", "atLeast": 0, "proof": proof})
    found = verdicts([gate], card(evaluation("baseline", {"ndcg@10": estimate(low, high)}, "Popularity")))
    assert found[0].verdict == verdict
    assert "Popularity" in found[0].message
    assert f"{low:+.4f}" in found[0].message
    assert passed(found) == (verdict == "Passed")
    assert {v.verdict for v in found[1:]} <= {"Passed", "Abstained"}, "guards without numbers bar nobody"


def test_every_baseline_must_be_beaten():
    gate = Gate.model_validate({"name": "b", "metric": "ndcg@10", "relativeTo": "Baselines", "atLeast": 0, "proof": "Shown"})
    good = evaluation("baseline", {"ndcg@10": estimate(0.01, 0.02)}, "Popularity")
    bad = evaluation("baseline", {"ndcg@10": estimate(-0.02, -0.01)}, "ItemItem")
    assert verdicts([gate], card(good, bad))[0].verdict == "Failed"


def test_without_a_champion_its_gate_passes_and_says_why():
    gate = Gate.model_validate({"name": "c", "metric": "ndcg@10", "relativeTo": "Champion", "atLeast": 0})
    found = verdicts([gate], card())
    assert (found[0].verdict, found[0].message) == ("Passed", "there is no champion yet: nothing to compare")


def test_a_metric_that_the_card_lacks_never_passes_by_itself():
    gate = Gate.model_validate({"name": "c", "metric": "hr@20", "atLeast": 0.1})
    found = verdicts([gate], card())
    assert found[0].verdict == "Inconclusive"
    assert not passed(found)


def test_a_champion_that_could_not_be_read_bars_nobody_and_is_named():
    gate = Gate.model_validate({"name": "champion", "metric": "ndcg@10", "relativeTo": "Champion", "atLeast": 0})
    damaged = card().model_copy(update={"parent": "m-000000"})
    assert verdicts([gate], card())[0].message == "there is no champion yet: nothing to compare"
    assert verdicts([gate], damaged)[0].message == "the champion m-000000 could not be read: nothing to compare"
    assert passed(verdicts([gate], damaged))


def test_an_observed_gate_only_reports():
    gate = Gate.model_validate({"name": "size", "metric": "sizeMegabytes", "atMost": 1, "enforcement": "Observe"})
    found = verdicts([gate], card())
    assert found[0].verdict == "Observed"
    assert "would be Failed" in found[0].message
    assert passed(found)


def test_size_and_time_have_bounds_too():
    slow = Gate.model_validate({"name": "slow", "metric": "inferenceMilliseconds", "atMost": 0.1})
    assert verdicts([slow], card())[0].verdict == "Failed"
