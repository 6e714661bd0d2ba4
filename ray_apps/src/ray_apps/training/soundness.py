"""Whether what serves is sound: what gates ask of a version beside how good its measured fit is."""

import numpy as np

from ray_apps.algorithms.recommender import Recommender
from ray_apps.evaluation.capture import captured
from ray_apps.evaluation.confidence import bootstrap, difference
from ray_apps.evaluation.quiz import Quizzed, by_lot, learnt_score
from ray_apps.evaluation.ranking import NOTHING, Value, best
from ray_apps.stores.registry import LoadedVersion
from ray_apps.training.champion import as_champion, seen
from ray_apps.training.dataset import Dataset
from recsys_schemas.version_card import Capture, Control, Learnt, Probe

PROBES = 32
LONGEST_HISTORY = 50
"""Items of a probe's history at most: cards stay small."""
ANSWERS = 10
MOST_ITEMS = 20
KNOWN_SHARE = 0.2
"""A control that knows more than this part of what the measured fit knows, both over chance, has it from elsewhere (ADR 27)."""


def probes_of(dataset: Dataset, model: Recommender) -> list[Probe]:
    """What the model answers, as it was fitted, to some of the users' histories, evenly spread over all users."""
    histories = dataset.interactions.told()
    able = np.flatnonzero(np.diff(histories.indptr))
    chosen = able[np.linspace(0, able.size - 1, min(PROBES, able.size)).astype(np.int64)]
    found: list[Probe] = []
    for user in chosen.tolist():
        items, weights = histories.of(user)
        items, weights = items[:LONGEST_HISTORY], weights[:LONGEST_HISTORY]
        answer = best(model.scores(items, weights), ANSWERS, items)
        found.append(
            Probe(
                user=dataset.user_ids[user],
                history={dataset.item_ids[item]: float(weight) for item, weight in zip(items.tolist(), weights.tolist(), strict=True)},
                best=[dataset.item_ids[item] for item in answer.tolist() if item != NOTHING],
            )
        )
    return found


def learnt_of(quizzed: Quizzed, model: Recommender, seed: int) -> Learnt | None:
    """How well what serves, and what was measured, know what they were fitted on; None when nobody could be asked."""
    if not len(quizzed.quiz):
        return None
    return Learnt(
        measured=bootstrap(quizzed.learnt, seed),
        serves=bootstrap(learnt_score(model.scores_many, quizzed.quiz), seed),
        held_out_minus_learnt=difference(quizzed.held_out, quizzed.learnt, seed),
    )


def control_of(quizzed: Quizzed, scrambled: Value, n_items: int, seed: int) -> Control | None:
    """How well what was held out is known to the measured fit, and to one on exchanged labels; None when nobody could be asked."""
    if not len(quizzed.quiz):
        return None
    chance = by_lot(quizzed.quiz, n_items)
    allowed = Value(per_user=KNOWN_SHARE * quizzed.held_out.per_user + (1 - KNOWN_SHARE) * chance.per_user)
    return Control(
        measured=bootstrap(quizzed.held_out, seed),
        scrambled=bootstrap(scrambled, seed),
        chance=chance.mean,
        excess=difference(scrambled, allowed, seed),
    )


def capture_of(model: Recommender, version: LoadedVersion | None, dataset: Dataset, seed: int) -> Capture | None:
    """What newcomers' items have taken of the lists of those whom the champion knew; None when there is nothing to compare."""
    if version is None:
        return None
    champion = as_champion(version, dataset)
    newcomers = np.array([version.user_ids.position(user) is None for user in dataset.user_ids], dtype=np.bool_)
    unseen = ~seen(champion, dataset)
    found = captured(model.scores_many, champion.scores_many, dataset.interactions, newcomers, unseen, seed)
    if found is None:
        return None
    names = [dataset.item_ids[item] for item in found.items[:MOST_ITEMS].tolist()]
    return Capture(newcomers=found.newcomers, items=names, share=bootstrap(found.share, seed))
