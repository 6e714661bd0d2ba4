"""Random histories of rollouts hold, and deliberately broken twins of the plan are caught by them."""

import pickle
import time
from collections.abc import Callable
from datetime import datetime

import pytest

from recsys_operator.plan import rollout, serving, shares, steps, trials
from recsys_operator.plan.preferred import Preferred
from recsys_operator.plan.reports import Reports
from recsys_operator.plan.rollout import Rollout
from recsys_operator.state.observed import Observed, RolloutState
from recsys_schemas.serving_api import Arm
from recsys_schemas.v1alpha1.rollout import RolloutPhase, RolloutStatus
from worlds.random_walks import STRATEGIES, ask, batch, begun, play, present_step
from worlds.simulated import World

NAMES = list(STRATEGIES)


@pytest.mark.parametrize("first", range(0, 120, 60))
def test_whatever_happens_to_a_rollout_the_rules_hold_and_it_ends(first: int):
    _, broken = batch(range(first, first + 60), time.time() + 600)
    assert broken == [], broken[0]


@pytest.mark.slow
def test_five_hundred_histories_hold():
    _, broken = batch(range(1000, 1500), time.time() + 1200)
    assert broken == [], broken[0]


def always(value: object) -> Callable[..., object]:
    return lambda *_args, **_kwargs: value


JUDGE_STEP, EARNED, ARMS, VERB, JUDGE_HOLD = rollout._judge_step, steps.earned, shares.arms, steps.verb_at, rollout._judge_hold


def approves_itself(observed: Observed, walk: RolloutState, trial: trials.Trial) -> Rollout:
    word = JUDGE_STEP(observed, walk, trial)
    if word is Rollout.AWAITING_APPROVAL:
        return Rollout.EARNED_LAST if steps.is_last(walk) else Rollout.EARNED
    return word


def next_of_any_step(observed: Observed, walk: RolloutState, trial: trials.Trial) -> Rollout:
    if walk.spec.control.promote == "Next":
        return Rollout.PROMOTE_ASKED if steps.is_last(walk) else Rollout.NEXT_ASKED
    return JUDGE_STEP(observed, walk, trial)


def by_time(walk: RolloutState, trial: steps.Trial, now: datetime) -> bool:
    """Shadows and mixed lists prove whatever time has gone by."""
    step, since = steps.present(walk), walk.status.step_since
    if (step.shadow or step.interleave) and since is not None:
        return (now - since).total_seconds() >= 5
    return EARNED(walk, trial, now)


def no_better(walk: RolloutState, trial: steps.Trial, now: datetime) -> bool:
    """An A/B test that is taken for not being lost."""
    plain = RolloutState(name=walk.name, spec=walk.spec.model_copy(update={"strategy": "Canary"}), status=walk.status)
    return EARNED(plain, trial, now)


def lingering(observed: Observed, status: RolloutStatus | None = None) -> list[Arm]:
    """What is sent back keeps a twentieth of the users until the rollout is over."""
    walk, found = shares.active(observed), ARMS(observed, status)
    now = status or (walk.status if walk else None)
    if walk is None or now is None or now.phase is not RolloutPhase.ROLLING_BACK or not walk.spec.stable or not found:
        return found
    left = found[0].model_copy(update={"share": found[0].share - 5})
    pin = walk.spec.candidate
    return [left, *found[1:], Arm.model_validate({"version": pin.name, "digest": pin.digest, "variant": "candidate", "share": 5})]


def greedy(observed: Observed, status: RolloutStatus | None = None) -> list[Arm]:
    """Twice as many users are held back as asked."""
    found = ARMS(observed, status)
    kept = next((arm.share for arm in found if arm.variant == "holdback"), 0)
    change = {"holdback": kept, "stable": -kept, "candidate": 0}
    return [arm.model_copy(update={"share": arm.share + change[arm.variant]}) for arm in found]


def never_over(observed: Observed, walk: RolloutState) -> Rollout:
    word = JUDGE_HOLD(observed, walk)
    return Rollout.ARMED if word is Rollout.CONFIRMED else word


def forgets_users(observed: Observed, status: RolloutStatus | None = None) -> list[Arm]:
    """Mixed lists go on after their step, and in walks that have none."""
    return [arm.model_copy(update={"interleaved": 50}) if arm.variant == "candidate" else arm for arm in ARMS(observed, status)]


TWINS: dict[str, tuple[object, str, object, str]] = {
    "a freeze holds nothing": (rollout, "frozen", always(None), "Canary"),
    "a pause holds nothing": (rollout, "_stopped", always(None), "Canary"),
    "an approval gives itself": (rollout, "_judge_step", approves_itself, "Canary with an approval"),
    "a shadow proves by time": (steps, "earned", by_time, "BlueGreen"),
    "mixed lists prove by time": (steps, "earned", by_time, "Interleave"),
    "a test is won by not losing": (steps, "earned", no_better, "ABTest"),
    "whoever is clicked less wins": (Preferred, "better", property(always(True)), "Interleave"),
    "users stay on what was sent back": (shares, "arms", lingering, "Canary"),
    "too many are held back": (shares, "arms", greedy, "Canary held back"),
    "the way back stays armed for ever": (rollout, "_judge_hold", never_over, "BlueGreen"),
    "a walk has no deadline": (rollout, "_late", always(False), "ABTest"),
    "users before every replica has it": (Reports, "ready", always(True), "BlueGreen"),
    "two rollouts at once": (rollout, "active", always(None), "Canary"),
    "lists are mixed though no step says so": (shares, "arms", forgets_users, "Canary"),
    "shares count as changed when asked": (rollout, "verified", always(True), "Canary"),
}


@pytest.mark.parametrize("twin", TWINS, ids=lambda name: name.replace(" ", "-"))
def test_a_broken_twin_is_caught(twin: str, monkeypatch: pytest.MonkeyPatch):
    where, name, broken, strategy = TWINS[twin]
    first = NAMES.index(strategy)
    play(strategy, first)  # the world that it begins from is made by the plan as it is
    monkeypatch.setattr(where, name, broken)
    with pytest.raises((AssertionError, KeyError)):
        for seed in range(first, first + 120 * len(NAMES), len(NAMES)):
            play(strategy, seed)


def leave_the_first_step() -> None:
    """A person asks for Next once, in a walk whose second step waits for an approval."""
    world: World = pickle.loads(begun("Canary with an approval"))  # noqa: S301 - our own bytes, of this process
    world.run_until(lambda w: (walk := shares.active(w.observe())) is not None and walk.status.step_since is not None)
    assert present_step(world) == 0
    ask(world, promote="Next", step=0)
    for _ in range(12):
        world.step()
        world.tick()
    assert present_step(world) == 1


def test_next_leaves_one_step_and_a_twin_that_leaves_whatever_step_there_is_is_caught(monkeypatch: pytest.MonkeyPatch):
    leave_the_first_step()
    monkeypatch.setattr(rollout, "_judge_step", next_of_any_step)
    with pytest.raises(AssertionError, match="left without the approval"):
        leave_the_first_step()


def test_the_twins_break_what_exists():
    assert all(hasattr(where, name) for where, name, _, _ in TWINS.values())
    assert serving.record is not None
    assert VERB is steps.verb_at
