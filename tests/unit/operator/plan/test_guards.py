"""Gates by slice, by group, by ratio and by estimate; and the guards that stand beside whatever a resource names."""

import pytest

from recsys_operator.plan.gates import as_asked, fields_grouped_by, of_preflight, passed, verdicts
from recsys_schemas.v1alpha1.gates import Gate, default_gates, guards
from recsys_schemas.v1alpha1.version import GateVerdict, ModelReference, SnapshotReference, VersionSpec
from recsys_schemas.version_card import Capture, Control, Estimate, Evaluation, Learnt, PreflightReport, VersionCard
from unit.operator.plan.test_gates import card, estimate, evaluation


def around(value: float, half: float = 0.01, samples: int = 100) -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half, samples=samples)


def one(gate: dict[str, object], of: VersionCard) -> GateVerdict:
    return verdicts([Gate.model_validate({"name": "g"} | gate)], of)[0]


def champion(**more: object) -> Evaluation:
    return evaluation("champion", name="m-000000").model_copy(update=more)


def candidate(of: VersionCard, **more: object) -> VersionCard:
    return of.model_copy(update={"evaluations": [of.evaluations[0].model_copy(update=more), *of.evaluations[1:]]})


def test_a_slice_is_judged_by_its_own_paired_difference():
    old = champion(slices={"oldItems": {"ndcg@10": around(0.2)}}, slice_difference={"oldItems": {"ndcg@10": around(-0.2)}})
    gate: dict[str, object] = {"metric": "ndcg@10", "slice": "oldItems", "relativeTo": "Champion", "atLeast": -0.02}
    found = one(gate, card(old))
    assert found.verdict == "Failed"
    assert (
        found.message
        == "ndcg@10 of oldItems minus m-000000's -0.2000 [-0.2100, -0.1900] on 100: must be at least -0.02 (not refuted at 95 %)"
    )


def test_a_slice_that_nobody_belongs_to_gives_no_verdict_and_bars_nobody():
    gate: dict[str, object] = {"metric": "ndcg@10", "slice": "coldUsers", "atLeast": 0.1}
    found = one(gate, card())
    assert (found.verdict, found.message) == ("Abstained", "nobody who was measured belongs to coldUsers: neither passed nor failed")
    assert passed([found])


def test_a_slice_that_is_too_small_abstains_with_its_numbers():
    gate: dict[str, object] = {"metric": "ndcg@10", "slice": "coldUsers", "atLeast": 0.5, "minimumSamples": 50}
    found = one(gate, candidate(card(), slices={"coldUsers": {"ndcg@10": around(0.1, samples=12)}}))
    assert found.verdict == "Abstained"
    assert "on 12: fewer than minimumSamples 50" in found.message


@pytest.mark.parametrize(("when", "verdict"), [("Pass", "Abstained"), ("Stop", "Inconclusive")])
def test_an_off_policy_estimate_that_abstains_says_why_and_bars_only_whom_the_user_asked_it_to(when: str, verdict: str):
    thin = candidate(card(), abstained={"snips@10": "effective sample size 41 of 900 answers"})
    found = one({"metric": "snips@10", "atLeast": 0.1, "whenAbstained": when}, thin)
    assert found.verdict == verdict
    assert "snips@10 abstains: effective sample size 41 of 900 answers" in found.message
    assert passed([found]) == (when == "Pass")


def test_an_off_policy_estimate_with_support_is_judged_like_any_number():
    told = candidate(card(), metrics={"ndcg@10": around(0.2), "dr@10": around(0.05, samples=3000)})
    assert one({"metric": "dr@10", "atLeast": 0.1, "minimumSamples": 2000}, told).verdict == "Failed"
    assert one({"metric": "dr@10", "atLeast": 0.1, "minimumSamples": 4000}, told).verdict == "Abstained"


def test_a_gap_between_groups_is_read_by_the_field_of_its_groups():
    told = candidate(card(), metrics={"gap:gender:ndcg@10": around(0.1)}, abstained={"gap:age:ndcg@10": "groupBy: 'age' has 40 values"})
    found = one({"metric": "ndcgGap@10", "groupBy": "gender", "atMost": 0.05}, told)
    assert found.verdict == "Failed"
    assert found.message.startswith("ndcgGap@10 by gender +0.1000 [+0.0900, +0.1100] on 100")
    silent = one({"metric": "ndcgGap@10", "groupBy": "age", "atMost": 0.05}, told)
    assert (silent.verdict, silent.message[:52]) == ("Abstained", "gap:age:ndcg@10 abstains: groupBy: 'age' has 40 valu")


def test_words_of_the_resource_find_those_of_the_card():
    told = candidate(card(), metrics={"popularity_bias@20": around(0.7), "mrr@10": around(0.2)})
    assert one({"metric": "popularityBias@20", "atMost": 0.5}, told).verdict == "Failed"
    assert one({"metric": "mrr@10", "atLeast": 0.1}, told).verdict == "Passed"


def test_a_ratio_is_the_difference_as_a_part_of_the_others_mean():
    collapsed = champion(metrics={"coverage@20": around(0.8)}, difference={"coverage@20": around(-0.7, half=0.05)})
    found = one({"metric": "coverage@20", "relativeTo": "Champion", "compare": "Ratio", "atLeast": 0.25}, card(collapsed))
    assert found.verdict == "Failed"
    assert found.message.startswith("coverage@20 as a multiple of m-000000's +0.1250 [+0.0625, +0.1875]")
    nothing = champion(metrics={"coverage@20": around(0.0)}, difference={"coverage@20": around(0.1)})
    assert (
        one({"metric": "coverage@20", "relativeTo": "Champion", "compare": "Ratio", "atLeast": 0.25}, card(nothing)).verdict == "Abstained"
    )


def learnt(measured: float, serves: float, leak: float) -> VersionCard:
    known = Learnt(measured=around(measured), serves=around(serves), held_out_minus_learnt=around(leak))
    return card().model_copy(update={"learnt": known})


KNOWING = Control(measured=around(0.4), scrambled=around(0.4), chance=0.1, excess=around(0.24))


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("learnt", learnt(0.4, 0.05, -0.1)),
        ("leak", learnt(0.4, 0.4, 0.6)),
        ("scrambled", card().model_copy(update={"control": KNOWING})),
        ("coverage", card(champion(metrics={"coverage@20": around(0.8)}, difference={"coverage@20": around(-0.75)}))),
        (
            "forgetting",
            card(champion(slices={"oldItems": {"ndcg@10": around(0.3)}}, slice_difference={"oldItems": {"ndcg@10": around(-0.2)}})),
        ),
        (
            "cold-users",
            card(champion(slices={"coldUsers": {"ndcg@10": around(0.3)}}, slice_difference={"coldUsers": {"ndcg@10": around(-0.2)}})),
        ),
        ("capture", card().model_copy(update={"capture": Capture(newcomers=90, items=["item-7"], share=around(0.3))})),
    ],
)
def test_each_guard_stops_what_it_is_there_for_though_nobody_named_it(name: str, broken: VersionCard):
    found = verdicts([], broken)
    assert [each.name for each in found if each.verdict == "Failed"] == [name]
    assert not passed(found)


def test_every_guard_is_stopping_something_in_the_test_above():
    assert {gate.name for gate in guards()} == {"learnt", "leak", "scrambled", "coverage", "forgetting", "cold-users", "capture"}
    assert not {gate.name for gate in guards()} & {gate.name for gate in default_gates()}
    assert all(gate.proof == "NotRefuted" for gate in guards()), "a guard must not stop a good version by chance"


def test_a_gate_of_the_same_name_takes_a_guards_place():
    mine = Gate.model_validate({"name": "leak", "metric": "leak@10", "atMost": 0.9, "enforcement": "Observe"})
    found = {each.name: each.verdict for each in verdicts([mine], learnt(0.4, 0.4, 0.6))}
    assert found["leak"] == "Observed"
    assert len(found) == len(guards())


def version(**more: object) -> VersionSpec:
    made = VersionSpec.model_validate(
        {
            "modelRef": ModelReference(name="m", uid="u"),
            "cause": {"trigger": "Initial", "detail": "x"},
            "snapshot": SnapshotReference(sequence=1, rows=1),
            "storageURI": "file:///s",
            "algorithm": "ALS",
            "seed": 1,
        }
    )
    return made.model_copy(update=more)


def test_a_card_that_was_made_of_something_else_is_stopped_and_the_difference_named():
    assert as_asked(version(), "m-000001", card()).verdict == "Passed"
    stale = as_asked(version(snapshot=SnapshotReference(sequence=9, rows=9)), "m-000001", card())
    assert (stale.name, stale.verdict) == ("as-asked", "Failed")
    assert stale.message == "the card is of snapshot 1 where 9 was asked"
    assert "parent None where m-000000 was asked" in as_asked(version(parent="m-000000"), "m-000001", card()).message


def test_each_check_of_a_preflight_is_a_verdict_of_its_own():
    checks = {"latency": "p99 1.2 ms", "as-trained": "failed: 24 of 30 probes answered otherwise", "users": "not checked: none"}
    report = PreflightReport(version="m", digest="d", passed=False, checks=checks, requests=3, p99_ms=1.2)
    found = {each.name: each.verdict for each in of_preflight(report)}
    assert found == {"preflight-as-trained": "Failed", "preflight-latency": "Passed", "preflight-users": "Abstained"}


def test_a_run_is_told_of_the_fields_that_gates_group_by():
    asked = [
        Gate(name="a", metric="ndcgGap@10", group_by="gender", at_most=0.1),
        Gate(name="b", metric="hr@10", slice="group:country=DE", at_least=0.1),
        Gate(name="c", metric="ndcgGap@10", group_by="activity", at_most=0.1),
        Gate(name="d", metric="hr@10", slice="coldUsers", at_least=0.1),
    ]
    assert fields_grouped_by(asked) == ["country", "gender"]


def test_an_interval_that_only_touches_the_bound_is_no_failure():
    assert one({"metric": "ndcg@10", "atLeast": 0.2}, candidate(card(), metrics={"ndcg@10": estimate(0.1, 0.2)})).verdict == "Passed"
