"""Deliberately broken twins of the plan, each of which random histories must catch: `python -m worlds.walk_twins` says by which."""

import sys
from collections.abc import Callable
from datetime import datetime
from unittest.mock import patch

from recsys_dev.figures import tell
from recsys_operator.plan import moves, rollout, shares, steps, trials
from recsys_operator.plan.preferred import Preferred
from recsys_operator.plan.reports import Reports
from recsys_operator.plan.rollout import Rollout
from recsys_operator.state.observed import Observed, RolloutState
from recsys_schemas.serving_record import Arm
from recsys_schemas.v1alpha1.rollout import RolloutPhase, RolloutStatus
from worlds.random_walks import STRATEGIES, play

NAMES = list(STRATEGIES)


def always(value: object) -> Callable[..., object]:
    return lambda *_args, **_kwargs: value


JUDGE_STEP, EARNED, ARMS, JUDGE_HOLD = rollout._judge_step, steps.earned, shares.arms, rollout._judge_hold
TRIED = shares._tried


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


def stays(walk: RolloutState, weight: int, left: frozenset[str], *, begun: bool) -> list[Arm]:
    """An arm of a test that was sent back keeps its users."""
    return TRIED(walk, weight, left and frozenset(), begun=begun)


def moves_others(walk: RolloutState, weight: int, left: frozenset[str], *, begun: bool) -> list[Arm]:
    """An arm that leaves a test does not keep its place: users go from one arm that is compared to another."""
    return [arm.model_copy(update={"ceded": 0}) for arm in TRIED(walk, weight, left, begun=begun)]


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
    "an arm that was sent back keeps its users": (shares, "_tried", stays, "ABTest of several"),
    "who leaves a test moves the others": (shares, "_tried", moves_others, "ABTest of several"),
    "the candidate takes what another has won": (moves, "taken", always({}), "ABTest of several"),
    "an arm that was sent back is still in the test": (RolloutState, "left", property(always(frozenset())), "ABTest of several"),
    "shares count as changed when asked": (rollout, "verified", always(True), "Canary"),
}

TRIES = 120


def seed_that_catches(twin: str) -> int | None:
    """The first history that a broken twin does not come through; None when it comes through them all."""
    where, name, broken, strategy = TWINS[twin]
    first = NAMES.index(strategy)
    play(strategy, first)  # the world that it begins from is made by the plan as it is
    with patch.object(where, name, broken):
        for seed in range(first, first + TRIES * len(NAMES), len(NAMES)):
            try:
                play(strategy, seed)
            except (AssertionError, KeyError):
                return seed
    return None


def main() -> int:
    """Try them all."""
    found = {twin: seed_that_catches(twin) for twin in TWINS}
    caught = sum(seed is not None for seed in found.values())
    seeds = {twin: "NOT CAUGHT" if seed is None else f"caught by history {seed}" for twin, seed in found.items()}
    tell("chaos-world", "broken twins of the plan", {"caught": f"{caught} of {len(found)}"} | seeds)
    return int(caught < len(found))


if __name__ == "__main__":
    sys.exit(main())
