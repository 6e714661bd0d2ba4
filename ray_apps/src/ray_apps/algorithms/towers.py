"""How two towers learn, in JAX: batches are made with numpy in an order that the seed decides, and each step is one compiled program."""

import contextlib
import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.hyperparameters import Unsuitable
from ray_apps.algorithms.interactions import Interactions
from ray_apps.stores.content import Content

MOST_FEATURES = 32
"""Features of one item that count: those that say most of it."""
LONGEST = 20
"""Liked items of one user that a step looks at: drawn anew for each example."""
SPREAD = 0.1
"""Standard deviation of the features' first vectors."""
DECAY = 1e-5
"""Weight decay of every parameter."""

Learned = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Hyperparameters, read."""

    factors: int
    epochs: int
    rate: float
    batch: int
    dropout: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one step sees. Items are numbered within the batch by `unique`; the rest is padding with weight 0.

    `unique` (items,), `targets` (batch,), `history` and `weights` (batch, LONGEST), `log_odds` (batch,): logarithm of how likely each
    target is drawn, `real` (batch,): 1 for an example, 0 for padding.
    """

    unique: NDArray[np.int32]
    targets: NDArray[np.int32]
    history: NDArray[np.int32]
    weights: NDArray[np.float32]
    log_odds: NDArray[np.float32]
    real: NDArray[np.float32]


Stepped = Callable[[int, Callable[[], Learned]], None]
"""Called after each epoch with its number and what gives the arrays as they are then."""


def learned(interactions: Interactions, content: Content, settings: Settings, seed: int, stepped: Stepped) -> Learned:
    """Items' vectors and biases, the user's mixing, and the vector of nobody.

    Raises:
        Unsuitable: JAX is not installed.
    """
    said, strength = padded(content)
    rule, step = program(settings.rate, settings.dropout)
    params: Any = _first(interactions.n_items, len(content.features), settings.factors, seed)
    state, chance, done = rule.init(params), np.random.default_rng(seed), 0

    def arrays() -> Learned:
        return _assembled({name: np.asarray(value, dtype=np.float32) for name, value in params.items()}, said, strength)

    for epoch in range(settings.epochs):
        for batch in batches(interactions, settings.batch, chance):
            fields = {name: getattr(batch, name) for name in Batch.__slots__}
            seen = {"said": said[batch.unique], "strength": strength[batch.unique]}
            params, state = step(params, state, fields | seen, (seed, done))
            done += 1
        stepped(epoch + 1, arrays)
    return arrays()


@cache
def program(rate: float, dropout: float) -> tuple[Any, Callable[..., tuple[Any, Any]]]:
    """Optax' rule, and one compiled step: (parameters, state, batch, (seed, number of the step)) to new parameters and state.

    Raises:
        Unsuitable: JAX is not installed.
    """
    try:
        import jax  # noqa: PLC0415 — an extra
        import jax.numpy as jnp  # noqa: PLC0415 — an extra
        import optax  # noqa: PLC0415 — an extra
    except ImportError as error:
        raise Unsuitable(f"algorithm: TwoTower needs {error.name}, which is not installed; install ray-apps[neural]") from error
    with _one_thread():
        jax.devices()
    rule = optax.adamw(rate, weight_decay=DECAY)

    def loss(params: Any, batch: Any, kept: Any) -> Any:
        said, strength, unique = batch["said"], batch["strength"], batch["unique"]
        items = jnp.einsum("uf,ufd->ud", strength, params["features"][said]) + params["own"][unique] * kept[:, None]
        bias = jnp.einsum("uf,uf->u", strength, params["feature_bias"][said]) + params["own_bias"][unique] * kept
        total = batch["weights"].sum(axis=1)
        pooled = jnp.einsum("bl,bld->bd", batch["weights"], items[batch["history"]]) / jnp.sqrt(jnp.maximum(total, 1e-6))[:, None]
        users = pooled + pooled @ params["mixing"] + params["nobody"]
        targets = batch["targets"]
        logits = users @ items[targets].T + bias[targets] - batch["log_odds"]
        # Another example with the same target is no negative, nor is padding.
        twin = (targets[None, :] == targets[:, None]) & ~jnp.eye(targets.size, dtype=bool)
        logits = jnp.where(twin | (batch["real"][None, :] == 0), -1e9, logits)
        return -(jnp.diagonal(jax.nn.log_softmax(logits, axis=1)) * batch["real"]).sum() / batch["real"].sum()

    def step(params: Any, state: Any, batch: Any, chance: tuple[int, int]) -> tuple[Any, Any]:
        key = jax.random.fold_in(jax.random.key(chance[0]), chance[1])
        kept = jax.random.bernoulli(key, 1 - dropout, batch["unique"].shape).astype(jnp.float32)
        change, state = rule.update(jax.grad(loss)(params, batch, kept), state, params)
        return optax.apply_updates(params, change), state

    return rule, jax.jit(step)


@contextlib.contextmanager
def _one_thread() -> Generator[None]:
    """While XLA's CPU client starts: it takes the size of its pool from NPROC, and with another size sums would come in another order."""
    before = os.environ.get("NPROC")
    os.environ["NPROC"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["NPROC"]
        else:
            os.environ["NPROC"] = before


def padded(content: Content) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The strongest features of each item and how much they say, both of shape (n_items, most), 0 where there are fewer."""
    rows = np.repeat(np.arange(len(content)), np.diff(content.indptr))
    order = np.lexsort((content.indices, -content.weights, rows))
    place = np.arange(order.size) - content.indptr[rows[order]]
    most = min(MOST_FEATURES, int(place.max(initial=0)) + 1)
    fits = place < most
    said = np.zeros((len(content), most), dtype=np.int32)
    strength = np.zeros((len(content), most), dtype=np.float32)
    said[rows[order][fits], place[fits]] = content.indices[order][fits]
    strength[rows[order][fits], place[fits]] = content.weights[order][fits]
    return said, strength


def batches(interactions: Interactions, size: int, chance: np.random.Generator) -> Iterator[Batch]:
    """One pass over all interactions, each once the target, with some of what else its user liked as the history."""
    counts = np.bincount(interactions.users, minlength=interactions.n_users)
    starts = np.cumsum(counts) - counts
    odds = np.log(np.maximum(interactions.popularity(), 1) / len(interactions)).astype(np.float32)
    order = chance.permutation(len(interactions))
    for start in range(0, order.size, size):
        chosen = order[start : start + size]
        users = interactions.users[chosen]
        # As many draws as there are places: with few likes some are drawn twice, which only weighs them; the target itself is never drawn.
        others = np.maximum(counts[users] - 1, 1)[:, None]
        drawn = starts[users][:, None] + (chosen - starts[users] + 1)[:, None] % counts[users][:, None]
        offset = (chance.random((chosen.size, LONGEST)) * others).astype(np.int64)
        first = starts[users][:, None]
        drawn = first + (drawn - first + offset) % counts[users][:, None]
        known = np.minimum(counts[users] - 1, LONGEST)[:, None] > np.arange(LONGEST)[None, :]
        yield replace(_batch(interactions, chosen, drawn, known, size), log_odds=odds[_grown(interactions.items[chosen], size)])


def _batch(interactions: Interactions, chosen: NDArray[np.int64], drawn: NDArray[np.int64], known: NDArray[np.bool_], size: int) -> Batch:
    targets, history = interactions.items[chosen], interactions.items[drawn]
    unique, place = np.unique(np.concatenate((targets, history.reshape(-1))), return_inverse=True)
    room = 1 << int(unique.size - 1).bit_length()  # few different sizes, so that few programs are compiled
    weights = np.where(known, interactions.weights[drawn], 0).astype(np.float32)
    return Batch(
        unique=np.concatenate((unique, np.zeros(room - unique.size))).astype(np.int32),
        targets=_grown(place[: chosen.size].astype(np.int32), size),
        history=_grown(place[chosen.size :].reshape(history.shape).astype(np.int32), size),
        weights=_grown(weights, size),
        log_odds=np.zeros(size, dtype=np.float32),
        real=_grown(np.ones(chosen.size, dtype=np.float32), size),
    )


def _grown(array: NDArray[Any], size: int) -> NDArray[Any]:
    """The same with zeros behind it, of that length."""
    return np.concatenate((array, np.zeros((size - len(array), *array.shape[1:]), array.dtype)))


def _first(n_items: int, n_features: int, factors: int, seed: int) -> dict[str, NDArray[np.float32]]:
    """Where learning begins: an item without likes keeps an own vector of zeros, and stands where its features put it."""
    chance = np.random.default_rng((seed, 1))
    return {
        "features": chance.normal(0, SPREAD, (n_features, factors)).astype(np.float32),
        "feature_bias": np.zeros(n_features, dtype=np.float32),
        "own": np.zeros((n_items, factors), dtype=np.float32),
        "own_bias": np.zeros(n_items, dtype=np.float32),
        "mixing": np.zeros((factors, factors), dtype=np.float32),
        "nobody": np.zeros(factors, dtype=np.float32),
    }


def _assembled(params: dict[str, NDArray[np.float32]], said: NDArray[np.int32], strength: NDArray[np.float32]) -> Learned:
    """The items' vectors and biases of all items, in blocks to bound memory, and the rest."""
    items, bias = params["own"].copy(), params["own_bias"].copy()
    for start in range(0, len(said), 4096):
        part = slice(start, start + 4096)
        items[part] += np.einsum("uf,ufd->ud", strength[part], params["features"][said[part]])
        bias[part] += np.einsum("uf,uf->u", strength[part], params["feature_bias"][said[part]])
    return items, bias, params["mixing"], params["nobody"]
