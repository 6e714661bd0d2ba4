"""One named story for each thing that everybody assumes."""

import random
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from recsys_operator.plan import ingest, redeploying, rollout, shares
from recsys_operator.state.actions import CreateTopic, SubmitJob
from recsys_schemas.train_job import IngestJob, TrainJob
from recsys_schemas.v1alpha1.model_status import ServingRetry
from worlds.looks import champion
from worlds.simulated import START, World, spec


def serves(name: str):
    return lambda world: champion(world) == name and world.status.phase == "Serving"


def ended(name: str):
    return lambda world: name in world.rollouts and world.rollouts[name].status.phase in shares.ENDED


def phases(world: World) -> dict[str, str]:
    return {name: str(version.status.phase) for name, version in world.versions.items()}


@pytest.fixture
def world() -> World:
    return World(chance=random.Random(7))


@pytest.fixture
def once() -> World:
    """A world in which one version is all that ever becomes due."""
    training = {"initialRecords": 100, "newRecords": 10**9, "cooldownSeconds": 1, "backoffLimit": 2}
    return World(chance=random.Random(7), spec=spec(training=training))


def test_from_nothing_to_a_champion(once: World):
    once.run_until(serves("movies-000001"))
    assert len(once.topics) == len(once.spec.kafka.topics) + 1
    assert phases(once) == {"movies-000001": "Champion"}
    ready = next(c for c in once.status.conditions if c.type == "Ready")
    assert (ready.status, ready.reason) == ("True", "ChampionServing")


def test_a_run_learns_from_the_catalogue_that_the_model_named_when_the_version_became_due():
    uri = "s3://catalogues/items.csv"
    world = World(chance=random.Random(7), spec=spec(data={"catalogue": {"uri": uri}}))
    world.run_until(serves("movies-000001"))
    learned = [action.job for action in world.submitted.values() if isinstance(action.job, TrainJob)]
    assert [job.catalogue.uri for job in learned if job.catalogue] == [uri]
    made = world.versions["movies-000001"].spec.catalogue
    assert made is not None
    assert made.uri == uri


def test_a_second_version_walks_5_25_50_and_is_promoted(world: World):
    world.run_until(serves("movies-000002"))
    walked = [share for name, share in world.share_history if name == "movies-000002"]
    assert walked == [0, 5, 25, 50, 100]
    assert phases(world)["movies-000001"] == "Retired"


def test_a_candidate_with_errors_is_sent_back_and_users_stay_on_the_champion(world: World):
    world.error_rate["movies-000002"] = 0.5
    world.run_until(ended("movies-000002"))
    assert champion(world) == "movies-000001"
    assert world.rollouts["movies-000002"].status.decisions[-1].verdict == "RolledBack"
    assert "errors" in world.rollouts["movies-000002"].status.message


def test_a_candidate_that_nobody_likes_is_sent_back_though_it_never_errs(world: World):
    world.reward_rate["movies-000002"] = 0.02
    world.run_until(ended("movies-000002"))
    assert champion(world) == "movies-000001"
    assert max(share for name, share in world.share_history if name == "movies-000002") == 5, "while harm is likely no share grows"


def test_a_candidate_rolled_back_does_not_bar_the_next(world: World):
    world.error_rate["movies-000002"] = 0.5
    world.run_until(serves("movies-000003"), passes=600)
    assert phases(world)["movies-000002"] == "RolledBack"


def test_a_step_without_requests_proves_nothing(world: World):
    world.run_until(serves("movies-000001"))
    world.requests_per_second = 0
    world.run_until(lambda w: "movies-000002" in w.rollouts and w.rollouts["movies-000002"].status.weight == 5)
    for _ in range(200):
        world.step()
        world.tick()
    assert world.rollouts["movies-000002"].status.weight == 5
    assert champion(world) == "movies-000001"


def test_a_version_that_does_not_beat_the_baselines_is_never_seen(world: World):
    world.worse_offline.add("movies-000002")
    world.run_until(lambda w: phases(w).get("movies-000002") == "Rejected")
    assert "movies-000002" not in world.rollouts
    verdict = world.versions["movies-000002"].status.gates[0]
    assert (verdict.name, verdict.verdict) == ("baselines", "Failed")
    assert "-0.2000" in verdict.message


def test_a_failed_run_is_tried_again_and_given_up_in_the_end(world: World):
    world.fails_training["movies-000001"] = 2
    world.run_until(serves("movies-000001"))
    assert world.versions["movies-000001"].status.attempt == 2
    other = World(chance=random.Random(7), fails_training={"movies-000001": 3})
    other.run_until(lambda w: phases(w).get("movies-000001") == "Failed")
    assert any(event.reason == "TrainingGivenUp" for event in other.events)


def test_after_the_cluster_is_replaced_the_champion_serves_again_without_training(once: World):
    once.run_until(serves("movies-000001"))
    once.rows_per_second = 0
    runs = sum(id_.startswith("train-") for id_ in once.submitted)
    once.restart_ray()
    once.run_until(lambda w: w.app is not None and bool(w.replicas) and w.status.phase == "Serving")
    assert [arm.version for arm in once.app.record.arms] == ["movies-000001"]  # type: ignore[union-attr]
    assert sum(id_.startswith("train-") for id_ in once.submitted) == runs


def test_nothing_is_trained_when_nothing_is_due(once: World):
    once.run_until(serves("movies-000001"))
    once.rows_per_second = 0
    for _ in range(300):
        once.step()
        once.tick(10)
    assert sorted(once.versions) == ["movies-000001"]


def test_at_rest_a_pass_does_nothing(once: World):
    once.run_until(serves("movies-000001"))
    once.rows_per_second = 0
    for _ in range(5):
        once.step()
        once.tick()
    assert once.step().actions == ()


def test_more_replicas_than_brokers_is_said_and_nothing_is_lowered(world: World):
    world.brokers = 2
    world.step()
    world.tick()
    world.step()
    said = {c.type: c for c in world.status.conditions}
    assert said["TopicsReady"].reason == "ReplicasInfeasible"
    assert "3, but 2 brokers are live" in said["TopicsReady"].message
    assert said["Stalled"].status == "True"
    assert not world.topics


def test_a_replica_out_of_sync_holds_training(world: World):
    world.run_until(lambda w: w.rows > 50)
    world.out_of_sync = True
    for _ in range(60):
        world.step()
        world.tick()
    assert not world.versions
    assert next(c for c in world.status.conditions if c.type == "ReplicationHealthy").reason == "UnderReplicated"
    world.out_of_sync = False
    world.run_until(serves("movies-000001"))


def share(world: World) -> int:
    return world.rollouts["movies-000002"].status.weight if "movies-000002" in world.rollouts else 0


def wait_out_of_sync(world: World) -> None:
    """A candidate has its first share; then a replica falls behind for a minute."""
    world.run_until(lambda w: share(w) == 5)
    world.out_of_sync = True
    for _ in range(60):
        world.step()
        world.tick()
        assert share(world) == 5, "a share grew while a replica was out of sync"


def test_a_replica_out_of_sync_holds_promotion(world: World):
    wait_out_of_sync(world)
    world.out_of_sync = False
    world.run_until(lambda w: ended("movies-000002")(w) and champion(w) == "movies-000002")


def test_a_promotion_that_a_replica_out_of_sync_does_not_hold_is_caught(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rollout, "HOLDING", frozenset[object]())
    with pytest.raises(AssertionError, match="a share grew"):
        wait_out_of_sync(world)


def test_dead_letters_above_the_limit_hold_training(world: World):
    world.run_until(lambda w: w.rows > 20)
    world.dead_letters = 1000
    for _ in range(60):
        world.step()
        world.tick()
    assert not world.versions
    assert next(c for c in world.status.conditions if c.type == "SnapshotReady").reason == "DataQualityFailed"


def test_one_bad_hour_holds_training_and_heals_when_good_records_follow(world: World):
    world.run_until(lambda w: w.rows > 20)
    world.recent = (1000, 300)
    for _ in range(60):
        world.step()
        world.tick()
    assert not world.versions
    told = next(c for c in world.status.conditions if c.type == "SnapshotReady")
    assert (told.status, told.reason) == ("False", "DataQualityFailed")
    assert "300 of the newest 1000 records (30.0%)" in told.message
    assert world.status.ingestion is not None
    assert world.status.ingestion.dead_letter_fraction == "0.3000"
    world.dead_letters, world.recent = 300, (20_000, 40)
    world.run_until(serves("movies-000001"))
    assert world.status.ingestion.dead_letter_fraction == "0.0020"


def test_deleting_a_model_removes_its_application_and_jobs_and_keeps_its_topics(once: World):
    once.run_until(serves("movies-000001"))
    once.deleting_since = once.now
    once.run_until(lambda w: w.gone)
    assert once.app is None
    assert all(job.word.ended for job in once.jobs.values())
    assert len(once.topics) == len(once.spec.kafka.topics) + 1


def test_a_model_for_which_nothing_was_begun_is_held_by_nobody(world: World):
    world.unreachable.add("ray")
    for _ in range(5):
        world.step()
        world.tick()
    assert world.topics
    assert world.status.observed_generation == 1
    assert not world.finalizer
    world.unreachable.clear()
    world.run_until(serves("movies-000001"))
    assert world.finalizer


def test_a_deletion_does_not_wait_for_ever_for_a_dead_cluster(once: World):
    once.run_until(serves("movies-000001"))
    once.deleting_since = once.now
    once.unreachable.add("ray")
    once.run_until(lambda w: w.gone, passes=100)
    assert once.now - once.deleting_since >= timedelta(seconds=60)


def test_a_roll_back_is_not_told_as_done_while_nobody_can_say_what_serves(world: World):
    world.run_until(lambda w: "movies-000002" in w.rollouts and w.rollouts["movies-000002"].status.weight == 5)
    asked = world.rollouts["movies-000002"]
    control = asked.spec.control.model_copy(update={"abort": True})
    world.rollouts["movies-000002"] = replace(asked, spec=asked.spec.model_copy(update={"control": control}))
    world.run_until(lambda w: w.rollouts["movies-000002"].status.phase == "RollingBack")
    world.unreachable.add("ray")
    for _ in range(30):
        world.step()
        world.tick()
    assert world.rollouts["movies-000002"].status.phase == "RollingBack"
    world.unreachable.clear()
    world.run_until(lambda w: w.rollouts["movies-000002"].status.phase == "Aborted")


def test_a_person_may_abort_and_the_champion_serves_all(world: World):
    world.run_until(lambda w: "movies-000002" in w.rollouts and w.rollouts["movies-000002"].status.weight == 25)
    asked = world.rollouts["movies-000002"]
    control = asked.spec.control.model_copy(update={"abort": True})
    world.rollouts["movies-000002"] = type(asked)(
        name=asked.name, spec=asked.spec.model_copy(update={"control": control}), status=asked.status
    )
    world.run_until(ended("movies-000002"))
    assert world.rollouts["movies-000002"].status.phase == "Aborted"
    assert champion(world) == "movies-000001"


def test_a_paused_rollout_holds_its_share_but_a_failing_candidate_is_still_sent_back():
    steady = spec()
    held = steady.model_copy(update={"rollout": steady.rollout.model_copy(update={"paused": True})})
    world = World(chance=random.Random(3))
    world.run_until(lambda w: "movies-000002" in w.rollouts and w.rollouts["movies-000002"].status.weight == 5)
    world.spec = held
    for _ in range(60):
        world.step()
        world.tick()
    assert world.rollouts["movies-000002"].status.weight == 5
    world.error_rate["movies-000002"] = 0.9
    world.run_until(ended("movies-000002"))
    assert champion(world) == "movies-000001"


def test_a_replica_that_refuses_the_files_sends_the_candidate_back(world: World):
    world.refuses_to_load.add("movies-000002")
    world.run_until(ended("movies-000002"))
    assert "refused movies-000002: digest differs" in world.rollouts["movies-000002"].status.message


def test_a_model_made_again_under_the_same_name_takes_no_old_version_for_its_own(world: World):
    world.run_until(serves("movies-000001"))
    again = World(chance=random.Random(1), uid="ffffffff-1111", cards=dict(world.cards), preflights=dict(world.preflights), rows=500)
    again.run_until(serves("movies-000002"))
    assert sorted(again.versions) == ["movies-000002"]


def snapshot_ready(world: World) -> tuple[str, str, str]:
    found = next(c for c in world.status.conditions if c.type == "SnapshotReady")
    return found.status, found.reason, found.message


def test_ingest_that_fails_again_and_again_is_told_without_a_break_until_it_works(once: World):
    once.run_until(serves("movies-000001"))
    once.rows_per_second = 0
    once.fails_ingest = "storageURI: the disk is full"
    told: list[tuple[str, str, str]] = []
    for _ in range(90):
        once.step()
        once.tick()
        told.append(snapshot_ready(once))
    since = next(number for number, (_, reason, _) in enumerate(told) if reason == "IngestFailed")
    assert since < 10
    assert {(status, reason) for status, reason, _ in told[since:]} == {("False", "IngestFailed")}
    assert told[-1][2].endswith("storageURI: the disk is full")
    once.fails_ingest, once.rows_per_second = "", 10
    once.run_until(lambda world: snapshot_ready(world)[1] == "Committed")


NO_RETRY = ServingRetry(attempts=0, next_time=START)
LATE = "spec.kafka.security.caSecretRef: $RECSYS_SECRETS/ns/kafka/ca.crt: No such file or directory on the Ray cluster"


def serving(world: World) -> tuple[str, str, str]:
    found = [c for c in world.status.conditions if c.type == "Serving"]
    return (found[0].status, found[0].reason, found[0].message) if found else ("", "", "")


def test_an_application_that_ray_serve_gave_up_is_sent_again_with_growing_pauses_until_it_starts(once: World):
    once.fails_serving, once.rows_per_second = LATE, 0
    once.run_until(lambda world: serving(world)[1] == "DeployFailed")
    told: list[tuple[str, str, str]] = []
    for _ in range(1000):
        once.step()
        once.tick()
        told.append(serving(once))
    assert {(status, reason) for status, reason, _ in told} == {("False", "DeployFailed")}, "told without a break"
    assert all(message.endswith(LATE) for _, _, message in told)
    pauses = [(later - sent).total_seconds() for sent, later in pairwise(once.sent_app_at)]
    assert pauses[:6] == pytest.approx([13, 20, 40, 80, 160, 300], abs=3)
    assert pauses[6:] == pytest.approx([300] * len(pauses[6:]), abs=3)
    assert once.status.serving is not None
    assert once.status.serving.retry is not None
    assert once.status.serving.retry.attempts == len(pauses)
    once.fails_serving, once.rows_per_second = "", 10
    once.run_until(serves("movies-000001"))
    assert once.status.serving.retry is None


def test_an_application_that_is_never_sent_again_is_caught(once: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(redeploying, "due", lambda _observed: False)
    once.fails_serving, once.rows_per_second = LATE, 0
    once.run_until(lambda world: serving(world)[1] == "DeployFailed")
    once.fails_serving = ""
    with pytest.raises(AssertionError, match="LIVENESS"):
        once.run_until(lambda world: serving(world)[1] == "Empty")


def test_a_changed_spec_is_sent_at_once_however_long_the_pause_has_become(once: World):
    once.fails_serving = LATE
    once.run_until(lambda world: world.status.serving is not None and (world.status.serving.retry or NO_RETRY).attempts >= 5)
    once.fails_serving, sent = "", len(once.sent_app_at)
    once.spec = once.spec.model_copy(update={"serving": once.spec.serving.model_copy(update={"replicas": 3})})
    once.step()
    assert len(once.sent_app_at) == sent + 1
    once.run_until(serves("movies-000001"), passes=60)


def reading(world: World) -> int:
    running = [id_ for id_, job in world.jobs.items() if id_.startswith("ingest-") and not job.word.ended]
    assert len(running) <= 1
    job = world.submitted[running[0]].job if running else None
    return job.consumers if isinstance(job, IngestJob) else 0


def test_consumers_are_added_while_snapshots_fall_behind_and_taken_away_after_a_quiet_hour(once: World):
    once.run_until(serves("movies-000001"))
    assert reading(once) == 1
    once.rows_per_second, once.uncovered = 0, 600_000
    seen: list[int] = []
    for _ in range(400):
        once.step()
        once.tick()
        seen.append(reading(once))
    assert [number for number in dict.fromkeys(seen) if number] == [1, 2, 3], "one more at a time, up to spec.data.snapshot.consumers.max"
    assert seen.index(2) > 50, "a burst is no sign yet"
    assert once.status.ingestion is not None
    assert once.status.ingestion.consumers == 3
    once.uncovered = 0
    for _ in range(30):
        once.step()
        once.tick(seconds=120.0)
    assert reading(once) == 2


def test_no_more_consumers_read_than_there_are_partitions():
    small = [{"name": name, "role": role, "partitions": 1} for name, role in (("w", "Watch"), ("q", "Requests"), ("a", "Responses"))]
    world = World(chance=random.Random(7), spec=spec(kafka={"bootstrapServers": ["kafka:9092"], "topics": small}))
    world.run_until(lambda world: reading(world) == 1)
    world.rows_per_second, world.uncovered = 0, 600_000
    for _ in range(200):
        world.step()
        world.tick()
    assert reading(world) == 1


def test_a_topic_that_is_someone_elses_is_waited_for_and_never_made(once: World):
    topics = [
        topic.model_copy(update={"management_policy": "Observe"}) if topic.name == "watch" else topic for topic in once.spec.kafka.topics
    ]
    once.spec = once.spec.model_copy(update={"kafka": once.spec.kafka.model_copy(update={"topics": topics})})
    once.run_until(lambda world: len(world.topics) == len(world.spec.kafka.topics))
    for _ in range(20):
        once.step()
    assert "watch" not in once.topics
    assert not once.submitted
    told = next(c for c in once.status.conditions if c.type == "TopicsReady")
    assert (told.status, told.reason) == ("False", "ObservedTopicMissing")
    theirs = once.topics["rate"]
    once.topics["watch"] = CreateTopic(name="watch", partitions=3, replicas=3, config=theirs.config)
    once.run_until(serves("movies-000001"))


def upkeep_runs(world: World) -> list[str]:
    return [id_ for id_ in world.submitted if id_.startswith("upkeep-")]


def go_on(world: World, seconds: int, step: int = 5) -> None:
    for _ in range(seconds // step):
        world.step()
        world.tick(step)


def test_upkeep_runs_after_many_commits_one_at_a_time_and_what_it_did_is_told(once: World):
    once.run_until(serves("movies-000001"))
    go_on(once, 1500)
    ids = upkeep_runs(once)
    assert ids == [f"upkeep-movies-0a1b2c3d-{number}" for number in range(len(ids))]
    assert 3 <= len(ids) <= 6, "about each 300 s, for there are more than 200 commits in that time"
    told = once.status.ingestion
    assert told is not None
    assert told.last_upkeep is not None
    assert told.last_upkeep.message.startswith(f"run {told.last_upkeep.run}: watch 200 → 1 files")
    assert sum(event.reason == "UpkeepDone" for event in once.events) == len(ids)
    assert len([id_ for id_ in once.jobs if id_.startswith("upkeep-")]) == 1, "ended runs are forgotten"


def test_without_commits_upkeep_runs_once_a_day(once: World):
    once.run_until(serves("movies-000001"))
    once.rows_per_second = once.requests_per_second = 0
    go_on(once, 3 * 86_400 + 7200, step=600)
    assert len(upkeep_runs(once)) == 3


def test_dead_letters_have_a_topic_before_ingest_begins_and_none_for_a_model_that_waits_suspended(once: World):
    resumed, named = once.spec, {topic.name for topic in once.spec.kafka.topics}
    once.spec = resumed.model_copy(update={"suspend": True})
    go_on(once, 600, step=10)
    assert set(once.topics) == named
    fresh = {condition.type: (condition.status, condition.message) for condition in once.status.conditions}
    once.spec = resumed
    once.run_until(serves("movies-000001"))
    assert len(once.topics) == len(named) + 1
    once.spec = resumed.model_copy(update={"suspend": True})
    go_on(once, 600, step=10)
    suspended = {condition.type: (condition.status, condition.message) for condition in once.status.conditions}
    for told in ("TopicsReady", "ReplicationHealthy"):
        assert suspended[told] == fresh[told], "what is said of topics depends on the spec, not on what was before"


def test_a_suspended_model_is_left_alone(once: World):
    once.run_until(serves("movies-000001"))
    once.spec = once.spec.model_copy(update={"suspend": True})
    once.requests_per_second = 0
    go_on(once, 3 * 86_400, step=600)
    assert upkeep_runs(once) == []


def test_upkeep_that_fails_is_told_and_tried_again_with_growing_pauses(once: World):
    once.run_until(serves("movies-000001"))
    once.fails_upkeep = 4
    began = once.now
    once.run_until(lambda world: world.report is not None, passes=1500)
    assert once.report is not None
    assert once.report.run == 4
    assert once.now - began > timedelta(seconds=30 + 60 + 120 + 240)
    failed = [event.message for event in once.events if event.reason == "UpkeepFailed"]
    assert len(failed) == 4
    assert failed[-1].endswith("storageURI: the store does not answer")


def test_a_run_of_upkeep_that_never_ends_is_stopped_and_followed_by_another(once: World):
    once.run_until(lambda world: bool(upkeep_runs(world)), passes=600)
    ids = upkeep_runs(once)
    once.submitted[ids[0]] = SubmitJob(id=ids[0], job=ingest.wanted(once.observe()))  # a job that does not end by itself
    go_on(once, 7 * 3600, step=60)
    assert once.jobs.get(ids[0]) is None or once.jobs[ids[0]].word == "STOPPED"
    assert len(upkeep_runs(once)) > 1


def test_after_the_cluster_is_replaced_runs_are_numbered_on(once: World):
    once.run_until(lambda world: world.report is not None, passes=600)
    once.restart_ray()
    go_on(once, 1000)
    assert once.report is not None
    assert upkeep_runs(once)[:2] == ["upkeep-movies-0a1b2c3d-0", "upkeep-movies-0a1b2c3d-1"]


def test_what_versions_were_trained_on_is_kept_while_all_else_past_its_time_goes():
    world = World(chance=random.Random(7), spec=spec(data={"snapshot": {"retentionDays": 1}}))
    world.run_until(serves("movies-000002"), passes=600)
    go_on(world, 900)
    trained = {version.spec.snapshot.sequence for version in world.versions.values()}
    assert trained <= {*world.superseded, world.rows // 10}
    assert world.report is not None
    assert len(world.superseded) < world.rows // 10 // 2, "the others went"


def test_a_version_whose_snapshot_is_gone_says_so_once(once: World):
    once.run_until(serves("movies-000001"))
    for number in [number for number in once.superseded if number == once.versions["movies-000001"].spec.snapshot.sequence]:
        del once.superseded[number]
    go_on(once, 900)
    assert once.versions["movies-000001"].status.snapshot_removed
    assert [event.message.split(",")[0] for event in once.events if event.reason == "SnapshotRemoved"] == [
        f"movies-000001: snapshot {once.versions['movies-000001'].spec.snapshot.sequence}"
    ]
