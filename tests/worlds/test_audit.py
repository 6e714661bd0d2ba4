"""The audit topic: after any history its chain is whole, and each verdict follows again from its own record; harm to either is named."""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from recsys_operator.plan.audit import chain, recording
from recsys_operator.plan.audit.chain import Audit
from recsys_schemas.audit import AuditRecord, canonical, digest
from recsys_schemas.v1alpha1.conditions import ConditionType
from worlds.random_walks import STRATEGIES, played
from worlds.simulated import World, spec


def audited(world: World) -> Audit:
    """All that was written, until nothing waits."""
    world.unreachable.clear()
    world.run_until(lambda w: w.status.audit is not None and w.status.audit.waiting == 0 and not kept(w), passes=60)
    mark = world.status.audit
    assert mark is not None
    return chain.check(enumerated(world.decisions), head=(mark.sequence, mark.sha256))


def kept(world: World) -> list[str]:
    """What decisions keep because it is not written yet."""
    return [each.kept for walk in world.rollouts.values() for each in walk.status.decisions if each.kept]


def enumerated(values: Sequence[bytes]) -> list[tuple[str, bytes]]:
    return [(f"offset {place}", value) for place, value in enumerate(values)]


@pytest.mark.parametrize("name", STRATEGIES)
def test_after_any_history_the_chain_is_whole_and_each_verdict_follows_from_its_record(name: str):
    for seed in range(list(STRATEGIES).index(name), 90, len(STRATEGIES)):
        world = played(name, seed)
        audit = audited(world)
        assert audit.faults == [], (seed, audit.faults)
        assert all(record.kept is not None for record in audit.records), seed
        decisions = [(walk.name, each.number) for walk in world.rollouts.values() for each in walk.status.decisions]
        written = {(record.rollout, record.number) for record in audit.records}
        assert set(decisions) <= written, seed


def test_a_crash_after_the_record_and_before_the_mark_writes_the_same_record_again():
    world = World(chance=random.Random(1))
    while not world.decisions:
        world.step(survive=99 if not world.rollouts else None)
        world.appended.clear()
        world.tick()
    for _ in range(3):
        world.step(survive=40)
        world.appended.clear()
    assert len(world.decisions) > 1
    assert len(set(world.decisions)) < len(world.decisions)
    assert audited(world).faults == []


@pytest.fixture(scope="module")
def walked() -> World:
    """A version that is promoted, one that is rolled back for its errors, and one that is on its way."""
    world = World(chance=random.Random(3))
    world.run_until(lambda w: str(w.status.phase) == "Serving" and len(w.rollouts) == 1)
    world.run_until(lambda w: len(w.rollouts) == 3)
    world.error_rate["movies-000003"] = 0.5
    world.run_until(lambda w: str(w.rollouts["movies-000003"].status.phase) == "RolledBack", passes=800)
    assert audited(world).faults == []
    return world


def harmed(world: World, harm: Callable[[list[bytes]], list[bytes]]) -> list[str]:
    mark = world.status.audit
    assert mark is not None
    return chain.check(enumerated(harm(list(world.decisions))), head=(mark.sequence, mark.sha256)).faults


def test_each_flipped_byte_of_a_record_is_named(walked: World):
    chance = random.Random(5)
    for _ in range(40):
        place, bit = chance.randrange(len(walked.decisions)), 1 << chance.randrange(8)

        def flip(values: list[bytes], place: int = place, bit: int = bit) -> list[bytes]:
            value = bytearray(values[place])
            value[chance.randrange(len(value))] ^= bit
            values[place] = bytes(value)
            return values

        assert any("tampered" in fault for fault in harmed(walked, flip)), place


@pytest.mark.parametrize("place", [0, 2, -1])
def test_a_record_that_is_removed_is_named(walked: World, place: int):
    def without(values: list[bytes]) -> list[bytes]:
        del values[place]
        return values

    gone = range(len(walked.decisions))[place]
    found = harmed(walked, without)
    assert any("dropped" in fault and str(gone) in fault for fault in found), found


def test_records_that_changed_places_are_named(walked: World):
    found = harmed(walked, lambda values: [values[0], values[2], values[1], *values[3:]])
    assert any("reordered: record 1 stands after record 2" in fault for fault in found), found


def test_a_second_record_of_one_number_is_named(walked: World):
    def forged(values: list[bytes]) -> list[bytes]:
        other = sealed(json.loads(values[1]) | {"words": "another operator's words"})
        return [*values[:2], other, *values[2:]]

    found = harmed(walked, forged)
    assert any("forked: another record 1 stands before it" in fault for fault in found), found


def sealed(fields: dict[str, Any]) -> bytes:
    return canonical(fields | {"sha256": digest(fields)})


def rechained(values: list[bytes], change: Callable[[dict[str, Any]], None]) -> tuple[list[bytes], tuple[int, str]]:
    """A forger who may write the whole topic and the model's status anew: every hash is right."""
    made: list[bytes] = []
    previous, number = "0" * 64, -1
    for value in values:
        fields = json.loads(value) | {"previous": previous}
        change(fields)
        made.append(sealed(fields))
        previous, number = json.loads(made[-1])["sha256"], fields["sequence"]
    return made, (number, previous)


def verdict(fields: dict[str, Any]) -> None:
    if fields["verdict"] == "RolledBack":
        fields["verdict"] = "Promoted"


def counts(fields: dict[str, Any]) -> None:
    """Errors that the candidate never had, and none that it had."""
    if fields["verdict"] != "RolledBack":
        return
    for replica in fields["kept"]["inputs"]["reports"]:
        for stratum in replica["counters"].get("movies-000003", {"strata": {}})["strata"].values():
            stratum["errors"] = [0] * len(stratum["errors"])


def limits(fields: dict[str, Any]) -> None:
    if fields["verdict"] == "RolledBack":
        fields["kept"]["inputs"]["spec"]["analysis"]["acceptableErrorRate"] = 0.9


@pytest.mark.parametrize("change", [verdict, counts, limits])
def test_a_record_that_was_altered_with_all_hashes_made_anew_is_caught_by_deciding_again(walked: World, change: Callable[..., None]):
    made, head = rechained(list(walked.decisions), change)
    found = chain.check(enumerated(made), head=head).faults
    assert found
    assert all("verdict: recorded" in fault or "its inputs give" in fault for fault in found), found
    same, head = rechained(list(walked.decisions), lambda _: None)
    assert chain.check(enumerated(same), head=head).faults == []


def as_released(value: object) -> object:
    """Without the fields that tests of several arms have added: as a record of the release before stands on the topic."""
    if isinstance(value, list):
        return [as_released(each) for each in value]
    if not isinstance(value, dict):
        return value
    kept = {name: as_released(each) for name, each in value.items() if name not in ("left", "winner", "about", "ceded")}
    return {name: each for name, each in kept.items() if name != "arms" or each}


def test_records_from_before_tests_of_several_arms_are_decided_again_as_they_were(walked: World):
    def older(fields: dict[str, Any]) -> None:
        fields["kept"] = as_released(fields["kept"])

    made, head = rechained(list(walked.decisions), older)
    assert b'"ceded"' not in b"".join(made)
    assert chain.check(enumerated(made), head=head).faults == []


def test_a_verifier_that_does_not_decide_again_would_miss_it(walked: World, monkeypatch: pytest.MonkeyPatch):
    made, head = rechained(list(walked.decisions), verdict)
    monkeypatch.setattr(chain.again, "differences", lambda _record: [])
    assert chain.check(enumerated(made), head=head).faults == []


def test_while_kafka_is_away_decisions_wait_and_the_condition_says_so_and_none_is_lost():
    world = World(chance=random.Random(2))
    world.run_until(lambda w: str(w.status.phase) == "Serving")
    written = len(world.decisions)
    world.run_until(lambda w: len(w.rollouts) == 2)
    world.error_rate["movies-000002"] = 0.5
    world.run_until(lambda w: w.rollouts["movies-000002"].status.weight > 0)
    kept = len(world.decisions)
    world.unreachable.add("kafka")
    world.run_until(lambda w: str(w.rollouts["movies-000002"].status.phase) == "RolledBack")
    world.step()
    assert len(world.decisions) == kept >= written
    mark = world.status.audit
    assert mark is not None
    assert mark.waiting > 0
    condition = next(each for each in world.status.conditions if each.type == ConditionType.AUDITED)
    assert (condition.status, condition.reason) == ("Unknown", "Writing")
    audit = audited(world)
    assert audit.faults == []
    assert audit.records[-1].verdict == "RolledBack"


def test_a_model_that_names_no_topic_keeps_nothing_and_says_nothing():
    topics = [{"name": "watch", "role": "Watch"}, {"name": "asked", "role": "Requests"}, {"name": "answered", "role": "Responses"}]
    world = World(chance=random.Random(1), spec=spec(kafka={"bootstrapServers": ["k:1"], "topics": topics}))
    world.run_until(lambda w: str(w.status.phase) == "Serving")
    assert world.status.audit is None
    assert world.decisions == []
    assert all(each.type != ConditionType.AUDITED for each in world.status.conditions)
    assert not kept(world)


def test_what_is_kept_can_be_packed_and_is_small(walked: World):
    records = [AuditRecord.model_validate_json(value) for value in walked.decisions]
    packed = [recording.pack(record.kept) for record in records if record.kept]
    assert len(packed) == len(records)
    assert [recording.unpack(each) for each in packed] == [record.kept for record in records]
    assert max(map(len, packed)) < 16_384
    assert recording.unpack("no base64!") is None
