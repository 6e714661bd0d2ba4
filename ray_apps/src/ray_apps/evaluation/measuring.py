"""One model, measured on the held-out users."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.interactions import Histories, Indices, Weights
from ray_apps.evaluation.beyond_accuracy import calibration, diversity, genres_of, novelty, popularity_bias
from ray_apps.evaluation.confidence import LEAST_USERS, bootstraps, less, wilson
from ray_apps.evaluation.counterfactual import DR, SNIPS, Counterfactual, counterfactual
from ray_apps.evaluation.gaps import gap, gap_difference, large
from ray_apps.evaluation.off_policy import Earned, LoggedAnswers
from ray_apps.evaluation.onboarded import Welcome
from ray_apps.evaluation.ranking import NOTHING, Value, best, covered, hit_rate, hits, mean_average_precision, ndcg, recall, reciprocal_rank
from ray_apps.evaluation.slices import AMONG_COLD_ITEMS, COLD_ITEMS, COLD_USERS, ONBOARDED_USERS, WARM_USERS, Slices
from ray_apps.evaluation.splits import Split
from recsys_schemas.version_card import Estimate

CUTS = (10, 20)
"""Lengths of list that are judged."""
LONGEST = max(CUTS)
COVERAGE = f"coverage@{LONGEST}"
GAP_METRIC = "ndcg@10"
"""The metric that groups are compared by."""
BLOCK = 256
"""Users scored at a time, to bound memory."""
TIMED_USERS = 200
"""Users on whom the time of one answer is taken."""

ScoreMany = Callable[[Histories], NDArray[np.float32]]
Score = Callable[[Indices, Weights], NDArray[np.float32]]
Values = Mapping[str, Value]
"""By metric."""
_NONE: Indices = np.empty(0, dtype=np.int32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Per-user values by metric, over all and by slice; coverage of the catalogue; and the time of one answer."""

    per_user: Values
    coverage: Estimate
    ms_per_user: float
    slices: Mapping[str, Values] = field(default_factory=dict[str, Values])
    groups: Mapping[str, Mapping[str, Value]] = field(default_factory=dict[str, dict[str, Value]])
    """By metric of a gap, such as `gap:activity:ndcg@10`: the groups' values."""
    earned: Mapping[str, Earned] = field(default_factory=dict[str, Earned])
    """Off-policy estimates."""
    abstained: Mapping[str, str] = field(default_factory=dict[str, str])
    """By metric: why it was not measured."""

    def estimates(self, seed: int) -> dict[str, Estimate]:
        """Every metric with its 95 % interval: Wilson's for hit rates and coverage, bootstrap over users for the others.

        The interval of coverage treats the items as independent trials, which they are not quite: it is a guide, not a test.
        """
        gaps = {name: gap(each) for name, each in self.groups.items()}
        earned = {name: each.estimate(seed) for name, each in self.earned.items()}
        return _estimates(self.per_user, seed) | {COVERAGE: self.coverage} | gaps | earned

    def minus(self, other: "Measured", seed: int) -> dict[str, Estimate]:
        """The metrics of this model less those of another on the same users: paired by user, but for coverage.

        Coverage has no value for each user; its interval is the widest that both allow.
        """
        ours, theirs = self.coverage, other.coverage
        coverage = Estimate(value=ours.value - theirs.value, low=ours.low - theirs.high, high=ours.high - theirs.low, samples=ours.samples)
        gaps = {name: gap_difference(groups, other.groups[name], seed) for name, groups in self.groups.items()}
        earned = {name: each.minus(other.earned[name], seed) for name, each in self.earned.items() if name in other.earned}
        return _differences(self.per_user, other.per_user, seed) | {COVERAGE: coverage} | gaps | earned

    def slice_estimates(self, seed: int) -> dict[str, dict[str, Estimate]]:
        """The same as `estimates`, by slice."""
        return {name: _estimates(values, seed) for name, values in self.slices.items()}

    def slice_minus(self, other: "Measured", seed: int) -> dict[str, dict[str, Estimate]]:
        """The same as `minus`, by slice."""
        return {name: _differences(values, other.slices[name], seed) for name, values in self.slices.items()}


def _estimates(values: Values, seed: int) -> dict[str, Estimate]:
    shares = {name: value.per_user for name, value in values.items() if name.startswith("hr@")}
    drawn = bootstraps({name: value for name, value in values.items() if name not in shares}, seed)
    return {name: drawn[name] if name in drawn else wilson(float(shares[name].sum()), shares[name].size) for name in values}


def _differences(ours: Values, theirs: Values, seed: int) -> dict[str, Estimate]:
    return bootstraps({name: less(value, theirs[name]) for name, value in ours.items()}, seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What is asked of every model beside the whole: parts of the users and items, and answers that another model gave."""

    slices: Slices
    log: LoggedAnswers | None = None
    """Of `unknown_answers`; None where none are logged."""
    welcome: Welcome | None = None
    """Newcomers who would have said what they like."""
    strangers: NDArray[np.floating] | None = None
    """What serving shows newcomers by who say nothing, shape (n_items,); None: the model's scores for an empty history."""


def measure(score: Score, score_many: ScoreMany, split: Split, beside: Beside | None = None, *, welcomes: bool = True) -> Measured:
    """Rank the whole catalogue for each held-out user, without what they have in training, and judge the lists.

    Args:
        score: Scores of all items for one history.
        score_many: The same for several.
        split: Who is measured, and what they went on to like.
        beside: What is measured too; by default nothing.
        welcomes: Whether newcomers are answered as serving does with every version, by what they said or what is liked these days; else by
            the model, as if nothing had been said.
    """
    asked = beside.slices if beside else Slices()
    fresh = asked.named[COLD_ITEMS].rows if COLD_ITEMS in asked.named else np.empty(0, dtype=np.int64)
    histories = split.histories()
    lists, among = _lists(score_many, histories, fresh, asked.cold)
    found = {name: _judged(lists[part.rows], part.relevant) for name, part in asked.named.items()}
    if fresh.size:
        found[AMONG_COLD_ITEMS] = _judged(among, asked.named[COLD_ITEMS].relevant)
    if beside and split.newcomers.size:
        nothing_said = beside.strangers if welcomes else None
        found[COLD_USERS] = _judged(_newcomers(score_many(_empty(1))[0] if nothing_said is None else nothing_said, split), split.sought)
    if beside and beside.welcome:
        found[ONBOARDED_USERS] = _judged(_welcomed(beside.welcome, score_many, welcomes=welcomes), beside.welcome.asked.sought)
    groups = {f"gap:{name}:{GAP_METRIC}": large({each: found[each][GAP_METRIC] for each in asked.of(name)}) for name in asked.fields}
    accurate = found.get(WARM_USERS) or _judged(lists, split.relevant)
    beyond, silent = _beyond(lists, split, histories)
    otherwise = _otherwise(score_many, split, beside)
    return Measured(
        per_user={**accurate, **beyond},
        coverage=wilson(covered(lists), split.train.n_items if len(lists) else 0),
        ms_per_user=milliseconds_per_user(score, histories),
        slices=found,
        groups={name: each for name, each in groups.items() if len(each) > 1},
        earned=otherwise.earned,
        abstained=silent | _ungrouped(asked, groups) | otherwise.abstained,
    )


def _judged(lists: Indices, relevant: Histories) -> Values:
    """Accuracy of lists of LONGEST items, shape (users, LONGEST)."""
    found = hits(lists, relevant)
    cut = {k: found[:, :k] for k in CUTS}
    return (
        {f"hr@{k}": hit_rate(cut[k]) for k in CUTS}
        | {f"ndcg@{k}": ndcg(cut[k], relevant) for k in CUTS}
        | {
            "recall@20": recall(cut[20], relevant),
            "map@10": mean_average_precision(cut[10], relevant),
            "mrr@10": reciprocal_rank(cut[10]),
        }
    )


def _beyond(lists: Indices, split: Split, histories: Histories) -> tuple[dict[str, Value], dict[str, str]]:
    """What the lists are like beside being right, and what cannot be said without content."""
    train, content = split.train, split.train.content
    found = {f"novelty@{LONGEST}": novelty(lists, train), f"popularity_bias@{LONGEST}": popularity_bias(lists, train)}
    varied, calibrated = f"diversity@{LONGEST}", f"calibration@{LONGEST}"
    if content is None:
        words = "nothing is known of the items themselves: give spec.data.catalogue"
        return found, {varied: words, calibrated: words}
    found[varied] = diversity(lists, content)
    if not genres_of(content).size:
        return found, {calibrated: "the catalogue has no genres"}
    return found | {calibrated: calibration(lists, histories, content)}, {}


def _otherwise(score_many: ScoreMany, split: Split, beside: Beside | None) -> Counterfactual:
    if beside is None:
        return Counterfactual()
    if beside.log is None:
        return Counterfactual(abstained=dict.fromkeys((SNIPS, DR), "no logged answers: the snapshot has no table of responses"))
    return counterfactual(score_many, split, beside.log)


def _ungrouped(asked: Slices, groups: Mapping[str, Values]) -> dict[str, str]:
    """By gap that cannot be told: why."""
    few = f"fewer than two groups have {LEAST_USERS} users measured"
    thin = {name: few for name, each in groups.items() if len(each) < 2}
    return thin | {f"gap:{name}:{GAP_METRIC}": words for name, words in asked.refused.items()}


def _lists(score_many: ScoreMany, histories: Histories, fresh: NDArray[np.int64], cold: Indices) -> tuple[Indices, Indices]:
    """The best items of each user, shape (users, LONGEST), and, for the users `fresh`, the best of the items `cold` alone."""
    lists = np.full((len(histories), LONGEST), NOTHING, dtype=np.int32)
    among = np.full((fresh.size, LONGEST), NOTHING, dtype=np.int32)
    place = dict(zip(fresh.tolist(), range(fresh.size), strict=True))
    for start in range(0, len(histories), BLOCK):
        block = histories.select(np.arange(start, min(start + BLOCK, len(histories))))
        scores = score_many(block)
        for row in range(len(block)):
            user = start + row
            lists[user] = best(scores[row], LONGEST, block.of(row)[0])
            if user in place:
                chosen = best(scores[row][cold], LONGEST, _NONE)
                among[place[user]] = np.where(chosen == NOTHING, NOTHING, cold[chosen])
    return lists, among


def _newcomers(scores: NDArray[np.floating], split: Split) -> Indices:
    """The best items of each user without a history, the same for all, shape (newcomers, LONGEST)."""
    return np.tile(best(scores, LONGEST, _NONE), (split.newcomers.size, 1))


def _welcomed(welcome: Welcome, score_many: ScoreMany, *, welcomes: bool) -> Indices:
    if welcomes:
        return welcome.lists(LONGEST)
    scores = score_many(_empty(1))[0]
    return np.stack([welcome.asked.lists(scores, user, LONGEST) for user in range(welcome.asked.users.size)])


def _empty(users: int) -> Histories:
    return Histories(indptr=np.zeros(users + 1, dtype=np.int64), indices=_NONE, weights=np.empty(0, dtype=np.float32))


def milliseconds_per_user(score: Score, histories: Histories) -> float:
    """Mean time to score one user and take the best 20 items, one user after another, in milliseconds.

    CPU time of this thread, not wall time: what else the machine does should not decide between models.
    """
    users = min(TIMED_USERS, len(histories))
    if not users:
        return 0.0
    best(score(*histories.of(0)), LONGEST, histories.of(0)[0])  # the first answer also touches the memory
    started = time.thread_time()
    for user in range(users):
        history, weights = histories.of(user)
        best(score(history, weights), LONGEST, history)
    return (time.thread_time() - started) * 1000 / users
