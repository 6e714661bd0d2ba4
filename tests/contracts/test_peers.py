"""Our metrics and off-policy estimates are those of RecTools, `implicit` and Open Bandit Pipeline, to 1e-9.

RecTools and Open Bandit Pipeline run in a venv of their own (`recsys_dev.peers`), made by the first test that asks for them.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from ray_apps.algorithms.interactions import Content, Histories, Interactions
from ray_apps.evaluation.beyond_accuracy import diversity, novelty, popularity_bias
from ray_apps.evaluation.off_policy import LoggedAnswers, doubly_robust, ips, snips, weights_of
from ray_apps.evaluation.ranking import (
    NOTHING,
    best,
    covered,
    hit_rate,
    hits,
    mean_average_precision,
    ndcg,
    precision,
    recall,
    reciprocal_rank,
)
from recsys_dev.peers import ask

CLOSE = 1e-9
USERS = 120
FEATURES = 7
SHAPES = [(items, k) for items in (1, 3, 12, 80) for k in (1, 5, 10, 20)] + [(400, 10), (400, 50), (5, 50), (2000, 20)]
"""Items and length of list: 20 cases of USERS rankings."""
Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Rankings by scores with many ties, of users some of whom have no history, no relevant item or nothing left to be shown."""

    lists: NDArray[np.int32]
    relevant: Histories
    train: Interactions
    vectors: Numbers
    k: int

    @property
    def measured(self) -> NDArray[np.bool_]:
        """Users with something relevant."""
        return np.diff(self.relevant.indptr) > 0


def histories(rows: list[NDArray[np.int64]]) -> Histories:
    flat = np.concatenate(rows).astype(np.int32) if rows else np.empty(0, dtype=np.int32)
    indptr = np.concatenate(([0], np.cumsum([row.size for row in rows]))).astype(np.int64)
    return Histories(indptr=indptr, indices=flat, weights=np.ones(flat.size, dtype=np.float32))


def drawn(seed: int) -> Case:
    items, k = SHAPES[seed]
    chance = np.random.default_rng(seed)
    known: list[NDArray[np.int64]] = []
    sought: list[NDArray[np.int64]] = []
    lists = np.full((USERS, k), NOTHING, dtype=np.int32)
    for user in range(USERS):
        share = chance.choice([0.0, 0.05, 0.3, 1.0], p=[0.2, 0.4, 0.38, 0.02])
        history = np.flatnonzero(chance.random(items) < share)
        others = np.setdiff1d(np.arange(items), history)
        known.append(history)
        sought.append(others[chance.random(others.size) < chance.choice([0.0, 0.02, 0.3, 1.0])])
        scores = chance.integers(0, chance.choice([2, 5, 1000]), size=items).astype(np.float32)
        lists[user] = best(scores, k, history.astype(np.int32))
    past = histories(known)
    train = Interactions(
        users=np.repeat(np.arange(USERS), np.diff(past.indptr)).astype(np.int32),
        items=past.indices,
        weights=past.weights,
        times=np.zeros(past.indices.size, dtype=np.int64),
        n_users=USERS,
        n_items=items,
    )
    vectors = chance.random((items, FEATURES)) + 0.01
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32).astype(np.float64)
    return Case(lists=lists, relevant=histories(sought), train=train, vectors=vectors, k=k)


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    found = [drawn(seed) for seed in range(len(SHAPES))]
    rankings = np.concatenate([case.measured for case in found])
    assert np.count_nonzero(rankings) >= 1000
    assert np.count_nonzero(~rankings) > 0  # users with nothing relevant
    assert any((case.lists == NOTHING).all(axis=1).any() for case in found)  # with nothing to be shown
    assert any(case.k > case.train.n_items for case in found)
    return found


def content_of(case: Case) -> Content:
    items = case.train.n_items
    return Content(
        indptr=np.arange(items + 1, dtype=np.int64) * FEATURES,
        indices=np.tile(np.arange(FEATURES, dtype=np.int32), items),
        weights=case.vectors.astype(np.float32).ravel(),
        features=tuple(f"text:{number}" for number in range(FEATURES)),
    )


def pairs(rows: Histories) -> NDArray[np.int64]:
    return np.stack([np.repeat(np.arange(len(rows)), np.diff(rows.indptr)), rows.indices], axis=1).astype(np.int64)


@pytest.fixture(scope="module")
def rectools(cases: list[Case]) -> dict[str, Numbers]:
    given: dict[str, NDArray[np.generic]] = {"cases": np.array(len(cases))}
    for number, case in enumerate(cases):
        arrays = {"lists": case.lists, "relevant": pairs(case.relevant), "history": pairs(case.train.histories()), "vectors": case.vectors}
        given |= {f"{name}_{number}": array for name, array in arrays.items()}
    return ask("rectools_metrics.py", given, print)


def apart(ours: Numbers, theirs: Numbers) -> float:
    assert np.isfinite(theirs).all()
    return float(np.abs(ours - theirs).max(initial=0.0))


@pytest.mark.parametrize("metric", ["hit_rate", "recall", "precision", "ndcg", "map", "mrr"])
def test_accuracy_is_that_of_rectools(cases: list[Case], rectools: dict[str, Numbers], metric: str):
    for number, case in enumerate(cases):
        found, wanted = hits(case.lists, case.relevant), np.diff(case.relevant.indptr)
        ours = {
            "hit_rate": hit_rate(found),
            "recall": recall(found, case.relevant),
            "precision": precision(found),
            "ndcg": ndcg(found, case.relevant),
            "map": mean_average_precision(found, case.relevant),
            "mrr": reciprocal_rank(found),
        }[metric].per_user
        theirs = rectools[f"{metric}_{number}"]
        if metric == "map":  # theirs is divided by all that is relevant, ours by as much of it as k places can hold
            theirs = theirs * wanted / np.maximum(np.minimum(wanted, case.k), 1)
        assert apart(ours[case.measured], theirs[case.measured]) <= CLOSE


@pytest.mark.parametrize("metric", ["novelty", "popularity", "diversity"])
def test_what_lists_are_like_is_that_of_rectools(cases: list[Case], rectools: dict[str, Numbers], metric: str):
    for number, case in enumerate(cases):
        users = np.unique(case.train.users).size
        if not users and metric != "diversity":
            continue
        ours = {
            "novelty": lambda case=case: novelty(case.lists, case.train).per_user,
            "popularity": lambda case=case, users=users: popularity_bias(case.lists, case.train).per_user * users,
            "diversity": lambda case=case: diversity(case.lists, content_of(case)).per_user,
        }[metric]()
        shown = (case.lists != NOTHING).any(axis=1)
        assert apart(ours[shown], rectools[f"{metric}_{number}"][shown]) <= CLOSE
        assert (ours[~shown] == 0).all()


def test_coverage_is_that_of_rectools(cases: list[Case], rectools: dict[str, Numbers]):
    for number, case in enumerate(cases):
        assert apart(np.array([covered(case.lists)]), rectools[f"coverage_{number}"]) <= CLOSE


class Fixed:
    """A model whose answer is one list."""

    def __init__(self, shown: NDArray[np.int32]) -> None:
        self.shown = shown

    def recommend(self, _users: object, _known: object, **_options: object) -> tuple[NDArray[np.int32], Numbers]:
        return self.shown[None, :], np.zeros((1, self.shown.size))


def test_accuracy_is_that_of_implicit(cases: list[Case]):
    from implicit.evaluation import ranking_metrics_at_k  # noqa: PLC0415 - takes a second to import

    for case in cases:
        found, items = hits(case.lists, case.relevant), case.train.n_items
        wanted = np.minimum(np.diff(case.relevant.indptr), case.k)
        for user in np.flatnonzero(case.measured).tolist():
            liked, _ = case.relevant.of(user)
            sought = csr_matrix(
                (np.ones(liked.size), liked, [0, liked.size]), shape=(1, items + 1)
            )  # one nobody liked, or its AUC is 0 / 0
            fixed = Fixed(case.lists[user])
            theirs = ranking_metrics_at_k(fixed, csr_matrix((1, items + 1)), sought, K=case.k, show_progress=False, num_threads=1)
            assert abs(mean_average_precision(found, case.relevant).per_user[user] - theirs["map"]) <= CLOSE
            assert abs(ndcg(found, case.relevant).per_user[user] - theirs["ndcg"]) <= CLOSE
            assert abs(found[user].sum() / wanted[user] - theirs["precision"]) <= CLOSE


PLACES = 3


def logged(seed: int) -> tuple[dict[str, NDArray[np.generic]], LoggedAnswers, Numbers]:
    """A log with `actions` items and PLACES places, and an evaluation policy: certain of one item, or not."""
    chance = np.random.default_rng(seed)
    rounds, actions = int(chance.integers(1, 300)), int(chance.integers(2, 30))
    action, position = chance.integers(actions, size=rounds), chance.integers(PLACES, size=rounds)
    odds = chance.random((rounds, actions, PLACES)) ** chance.integers(1, 4)
    if seed % 2:
        odds = (odds == odds.max(axis=1, keepdims=True)).astype(np.float64)
    odds /= odds.sum(axis=1, keepdims=True)
    rewards, propensities = chance.integers(2, size=rounds).astype(np.float64), chance.uniform(0.01, 1, size=rounds)
    given: dict[str, NDArray[np.generic]] = {
        "reward": rewards,
        "action": action,
        "position": position,
        "pscore": propensities,
        "action_dist": odds,
        "expected": chance.random((rounds, actions, PLACES)),
    }
    log = LoggedAnswers(
        users=np.arange(rounds),
        items=action,
        places=position,
        propensities=propensities,
        rewards=rewards,
        times=np.zeros(rounds, dtype=np.int64),
    )
    return given, log, odds[np.arange(rounds), action, position]


def test_off_policy_estimates_are_those_of_open_bandit_pipeline():
    made = [logged(seed) for seed in range(120)]
    given = {f"{name}_{number}": array for number, (case, _, _) in enumerate(made) for name, array in case.items()}
    theirs = ask("obp_estimates.py", given | {"cases": np.array(len(made))}, print)
    for number, (case, log, policy) in enumerate(made):
        weights, rows = weights_of(log, policy), np.arange(len(log))
        expected, odds = (np.asarray(case[name], dtype=np.float64)[rows, :, log.places] for name in ("expected", "action_dist"))
        robust = doubly_robust(log, weights, expected[rows, log.items], (expected * odds).sum(axis=1))
        assert abs(ips(log, weights).mean() - theirs["ipw"][number]) <= CLOSE
        assert abs(robust.mean() - theirs["dr"][number]) <= CLOSE
        if weights.any():  # theirs is 0 / 0 where the policy shows nothing of the log
            assert abs(snips(log, weights).mean() - theirs["snipw"][number]) <= CLOSE
        else:
            assert snips(log, weights).mean() == 0
    assert sum(bool(weights_of(log, policy).any()) for _, log, policy in made) > 100
