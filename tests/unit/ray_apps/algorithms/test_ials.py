"""Frequency-scaled ALS: rows against a dense oracle, blocks against one process, and a fit that goes on against one that never stopped."""

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ray_apps.algorithms import ials_rows
from ray_apps.algorithms.ials import IALS, planned
from ray_apps.algorithms.ials_blocks import Alone, Number, Progress, Side, aligned, beginning, blocks_of, count_of_blocks, learn, sides
from ray_apps.algorithms.ials_rows import Factors, Loss, Spectrum, solve_rows
from ray_apps.algorithms.interactions import Histories, Interactions
from ray_apps.algorithms.recommender import ALONE, Fitting

VALUES = {"factors": 8, "iterations": 4, "regularization": 0.02, "unobserved": 0.2, "exponent": 1.0, "damping": 0.0}


def interactions(users: int = 330, items: int = 290, seed: int = 1, share: float = 0.06) -> Interactions:
    chance = np.random.default_rng(seed)
    odds = share * (1 + 8 * (chance.random(items) < 0.1))[None, :]  # some items are liked by most
    user, item = np.nonzero(chance.random((users, items)) < odds)
    return Interactions(
        users=user.astype(np.int32),
        items=item.astype(np.int32),
        weights=chance.uniform(0.1, 1, user.size).astype(np.float32),
        times=np.arange(user.size, dtype=np.int64),
        n_users=users,
        n_items=items,
    )


PLAN = planned(VALUES, sides(interactions()), 7, ALONE)


@dataclass
class Threads:
    """Workers of one process: each waits until all have handed over their blocks."""

    workers: int
    barrier: threading.Barrier = field(init=False)
    steps: list[dict[int, Any]] = field(default_factory=list[dict[int, Any]])

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(self.workers, action=lambda: self.steps.append({}), timeout=120)

    def member(self) -> "Member":
        return Member(self)


@dataclass
class Member:
    threads: Threads

    def gather(self, own: Mapping[int, NDArray[Number]]) -> list[NDArray[Number]]:
        self.threads.barrier.wait()
        step = self.threads.steps[-1]
        step.update(own)
        self.threads.barrier.wait()
        return [step[block] for block in sorted(step)]


def part(side: Side, rank: int, workers: int) -> Side:
    mine = blocks_of(rank, workers, side.blocks)
    return replace(side, own={block: side.own[block] for block in mine})


def learned(known: Interactions, workers: int) -> Iterator[tuple[Factors, Spectrum]]:
    users, items = sides(known)
    threads = Threads(workers)

    def work(rank: int) -> tuple[Factors, Spectrum]:
        mine = part(items, rank, workers)
        return learn(part(users, rank, workers), mine, PLAN, beginning(mine, PLAN), threads.member())

    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(work, range(workers))


def dense(rows: Histories, other: Factors, loss: Loss) -> NDArray[np.float64]:
    """The normal equations as the paper has them, one row after another."""
    wide = other.astype(np.float64)
    solved = np.zeros((len(rows), wide.shape[1]))
    for row in range(len(rows)):
        entries, weights = rows.of(row)
        penalty = loss.regularization * (entries.size + loss.unobserved * len(wide)) ** loss.exponent
        matrix = loss.unobserved * wide.T @ wide + penalty * np.eye(wide.shape[1])
        matrix += wide[entries].T @ (weights[:, None].astype(np.float64) * wide[entries])
        if entries.size:
            solved[row] = np.linalg.solve(matrix, wide[entries].T @ weights.astype(np.float64))
    return solved


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("factors", [4, 32])
def test_rows_solve_the_normal_equations_of_the_paper(factors: int, exponent: float):
    known = interactions()
    other, spectrum = aligned({0: np.random.default_rng(5).normal(size=(known.n_items, factors)).astype(np.float32)}, Alone())
    loss = Loss(regularization=0.05, exponent=exponent, unobserved=0.3)
    rows = known.histories()
    assert np.allclose(solve_rows(rows, other, spectrum, loss), dense(rows, other, loss), rtol=2e-3, atol=2e-5)


def test_a_row_too_long_to_gather_at_once_is_the_same_row(monkeypatch: pytest.MonkeyPatch):
    known = interactions(share=0.3)
    other, spectrum = aligned({0: np.random.default_rng(5).normal(size=(known.n_items, 8)).astype(np.float32)}, Alone())
    whole = solve_rows(known.histories(), other, spectrum, PLAN.loss)
    monkeypatch.setattr(ials_rows, "MOST_FLOATS", 64)
    assert np.allclose(solve_rows(known.histories(), other, spectrum, PLAN.loss), whole, rtol=1e-3, atol=1e-6)


def test_a_new_users_vector_is_the_row_that_training_would_solve():
    known = interactions()
    model = IALS.fit(known, VALUES, 7)
    arrays = model.arrays()
    wanted = dense(known.histories(), np.asarray(arrays["item_factors"], dtype=np.float32), PLAN.loss)
    for user in range(0, known.n_users, 17):
        assert np.allclose(model.user_vector(*known.histories().of(user)), wanted[user], rtol=1e-3, atol=1e-5)


def test_a_like_counts_less_in_a_long_history_in_training_as_in_answers():
    known = interactions()
    values = VALUES | {"damping": 0.5}
    lengths = np.bincount(known.users, minlength=known.n_users)
    less = replace(known, weights=(known.weights * (lengths[known.users] / lengths[lengths > 0].mean()) ** -0.5).astype(np.float32))
    damped, plain = IALS.fit(known, values, 7), IALS.fit(less, VALUES, 7)
    assert np.allclose(damped.arrays()["item_factors"], plain.arrays()["item_factors"], rtol=1e-3, atol=1e-5)
    for user in range(0, known.n_users, 17):
        wanted = plain.user_vector(*less.histories().of(user))
        assert np.allclose(damped.user_vector(*known.histories().of(user)), wanted, rtol=1e-3, atol=1e-5)


def test_a_version_made_before_there_was_damping_scores_as_it_did():
    known = interactions()
    model = IALS.fit(known, VALUES, 7)
    opened = IALS.from_arrays({name: array for name, array in model.arrays().items() if name != "trust"}, known.n_items)
    assert np.array_equal(opened.scores(*known.histories().of(3)), model.scores(*known.histories().of(3)))


def test_each_epoch_lowers_the_loss():
    known = interactions()
    seen = np.zeros((known.n_users, known.n_items))
    weights = np.zeros_like(seen)
    seen[known.users, known.items], weights[known.users, known.items] = 1, known.weights
    losses: list[float] = []
    for epochs in (1, 2, 4, 8):
        model = IALS.fit(known, VALUES | {"iterations": epochs}, 7)
        items = np.asarray(model.arrays()["item_factors"], dtype=np.float64)
        users = np.stack([model.user_vector(*known.histories().of(user)) for user in range(known.n_users)])
        guess = users @ items.T
        fit = (weights * (seen - guess) ** 2).sum() + VALUES["unobserved"] * (guess**2).sum()
        penalty = sum(
            (PLAN.loss.penalties(seen.sum(axis=axis), others) * (vectors**2).sum(axis=1)).sum()
            for axis, others, vectors in ((1, known.n_items, users), (0, known.n_users, items))
        )
        losses.append(float(fit + penalty))
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_any_number_of_workers_gives_the_bytes_of_one(workers: int):
    known = interactions()
    alone, spectrum = next(learned(known, 1))
    for factors, values in learned(known, workers):
        assert factors.tobytes() == alone.tobytes()
        assert values.tobytes() == spectrum.tobytes()
    assert IALS.fit(known, VALUES, 7).arrays()["item_factors"].tobytes() == alone.tobytes()


def test_workers_share_all_blocks_and_none_twice():
    for blocks in (1, 5, 64):
        for workers in (1, 2, 3, 64):
            shares = [block for rank in range(workers) for block in blocks_of(rank, workers, blocks)]
            assert shares == list(range(blocks))


def test_blocks_are_of_about_the_same_work_though_rows_are_sorted_by_it():
    lengths = np.sort(np.random.default_rng(2).zipf(1.6, size=20_000).clip(max=300))[::-1]
    work = np.array([lengths[block :: count_of_blocks(20_000)].sum() for block in range(count_of_blocks(20_000))])
    assert work.max() < 1.1 * work.mean()


def test_the_number_of_blocks_is_a_function_of_the_rows_and_bounded():
    assert [count_of_blocks(rows) for rows in (1, 127, 128, 671, 10_000_000)] == [1, 1, 2, 10, 64]


def stopped_after(known: Interactions, epochs: int) -> Progress:
    """What is kept after so many epochs of a fit that was then killed."""
    users, items = sides(known)
    kept: list[Progress] = []
    learn(users, items, replace(PLAN, keep=kept.append), beginning(items, PLAN), Alone())
    return kept[epochs - 1]


@pytest.mark.parametrize("epochs", [1, 3, 4])
def test_a_fit_that_goes_on_from_what_was_kept_ends_with_the_same_bytes(epochs: int):
    known = interactions()
    users, items = sides(known)
    whole, spectrum = learn(users, items, PLAN, beginning(items, PLAN), Alone())
    again, values = learn(users, items, PLAN, stopped_after(known, epochs), Alone())
    assert again.tobytes() == whole.tobytes()
    assert values.tobytes() == spectrum.tobytes()


def test_broken_twins_of_what_is_kept_end_with_other_bytes():
    known = interactions()
    users, items = sides(known)
    whole, _ = learn(users, items, PLAN, beginning(items, PLAN), Alone())
    kept = stopped_after(known, 2)
    without_its_epoch = replace(kept, epochs=0)
    without_its_items = Progress(epochs=2, items=beginning(items, PLAN).items)
    for twin in (without_its_epoch, without_its_items):
        assert learn(users, items, PLAN, twin, Alone())[0].tobytes() != whole.tobytes()


def test_a_fit_begun_from_an_earlier_model_is_nearer_after_one_epoch():
    known = interactions()
    before = IALS.fit(known, VALUES | {"iterations": 20}, 7)
    arrays = {name: array.copy() for name, array in before.arrays().items()}
    arrays["item_factors"][5] = 0  # an item that the earlier model does not know
    history, weights = known.histories().of(3)
    target = before.scores(history, weights)
    warm = IALS.fit(known, VALUES | {"iterations": 1}, 7, Fitting(start=arrays)).scores(history, weights)
    cold = IALS.fit(known, VALUES | {"iterations": 1}, 7).scores(history, weights)
    assert np.abs(warm - target).max() < 0.3 * np.abs(cold - target).max()


def test_an_earlier_model_of_another_length_is_passed_over():
    known = interactions()
    other = IALS.fit(known, VALUES | {"factors": 5}, 7).arrays()
    fitted = IALS.fit(known, VALUES, 7, Fitting(start=other)).arrays()
    assert fitted["item_factors"].tobytes() == IALS.fit(known, VALUES, 7).arrays()["item_factors"].tobytes()


def test_each_epoch_is_told():
    told: list[tuple[int, int]] = []
    IALS.fit(interactions(), VALUES, 7, Fitting(tell=lambda done, of: told.append((done, of))))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(("users", "items"), [(1, 1), (1, 40), (40, 1), (3, 2)])
def test_one_user_or_one_item_is_enough_to_fit(users: int, items: int):
    known = interactions(users, items, share=1.0)
    scores = IALS.fit(known, {}, 7).scores(*known.histories().of(0))
    assert np.isfinite(scores).all()


def test_nothing_regularised_and_nothing_known_still_gives_finite_vectors():
    known = interactions(40, 40, share=0.0)
    model = IALS.fit(known, {"regularization": 0.0, "factors": 64}, 7)
    assert np.isfinite(model.arrays()["item_factors"]).all()
