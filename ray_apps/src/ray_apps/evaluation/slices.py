"""Parts of who and what is measured: a mean over all hides those for whom a model is bad.

Slices stand beside the numbers over all users, which they never change. A part of the users keeps their relevant items; a part of the
items keeps the users who went on to like one of them, and asks for those items alone, in the same lists.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.columns import counted, latest
from ray_apps.algorithms.interactions import Histories
from ray_apps.evaluation.splits import Split

WARM_USERS, COLD_USERS, OLD_USERS = "warmUsers", "coldUsers", "oldUsers"
ONBOARDED_USERS = "onboardedUsers"
COLD_ITEMS, AMONG_COLD_ITEMS, OLD_ITEMS = "coldItems", "amongColdItems", "oldItems"
ACTIVITY = "activity"
"""The group that every model has: `light` users, and `heavy` ones, whose history is longer than the median."""
MOST_VALUES = 16
"""A field with more values makes no groups: each would be too small to say anything of."""
OLD_MS = 30 * 24 * 3600 * 1000
"""Behaviour is old when it lies so many milliseconds, 30 days, before the newest interaction of training."""

Groups = Mapping[str, Sequence[str | None]]
"""By field: the value of each user of the catalogue, None where unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Some of the users measured, as rows of the split, shape (users,), and what counts as a hit for them."""

    rows: NDArray[np.int64]
    relevant: Histories


@dataclass(frozen=True, slots=True, kw_only=True)
class Slices:
    """What is asked of every model beside the whole: slices by name, new items, and what became of the fields."""

    named: Mapping[str, Slice] = field(default_factory=dict[str, Slice])
    cold: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, dtype=np.int32))
    """Items that nobody liked in training, ascending: the catalogue may hold more of them than somebody liked later."""
    fields: tuple[str, ...] = ()
    """The fields by which users were grouped."""
    refused: Mapping[str, str] = field(default_factory=dict[str, str])
    """By field: why it makes no groups."""

    def of(self, field_name: str) -> list[str]:
        """Names of the slices that a field makes."""
        return [name for name in self.named if name.startswith(group_name(field_name, ""))]


def group_name(field_name: str, value: str) -> str:
    """Name of the slice of the users with a value: `group:gender=f`."""
    return f"group:{field_name}={value}"


def slices_of(split: Split, groups: Groups | None = None) -> Slices:
    """The slices of a split that somebody belongs to.

    Args:
        split: Who is measured, on what.
        groups: Values of all users of the catalogue, by field.
    """
    train, everyone = split.train, np.arange(split.users.size)
    popularity = train.popularity()
    named = {
        WARM_USERS: Slice(rows=everyone, relevant=split.relevant),
        COLD_ITEMS: _of_items(split, popularity == 0),
        OLD_ITEMS: _of_items(split, _old_items(split)),
        OLD_USERS: _of_users(split, _old_users(split)),
    }
    grouped, refused = _grouped(split, groups or {})
    fields = tuple(dict.fromkeys((ACTIVITY, *(name for name in groups or {} if name not in refused))))
    present = {name: each for name, each in (named | grouped).items() if each.rows.size}
    return Slices(named=present, cold=np.flatnonzero(popularity == 0).astype(np.int32), fields=fields, refused=refused)


def _of_users(split: Split, chosen: NDArray[np.bool_]) -> Slice:
    rows = np.flatnonzero(chosen)
    return Slice(rows=rows, relevant=split.relevant.select(rows))


def _of_items(split: Split, wanted: NDArray[np.bool_]) -> Slice:
    """Users with a relevant item among those wanted, and those items."""
    kept = wanted[split.relevant.indices]
    users = np.repeat(np.arange(split.users.size), np.diff(split.relevant.indptr))[kept]
    counts = np.bincount(users, minlength=split.users.size)
    rows = np.flatnonzero(counts)
    indptr = np.concatenate(([0], np.cumsum(counts[rows]))).astype(np.int64)
    return Slice(rows=rows, relevant=Histories(indptr=indptr, indices=split.relevant.indices[kept], weights=split.relevant.weights[kept]))


def _old_items(split: Split) -> NDArray[np.bool_]:
    """Items with at least half of their interactions in training long ago, shape (n_items,): what a forgetful model loses."""
    train = split.train
    since = train.times.max(initial=0) - OLD_MS
    popularity, old = train.popularity(), counted(train.items, train.n_items, lambda part: train.times[part] < since)
    return (popularity > 0) & (2 * old >= popularity)


def _old_users(split: Split) -> NDArray[np.bool_]:
    """Users measured whose newest interaction in training lies long ago."""
    train = split.train
    newest = latest(train.users, train.times, np.zeros(train.n_users, dtype=np.int64))[split.users]
    known = np.isin(split.users, train.active())
    return known & (newest < train.times.max(initial=0) - OLD_MS)


def _grouped(split: Split, groups: Groups) -> tuple[dict[str, Slice], dict[str, str]]:
    """Slices of each value of each field, and why a field has none."""
    lengths = np.diff(split.histories().indptr)
    heavy = lengths > np.median(lengths) if lengths.size else np.zeros(0, dtype=np.bool_)
    found = {group_name(ACTIVITY, "heavy"): _of_users(split, heavy), group_name(ACTIVITY, "light"): _of_users(split, ~heavy)}
    refused: dict[str, str] = {}
    for name, values in groups.items():
        if name == ACTIVITY:
            continue
        seen = [values[user] for user in split.users.tolist()]
        kinds = sorted({value for value in seen if value is not None})
        if not kinds:
            refused[name] = f"groupBy: no event of a user measured has a value of {name!r}; add it to spec.events, and send it"
        elif len(kinds) > MOST_VALUES:
            refused[name] = f"groupBy: {name!r} has {len(kinds)} values among the users measured, at most {MOST_VALUES} make groups"
        else:
            found |= {group_name(name, kind): _of_users(split, np.array([value == kind for value in seen])) for kind in kinds}
    return found, refused
