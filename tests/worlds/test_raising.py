"""Raising the replicas of topics that exist already, a crash between any two actions included."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_operator.plan import raising, replicas, shares, throttle, topics
from recsys_operator.state.actions import Action, CreateTopic
from recsys_schemas.v1alpha1.replication import MovingPartition, Raising
from worlds.simulated import World, spec

NAMES = ("watch", "rate", "reco_requests", "reco_responses", "ns.movies.dead-letters")
OLD = {"min.insync.replicas": "1", "retention.ms": "2592000000"}


def made_with(replicas_: int, *, partitions: int = 12, brokers: int = 3, seed: int = 7) -> World:
    """A model whose topics were made by someone long ago."""
    asked = [
        {"name": name, "role": role, "partitions": partitions}
        for name, role in zip(NAMES, ("Watch", "Rate", "Requests", "Responses"), strict=False)
    ]
    training = {"initialRecords": 100, "newRecords": 10**9, "cooldownSeconds": 1, "backoffLimit": 2}
    kafka = {"bootstrapServers": ["kafka:9092"], "topics": asked}
    world = World(chance=random.Random(seed), spec=spec(kafka=kafka, training=training), brokers=brokers)
    for name in NAMES:
        count = 1 if name.endswith("dead-letters") else partitions
        world.topics[name] = CreateTopic(name=name, partitions=count, replicas=replicas_, config=dict(OLD))
    return world


def told(world: World, kind: str) -> tuple[str, str, str]:
    found = next(condition for condition in world.status.conditions if condition.type == kind)
    return found.status, found.reason, found.message


def under_way(world: World) -> Raising | None:
    return world.status.replication.raising if world.status.replication else None


def is_raised(world: World) -> bool:
    if not world.status.conditions or len(world.topics) < len(NAMES) or under_way(world) is not None:
        return False
    counts = [_count(world, name, number) for name, partitions in world.replicas_of.layout.items() for number in range(len(partitions))]
    return min(counts, default=0) >= 3 and told(world, "TopicsReady")[0] == "True"


def _count(world: World, name: str, number: int) -> int:
    return len(world.replicas_of.established(name, number))


def check_end(world: World) -> None:
    """What must hold once all is done: no throttle of ours, three replicas each, evenly, the settings of the spec."""
    assert not world.replicas_of.left(), "a throttle was left behind"
    for name, partitions in world.replicas_of.layout.items():
        counts = [sum(broker in brokers for brokers in partitions) for broker in range(1, world.brokers + 1)]
        assert max(counts) - min(counts) <= 1, f"{name}: {counts}"
        assert all(len(set(brokers)) == len(brokers) == 3 for brokers in partitions)
        assert world.topics[name].config["min.insync.replicas"] == "2"


def test_topics_of_one_replica_get_three_under_a_throttle_that_is_gone_afterwards():
    world = made_with(1, brokers=5)
    world.run_until(is_raised)
    check_end(world)
    assert 0 < world.replicas_of.most_under_way <= raising.AT_ONCE
    reasons = [event.reason for event in world.events if event.reason in ("RaisingReplication", "ReplicationRaised")]
    assert reasons == ["RaisingReplication", "ReplicationRaised"]


def test_the_status_counts_the_partitions_that_are_done():
    world = made_with(1)
    seen: list[int] = []
    for _ in range(200):
        world.step()
        world.tick()
        if (now := under_way(world)) is not None:
            seen.append(sum(topic.partitions_done for topic in now.topics))
            # For one pass after a topic is done its min.insync.replicas is being raised.
            assert told(world, "TopicsReady")[:2] in (("Unknown", "RaisingReplication"), ("Unknown", "Creating"))
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0, 49)
    assert is_raised(world)


def test_a_raise_that_takes_long_holds_neither_training_nor_serving():
    world = made_with(1)
    world.replicas_of.slow = True
    world.run_until(lambda w: shares.champion(w.observe()) is not None and w.status.phase == "Serving")
    assert under_way(world) is not None
    assert told(world, "ReplicationHealthy")[1] == "RaisingReplication"


def test_nothing_new_is_begun_while_a_replica_is_out_of_sync():
    world = made_with(2)
    world.out_of_sync = True
    for _ in range(30):
        world.step()
        world.tick()
    assert world.replicas_of.most_under_way == 0
    assert told(world, "ReplicationHealthy")[1] == "UnderReplicated"
    world.out_of_sync = False
    world.run_until(is_raised)


def test_with_fewer_brokers_than_replicas_nothing_is_asked_and_the_mend_is_told():
    world = made_with(1, brokers=2)
    for _ in range(20):
        world.step()
        world.tick()
    status, reason, message = told(world, "TopicsReady")
    assert (status, reason) == ("False", "ReplicationTooLow")
    assert "spec.kafka.topics[watch].replicas: 3" in message
    assert "2 brokers are live: lower replicas or add brokers" in message
    assert all(topic.config["min.insync.replicas"] == "1" for topic in world.topics.values()), "or nothing could be written"
    world.brokers = 3
    world.run_until(is_raised)


@pytest.mark.parametrize("rights", [(), ("Alter",), ("AlterConfigs",)])
def test_without_the_rights_the_mend_is_told_and_all_else_goes_on(rights: tuple[str, ...]):
    world = made_with(1)
    world.replicas_of.rights = rights
    world.run_until(lambda w: shares.champion(w.observe()) is not None and w.status.phase == "Serving")
    status, reason, message = told(world, "TopicsReady")
    assert (status, reason) == ("False", "RaiseDenied")
    assert "grant what `kubectl recsys topics acls` lists for this model" in message
    world.replicas_of.rights = ("Alter", "AlterConfigs")
    world.run_until(is_raised)
    check_end(world)


def test_a_partition_that_someone_else_moves_is_left_alone_and_told():
    world = made_with(1)
    world.observe()
    world.replicas_of.layout["watch"][0] = [1, 3]
    world.replicas_of.adding["watch", 0] = [3]
    world.replicas_of.others.add("watch:0")
    world.replicas_of.slow = True
    world.step()
    assert "watch: partitions 0 are being reassigned by someone else, and left alone" in told(world, "TopicsReady")[2]
    assert all(each.partition != 0 for each in under_way(world).moving)  # type: ignore[union-attr]
    world.replicas_of.slow = False
    world.run_until(is_raised)
    check_end(world)


def test_a_throttle_that_someone_has_set_on_a_topic_is_waited_for_and_one_on_a_broker_is_obeyed():
    world = made_with(1)
    theirs = {"leader.replication.throttled.replicas": "*", "follower.replication.throttled.replicas": "*"}
    world.replicas_of.lists["watch"] = dict(theirs)
    world.replicas_of.rates[2] = {"leader.replication.throttled.rate": "777", "follower.replication.throttled.rate": "777"}
    world.replicas_of.others |= {"watch", "2"}
    for _ in range(150):
        world.step()
        world.tick()
    assert all(len(brokers) == 1 for brokers in world.replicas_of.layout["watch"])
    assert all(len(brokers) == 3 for brokers in world.replicas_of.layout["rate"])
    assert (
        "watch: leader.replication.throttled.replicas and follower.replication.throttled.replicas set by someone else"
        in told(world, "TopicsReady")[2]
    )
    assert world.replicas_of.lists["watch"] == theirs
    del world.replicas_of.lists["watch"]
    world.replicas_of.others.remove("watch")
    world.run_until(is_raised)
    check_end(world)
    assert world.replicas_of.rates[2]["leader.replication.throttled.rate"] == "777"


def test_a_model_that_is_deleted_meanwhile_takes_its_throttle_with_it():
    world = made_with(1)
    world.replicas_of.slow = True
    world.run_until(lambda w: bool(w.replicas_of.adding))
    assert world.replicas_of.left()
    world.replicas_of.slow = False
    world.replicas_of.adding.clear()
    world.deleting_since = world.now
    world.run_until(lambda w: w.gone)
    assert not world.replicas_of.left()


def test_a_broker_that_dies_while_it_is_copied_to_is_waited_for_and_told():
    world = made_with(1, brokers=4)
    world.replicas_of.slow = True
    world.run_until(lambda w: any(4 in added for added in w.replicas_of.adding.values()))
    world.replicas_of.slow = False
    world.brokers = 3
    for _ in range(40):
        world.step()
        world.tick()
    assert "brokers 4 are down: bring them back, or cancel with Kafka's reassignment tool" in told(world, "TopicsReady")[2]
    world.brokers = 4
    world.run_until(is_raised)
    check_end(world)


def test_a_move_that_a_person_cancels_is_asked_of_another_broker_when_its_own_stays_away():
    world = made_with(1)
    world.observe()
    world.brokers = 4
    world.replicas_of.slow = True
    world.run_until(lambda w: any(4 in added for added in w.replicas_of.adding.values()))
    world.brokers = 3
    for (name, number), added in list(world.replicas_of.adding.items()):
        if 4 in added:
            world.replicas_of.layout[name][number] = world.replicas_of.established(name, number)
            del world.replicas_of.adding[name, number]
    world.replicas_of.slow = False
    world.run_until(lambda w: all(len(brokers) == 3 for partitions in w.replicas_of.layout.values() for brokers in partitions))
    gone = [brokers for partitions in world.replicas_of.layout.values() for brokers in partitions if 4 in brokers[1:]]
    assert not gone, "a replica was asked of a broker that is not there"


@pytest.mark.parametrize("survive", range(4))
def test_a_crash_after_any_action_changes_nothing_in_the_end(survive: int):
    world = made_with(1, seed=survive)
    for number in range(600):
        world.step(survive=survive if number % 2 else None)
        world.tick(0.3)
        if is_raised(world):
            break
    check_end(world)


histories = st.lists(
    st.tuples(st.sampled_from(("none", "crash", "kafka", "denied", "slow", "broker", "out_of_sync")), st.integers(0, 4)), max_size=60
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(histories, st.integers(0, 2**16), st.integers(1, 2))
def test_whatever_happens_replicas_are_only_added_and_no_throttle_stays(history: list[tuple[str, int]], seed: int, there: int):
    world = made_with(there, seed=seed, partitions=3, brokers=4)
    for fault, survive in history:
        world.unreachable.clear()
        world.replicas_of.rights = () if fault == "denied" else ("Alter", "AlterConfigs")
        world.replicas_of.slow = fault == "slow"
        world.out_of_sync = fault == "out_of_sync"
        if fault == "kafka":
            world.unreachable.add("kafka")
        world.step(survive=survive if fault == "crash" else None)
        world.tick()
    world.unreachable.clear()
    world.replicas_of.rights, world.replicas_of.slow, world.out_of_sync = ("Alter", "AlterConfigs"), False, False
    world.run_until(is_raised)
    assert not world.replicas_of.left()


def keeps_it(*_args: object, **_more: object) -> tuple[Action, ...]:
    """A throttle that is never taken away."""
    return ()


def replaces(present: dict[int, tuple[int, ...]], count: int, racks: dict[int, str]) -> dict[int, tuple[int, ...]]:
    """New replicas in the place of the old ones."""
    found = ORIGINAL_RAISED(present, count, racks)
    return {number: (*brokers[len(present[number]) :], *present[number]) for number, brokers in found.items()}


def turned(missing: list[MovingPartition]) -> list[Action]:
    """The new replicas before the old ones."""
    return ORIGINAL_ASK([each.model_copy(update={"replicas": each.replicas[::-1]}) for each in missing])


ORIGINAL_RAISED, ORIGINAL_ASK = replicas.raised, raising._ask

TWINS: dict[str, tuple[object, str, object]] = {
    "the throttle is never taken away": (throttle, "take_off", keeps_it),
    "no throttle is set": (throttle, "put_on", keeps_it),
    "replicas are replaced": (raising, "raised", replaces),
    "the new ones come first": (raising, "_ask", turned),
    "all at once": (raising, "AT_ONCE", 1000),
    "min.insync.replicas comes first": (raising, "thin", lambda *_: False),
}


def story() -> None:
    world = made_with(1, partitions=8)
    for number in range(150):
        world.step(survive=1 if number % 3 == 0 else None)
        world.tick()
    assert is_raised(world), "LIVENESS: not raised"
    check_end(world)


def test_the_story_itself_holds():
    story()


@pytest.mark.parametrize("twin", TWINS, ids=lambda name: name.replace(" ", "-"))
def test_a_broken_twin_is_caught(twin: str, monkeypatch: pytest.MonkeyPatch):
    where, name, broken = TWINS[twin]
    assert hasattr(where, name)
    monkeypatch.setattr(where, name, broken)
    with pytest.raises((AssertionError, KeyError)):
        story()


def test_a_raise_is_no_word_that_holds():
    assert topics.Topics.RAISING in topics.USABLE - topics.HOLDING
