"""Which decisions are still to be told, to whom, and what is said of places that cannot be reached."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from recsys_operator.plan import telling
from recsys_operator.plan.plan import plan
from recsys_operator.state.actions import Notify, PublishEvent
from recsys_operator.state.observed import Delivery, Observed, RolloutState
from recsys_schemas.v1alpha1.analysis import Analysis
from recsys_schemas.v1alpha1.model_status import ModelStatus
from recsys_schemas.v1alpha1.rollout import Decision, Pinned, RolloutSpec, RolloutStatus
from recsys_schemas.v1alpha1.strategy import Step
from recsys_schemas.v1alpha1.telling import NotificationStatus, Told
from recsys_schemas.v1alpha1.version import ModelReference
from worlds.simulated import World, spec

BEGAN = datetime(2026, 9, 1, tzinfo=UTC)
HOOK = {"name": "ops", "url": "http://127.0.0.1:1/hook"}


def rollout(name: str, *verdicts: str, first: int = 0, later: int = 0) -> RolloutState:
    decisions = [
        Decision.model_validate(
            {
                "number": first + number,
                "time": BEGAN + timedelta(minutes=later + number),
                "step": 0,
                "verdict": verdict,
                "words": f"why {number}",
            }
        )
        for number, verdict in enumerate(verdicts)
    ]
    asked = RolloutSpec(
        model_ref=ModelReference(name="movies", uid="u"),
        candidate=Pinned(name=name, digest="sha256:1"),
        steps=[Step(set_weight=5)],
        analysis=Analysis(),
    )
    return RolloutState(name=name, spec=asked, status=RolloutStatus(decisions=decisions))


def seen(*rollouts: RolloutState, status: ModelStatus | None = None, hooks: tuple[dict[str, Any], ...] = (HOOK,)) -> Observed:
    world = World(chance=Random(1), spec=spec(notifications=list(hooks)))
    if status is not None:
        world.status = status
    return replace(world.observe(), rollouts=rollouts)


def said(observed: Observed) -> list[tuple[str, str]]:
    return [(each.news.rollout, each.news.verdict) for each in telling.part(observed).actions if isinstance(each, Notify)]


def events(observed: Observed) -> list[str]:
    return [each.reason for each in telling.part(observed).actions if isinstance(each, PublishEvent)]


def told(rollout_name: str, number: int, minute: int) -> Told:
    return Told(rollout=rollout_name, number=number, time=BEGAN + timedelta(minutes=minute))


def at(mark: Told) -> ModelStatus:
    return ModelStatus(notifications=[NotificationStatus(name="ops", told=mark)], told=mark)


def test_a_new_place_is_told_of_what_comes_and_not_of_what_was() -> None:
    assert said(seen(rollout("movies-000001", "Began", "Promoted"))) == []
    assert telling.notifications(seen(rollout("movies-000001", "Began", "Promoted")))[0].told == told("movies-000001", 1, 1)
    assert telling.notifications(seen())[0].told == Told()


def test_what_came_since_is_told_in_order_and_only_what_was_asked_for() -> None:
    observed = seen(
        rollout("movies-000001", "Began", "Promoted"),
        rollout("movies-000002", "Began", "Advanced", "RolledBack", later=10),
        status=at(told("movies-000001", 0, 0)),
    )
    assert said(observed) == [("movies-000001", "Promoted"), ("movies-000002", "Began"), ("movies-000002", "RolledBack")]
    assert events(observed) == ["Promoted", "Began", "Advanced", "RolledBack"]
    chosen = seen(*observed.rollouts, status=observed.model.status, hooks=(HOOK | {"on": ["Advanced"]},))
    assert said(chosen) == [("movies-000002", "Advanced")]


def test_a_place_is_told_up_to_the_first_that_is_not_delivered() -> None:
    observed = seen(
        rollout("movies-000001", "Began", "Promoted"),
        rollout("movies-000002", "Began", "Advanced", "RolledBack", later=10),
        status=at(told("movies-000001", 0, 0)),
    )
    uid = observed.model.uid
    some = replace(observed, deliveries={"ops": Delivery(sent=frozenset({f"{uid}/movies-000001/1", f"{uid}/movies-000002/0"}))})
    assert said(some) == [("movies-000002", "RolledBack")]
    # Advanced was not asked for, so it is passed over.
    assert telling.notifications(some)[0].told == told("movies-000002", 1, 11)


def test_a_rollout_that_is_gone_is_passed_over_by_its_time() -> None:
    observed = seen(rollout("movies-000002", "Began", "Promoted", later=10), status=at(told("movies-000001", 7, 10)))
    assert said(observed) == [("movies-000002", "Promoted")]


def test_decisions_that_fell_off_the_list_keep_their_numbers() -> None:
    observed = seen(rollout("movies-000001", "Began", "Promoted", first=48), status=at(told("movies-000001", 48, 0)))
    assert said(observed) == [("movies-000001", "Promoted")]


def test_a_place_that_cannot_be_reached_is_told_and_holds_nothing() -> None:
    observed = seen(status=at(Told()))
    assert telling.part(observed).facts[0].holds is True
    failing = replace(observed, deliveries={"ops": Delivery(attempts=3, message="spec.notifications[ops]: it answers 500")})
    (fact,) = telling.part(failing).facts
    assert (fact.holds, fact.reason) == (False, "DeliveryFailing")
    assert "ops: spec.notifications[ops]: it answers 500 (tried 3 times); tried again by itself" in fact.message
    lost = replace(observed, deliveries={"ops": Delivery(given_up=2, message="no answer")})
    assert telling.part(lost).facts[0].reason == "GivenUp"
    assert telling.part(seen(hooks=())).facts == ()


def test_after_an_upgrade_old_decisions_make_no_events() -> None:
    ended = rollout("movies-000001", "Began", "Promoted")
    ended = replace(ended, status=ended.status.model_copy(update={"ended_at": BEGAN}))
    assert events(seen(ended, status=ModelStatus(observed_generation=3))) == []
    assert events(seen(rollout("movies-000001", "Began"), status=ModelStatus(observed_generation=1))) == ["Began"]


def test_an_event_that_a_crash_swallowed_is_published_from_the_record() -> None:
    world = World(chance=Random(3))
    died = 0
    for _ in range(200):
        before = len(world.rollouts)
        decided = plan(world.observe())
        kinds = [type(action).__name__ for action in decided.actions]
        # Right after a verdict was written, and before it was told: again and again.
        fatal = kinds.index("WriteRolloutStatus") + 1 if "WriteRolloutStatus" in kinds and died < 8 else None
        died += fatal is not None
        world.step(survive=fatal)
        world.tick()
        if before and any(rollout.status.ended_at for rollout in world.rollouts.values()):
            break
    for _ in range(3):
        world.step()
        world.tick()
    told = {(event.reason, event.message.partition(":")[0]) for event in world.events}
    assert died >= 2
    wanted = {(each.verdict, rollout.name) for rollout in world.rollouts.values() for each in rollout.status.decisions}
    assert wanted
    assert wanted <= told, sorted(wanted - told)
