"""Random histories of rollouts hold, and deliberately broken twins of the plan are caught by them."""

import pickle
import time

import pytest

from recsys_operator.plan import rollout, shares
from worlds.random_walks import ask, batch, begun, present_step
from worlds.simulated import World
from worlds.walk_twins import TWINS, next_of_any_step, seed_that_catches


@pytest.mark.parametrize("first", range(0, 120, 60))
def test_whatever_happens_to_a_rollout_the_rules_hold_and_it_ends(first: int):
    _, broken = batch(range(first, first + 60), time.time() + 600)
    assert broken == [], broken[0]


@pytest.mark.slow
def test_five_hundred_histories_hold():
    _, broken = batch(range(1000, 1500), time.time() + 1200)
    assert broken == [], broken[0]


@pytest.mark.parametrize("twin", TWINS, ids=lambda name: name.replace(" ", "-"))
def test_a_broken_twin_is_caught(twin: str):
    assert seed_that_catches(twin) is not None


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
