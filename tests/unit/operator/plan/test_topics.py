"""A topic that is someone else's is verified, and never made, grown or configured."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from recsys_operator.plan.plan import plan
from recsys_operator.plan.topics import USABLE, Topics, act, judge
from recsys_operator.state.observed import Observed, PartitionState, TopicsState, TopicState, Unavailable
from recsys_operator.world.objects import read_model
from recsys_schemas.v1alpha1.conditions import ConditionType

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROLES = {"watch": "Watch", "asked": "Requests", "answered": "Responses"}


def topic(name: str, *, partitions: int = 3, hours: int = 720, in_sync: int = 3) -> TopicState:
    each = tuple(PartitionState(id=number, replicas=3, in_sync=in_sync, end_offset=0) for number in range(partitions))
    return TopicState(name=name, partitions=each, config={"min.insync.replicas": "2", "retention.ms": str(hours * 3_600_000)})


def observed(*there: TopicState, policy: str = "Observe") -> Observed:
    """A model whose `watch` is someone else's; the others and the dead letters are ours, and there."""
    topics: list[dict[str, Any]] = [{"name": name, "role": role} for name, role in ROLES.items()]
    topics[0]["managementPolicy"] = policy
    spec = {"ray": {"dashboardURL": "http://127.0.0.1:1"}, "kafka": {"bootstrapServers": ["127.0.0.1:1"], "topics": topics}}
    model = read_model({"metadata": {"name": "movies", "namespace": "shop", "uid": "0123456789"}, "spec": spec}, "file:///x")
    ours = [topic("asked"), topic("answered"), replace(topic(model.dead_letter_topic), partitions=topic("x").partitions[:1])]
    seen = TopicsState(cluster_id="c", live_brokers=3, topics={each.name: each for each in (*ours, *there)})
    nothing = Unavailable(message="not looked at")
    return Observed(now=NOW, model=model, tokens={}, topics=seen, ray=nothing, manifest=None, evidence=None)


def said(world: Observed) -> dict[str, tuple[bool | None, str, str]]:
    return {fact.type: (fact.holds, fact.reason, fact.message) for fact in act(judge(world), world).facts}


def test_one_that_is_missing_is_not_made_and_the_condition_says_whose_it_is() -> None:
    world = observed()
    assert judge(world) is Topics.NOT_OURS_TO_MAKE
    assert act(judge(world), world).actions == ()
    holds, reason, message = said(world)[ConditionType.TOPICS_READY]
    assert (holds, reason) == (False, "ObservedTopicMissing")
    assert "spec.kafka.topics[watch]: not on the brokers" in message
    assert "have its owner make it, or set managementPolicy to Manage" in message


def test_the_same_is_made_when_it_is_ours() -> None:
    world = observed(policy="Manage")
    assert judge(world) is Topics.MISSING
    assert [getattr(action, "name", "") for action in act(judge(world), world).actions] == ["watch"]


@pytest.mark.parametrize(
    ("there", "words"),
    [
        (topic("watch", partitions=1), "1 partitions, 3 asked"),
        (topic("watch", hours=1), "retention.ms 3600000, 2592000000 asked"),
    ],
)
def test_one_that_differs_is_read_and_told_but_not_changed(there: TopicState, words: str) -> None:
    world = observed(there)
    assert judge(world) is Topics.NOT_OURS_TO_CHANGE
    assert judge(world) in USABLE
    assert act(judge(world), world).actions == ()
    told = said(world)
    assert told[ConditionType.TOPICS_READY][:2] == (False, "ObservedTopicDiffers")
    assert f"spec.kafka.topics[watch]: {words}" in told[ConditionType.TOPICS_READY][2]
    assert told[ConditionType.REPLICATION_HEALTHY][0] is True
    assert len(act(judge(observed(there, policy="Manage")), observed(there, policy="Manage")).actions) == 1


def test_one_with_fewer_replicas_is_told_to_its_owner_and_not_raised() -> None:
    thin = tuple(PartitionState(id=number, replicas=2, in_sync=2, end_offset=0) for number in range(3))
    world = observed(replace(topic("watch"), partitions=thin))
    assert judge(world) is Topics.THIN
    assert plan(world).status.replication.raising is None  # type: ignore[union-attr]
    holds, reason, message = said(world)[ConditionType.TOPICS_READY]
    assert (holds, reason) == (False, "ReplicationTooLow")
    assert (
        message == "watch: fewer replicas than the spec asks, and not ours to change (managementPolicy Observe): have its owner raise them"
    )


def test_one_that_is_as_asked_is_healthy_and_one_out_of_sync_holds_training() -> None:
    assert judge(observed(topic("watch"))) is Topics.HEALTHY
    assert judge(observed(topic("watch", in_sync=2))) is Topics.UNDER_REPLICATED


def test_a_refusal_is_false_and_silence_is_unknown() -> None:
    for refused, holds, reason in ((True, False, "KafkaRefused"), (False, None, "KafkaUnreachable")):
        world = replace(observed(), topics=Unavailable(message="m", refused=refused))
        assert said(world)[ConditionType.TOPICS_READY] == (holds, reason, "m")


@pytest.mark.parametrize(("least", "configured"), [("1", ["2"]), ("2", []), ("3", [])])
def test_the_least_number_in_sync_is_raised_and_never_lowered(least: str, configured: list[str]) -> None:
    there = topic("watch")
    world = observed(replace(there, config={**there.config, "min.insync.replicas": least}), policy="Manage")
    asked = [getattr(action, "config", {}) for action in act(judge(world), world).actions]
    assert [config["min.insync.replicas"] for config in asked] == configured
