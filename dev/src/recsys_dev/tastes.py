"""A world of items and users with known tastes: the truth that a recommender is to find from events alone.

An item is a mixture of a few genres with a place of its own inside them; a user likes a few genres and has an opinion on the
finer traits. Popularity is long-tailed by itself: quality varies a little, and attention much (Zipf's law).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """How big the world is, and how strong each force in it."""

    seed: int = 7
    users: int = 1500
    items: int = 1200
    genres: int = 14
    traits: int = 10
    genre_strength: float = 8.0
    """How much a genre that a user likes raises the odds of an item of it."""
    trait_strength: float = 1.5
    """How much the finer traits do."""
    attention: float = 0.5
    """How unequal attention is: the exponent of Zipf's law over items."""
    mean_history: float = 55.0
    """Items that a user has watched, on average."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """Items' true properties: `genres` (items, genres) sums to 1 by row, `traits` (items, traits), `pull` (items,) log odds."""

    genres: Reals
    traits: Reals
    pull: Reals


@dataclass(frozen=True, slots=True, kw_only=True)
class Taste:
    """One user's true taste: `genres` (genres,) sums to 1, `traits` (traits,), `activity` as a factor on the mean."""

    genres: Reals
    traits: Reals
    activity: float


def catalogue(world: World) -> Catalogue:
    """The items of a world: the same for the same seed."""
    chance = np.random.default_rng([world.seed, 1])
    genres = chance.dirichlet(np.full(world.genres, 0.12), size=world.items)
    traits = chance.normal(size=(world.items, world.traits)) / np.sqrt(world.traits)
    rank = chance.permutation(world.items) + 1
    return Catalogue(genres=genres, traits=traits, pull=-world.attention * np.log(rank))


def taste(world: World, user: int) -> Taste:
    """The taste of user number `user`: users may be added for ever, each is the same whenever asked for."""
    chance = np.random.default_rng([world.seed, 2, user])
    return Taste(
        genres=chance.dirichlet(np.full(world.genres, 0.18)),
        traits=chance.normal(size=world.traits),
        activity=float(chance.lognormal(-0.32, 0.8)),
    )


def liking(world: World, items: Catalogue, who: Taste) -> Reals:
    """How much a user likes each item, attention aside: shape (items,), log odds. What they watch next adds `pull`."""
    return world.genre_strength * (items.genres @ who.genres) + world.trait_strength * (items.traits @ who.traits)
