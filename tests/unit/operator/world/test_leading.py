"""Whoever does not lead any more changes nothing, whatever a pass was about to do when its process stood still."""

import asyncio
import random

import pytest
from kubernetes.client import Configuration

from recsys_operator.state.actions import Action, AddFinalizer, EnsureTokens
from recsys_operator.world.apply import apply
from recsys_operator.world.errors import UnavailableError
from recsys_operator.world.world import open_world
from worlds.simulated import World as Simulated

SENT, HELD_BACK = "Kubernetes API http://127.0.0.1:1", "the lease has run out"
"""Nothing listens there: what is sent says so."""


def words_of(action: Action, *, leading: bool) -> str:
    observed = Simulated(chance=random.Random(8)).observe()
    nowhere = Configuration()
    nowhere.host = "http://127.0.0.1:1"

    async def tried() -> None:
        async with open_world(nowhere, leading=lambda: leading, storage_root="file:///x", training_command="train") as world:
            await apply(world, observed, action)

    with pytest.raises(UnavailableError) as caught:
        asyncio.run(tried())
    return str(caught.value)


@pytest.mark.parametrize("action", [EnsureTokens(secret="movies-api"), AddFinalizer()])
def test_an_action_is_sent_by_the_leader_and_by_nobody_whose_lease_has_run_out(action: Action) -> None:
    assert SENT in words_of(action, leading=True)
    assert HELD_BACK in words_of(action, leading=False)
