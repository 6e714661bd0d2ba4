"""What stories of a simulated world look at, and how they let it come to rest."""

from recsys_operator.plan import shares
from worlds.simulated import World


def champion(world: World) -> str | None:
    """The version that serves all users, or the most of them."""
    pinned = shares.champion(world.observe())
    return pinned.name if pinned else None


def settle(world: World, passes: int = 40, seconds: float = 1.0) -> None:
    """So many passes, with so much time between them."""
    for _ in range(passes):
        world.step()
        world.tick(seconds)
