"""What an arm may show now: its version's items, those that came since by live records, without those that were withdrawn.

New items stand behind the version's own: their places go on from where those end. A model knows nothing of them, so each is scored as the
items of the version that are most like it by content are, drawn down by how unlike they are; where nothing is known of it, last of all.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.content import Vocabulary
from ray_apps.algorithms.onboarding import similarity
from ray_apps.serving.online.popularity import LivePopularity, Worth, ordered
from ray_apps.serving.told.told import LiveItem
from ray_apps.stores.facets import UNKNOWN, facet, facets_said
from ray_apps.stores.registry import LoadedVersion
from recsys_schemas.filters import Filters

NEIGHBOURS = 5
"""Known items that speak for a new one."""
MOST_NEWCOMERS = 10_000
"""New items of one arm; of more, those of the oldest records are not shown."""
_DAY_MS = 86_400_000
_MASKS = 64
_AGE_GRAIN_MS = 1000
"""Ages are as of the second, so that a mask serves for more than one question."""
Scores = NDArray[np.floating]
Popular = tuple[Worth, NDArray[np.int32]]
"""How much each place is liked, and the places in that order."""


class UnknownFieldError(ValueError):
    """A filter speaks of what no item of the catalogue has; the message names the field and the mend."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Joined(Sequence[str]):
    """Names of the version's items, and behind them those of the new ones."""

    def __init__(self, own: Sequence[str], more: Sequence[str]) -> None:
        """Put `more` behind `own`; neither is copied."""
        self._own, self._more, self._size = own, more, len(own)

    def __len__(self) -> int:
        return self._size + len(self._more)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        return self._own[index] if index < self._size else self._more[index - self._size]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """One state of it; replaced as a whole."""

    version: LoadedVersion
    names: Sequence[str]
    """Item ids by place: the version's, then the new ones'."""
    places: Mapping[str, int]
    """Item id → place, of the version's own."""
    new: Mapping[str, int] = field(default_factory=dict[str, int])
    """Item id → place, of the new ones."""
    near: NDArray[np.int32] = field(default_factory=lambda: np.empty((0, NEIGHBOURS), dtype=np.int32))
    """Who speaks for each new item, shape (new, NEIGHBOURS)."""
    says: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, NEIGHBOURS), dtype=np.float32))
    """How alike they are, at most 1; 0 for nobody."""
    withdrawn: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Places that are not shown."""
    said: Mapping[int, LiveItem] = field(default_factory=dict[int, LiveItem])
    """Place → its live record."""
    _barred: dict[tuple[str, int], NDArray[np.int64]] = field(default_factory=dict[tuple[str, int], NDArray[np.int64]])
    _order: list[tuple[LivePopularity, int, Popular]] = field(default_factory=list[tuple[LivePopularity, int, Popular]])

    @property
    def own(self) -> int:
        """How many items are the version's own."""
        return len(self.names) - len(self.new)

    def place(self, item_id: str) -> int | None:
        """Where an item stands; None for one that is not there."""
        found = self.places.get(item_id)
        return self.new.get(item_id) if found is None else found

    def extended(self, scores: Scores) -> Scores:
        """Scores of the version's items, shape (own,), and behind them those of the new ones."""
        if not self.new or not scores.size:
            return scores
        least = scores.min()
        total = self.says.sum(axis=1)
        mean = (self.says * scores[self.near]).sum(axis=1) / np.maximum(total, 1e-9)
        alike = total / NEIGHBOURS
        return np.concatenate((scores, (least + alike * (np.where(total > 0, mean, least) - least)).astype(scores.dtype)))

    def popular(self, popularity: LivePopularity) -> Popular:
        """How much each place is liked now, and the places in that order."""
        if not self.new:
            return popularity.worth, popularity.order
        for of, turn, made in self._order:
            if of is popularity and turn == popularity.turns:
                return made
        turn = popularity.turns
        worth = np.concatenate((popularity.worth, self._since(popularity)))
        made = worth, ordered(worth)
        self._order[:] = [(popularity, turn, made)]
        return made

    def unliked(self, popularity: LivePopularity) -> NDArray[np.int64]:
        """Places that nobody has liked yet."""
        return np.flatnonzero(np.concatenate((popularity.counts, self._since(popularity))) == 0)

    def _since(self, popularity: LivePopularity) -> NDArray[np.int64]:
        return np.array([popularity.others.get(item, 0) for item in self.new], dtype=np.int64)

    def barred(self, filters: Filters | None) -> NDArray[np.int64]:
        """Places that may not be shown: those withdrawn, and those that do not pass the filters.

        Raises:
            UnknownFieldError: a filter speaks of what the catalogue does not have.
        """
        if filters is None:
            return self.withdrawn
        now = int(time.time() * 1000) // _AGE_GRAIN_MS * _AGE_GRAIN_MS if _aged(filters) else 0
        asked = filters.model_dump_json(), now
        found = self._barred.get(asked)
        if found is None:
            if len(self._barred) >= _MASKS:
                self._barred.clear()
            found = self._barred[asked] = self._mask(filters, now)
        return found

    def _mask(self, filters: Filters, now: int) -> NDArray[np.int64]:
        self.check(filters)
        passes = np.ones(len(self.names), dtype=np.bool_)
        facets = self.version.facets
        for sort, words in _asked(filters):
            some = np.zeros(passes.size, dtype=np.bool_)
            if facets is not None:
                for word in words:
                    some[facets.items(facet(sort, word))] = True
            passes &= some
        if _aged(filters):
            released = np.full(passes.size, UNKNOWN, dtype=np.int64)
            if facets:
                released[: self.own] = facets.released
            passes &= _in_time(released, filters, now)
        for place, live in self.said.items():
            passes[place] = _passes(live, filters, now)
        passes[self.withdrawn] = False
        return np.flatnonzero(~passes)

    def check(self, filters: Filters) -> None:
        """Hold that a catalogue says something of each field that is asked for.

        Raises:
            UnknownFieldError: it says nothing of one, of any item.
        """
        known = set(self.version.facets.sorts) if self.version.facets else set[str]()
        for live in self.said.values():
            known |= {name.partition(":")[0] for name in facets_said(live.item)}
            known |= {"released"} if live.item.released_at is not None else set()
        for sort in [sort for sort, _ in _asked(filters)] + ["released"] * _aged(filters):
            if sort not in known:
                field = _FIELDS.get(sort, "max_age_days" if filters.max_age_days is not None else "min_age_days")
                raise UnknownFieldError(f"filters.{field}", f"filters.{field}: {_nothing_said(self.version, _COLUMNS[sort])}")


_FIELDS = {"category": "categories", "genre": "genres", "tag": "tags"}
_COLUMNS = {"category": "category", "genre": "genres", "tag": "tags", "released": "released_at"}


def _nothing_said(version: LoadedVersion, column: str) -> str:
    if version.facets is None:
        return f"the version was made without a catalogue; set spec.data.catalogue with a column {column}, or leave the filter out"
    return f"the catalogue has no {column} of any item; fill its column {column}, or leave the filter out"


def _asked(filters: Filters) -> list[tuple[str, list[str]]]:
    asked = (("category", filters.categories), ("genre", filters.genres), ("tag", filters.tags))
    return [(sort, words) for sort, words in asked if words]


def _aged(filters: Filters) -> bool:
    return filters.max_age_days is not None or filters.min_age_days is not None


def _in_time(released: NDArray[np.int64], filters: Filters, now: int) -> NDArray[np.bool_]:
    passes = released != UNKNOWN
    if filters.max_age_days is not None:
        passes &= released >= now - filters.max_age_days * _DAY_MS
    if filters.min_age_days is not None:
        passes &= released <= now - filters.min_age_days * _DAY_MS
    return passes


def _passes(live: LiveItem, filters: Filters, now: int) -> bool:
    has = set(facets_said(live.item))
    if not all(has & {facet(sort, word) for word in words} for sort, words in _asked(filters)):
        return False
    released = UNKNOWN if live.item.released_at is None else live.item.released_at
    return not _aged(filters) or bool(_in_time(np.array([released], dtype=np.int64), filters, now)[0])


class Assortment:
    """The shelf of one arm, made anew by the thread that follows live records; what was found of a new item is kept."""

    def __init__(self, version: LoadedVersion, names: Sequence[str], places: Mapping[str, int]) -> None:
        """Begin with the version's own items."""
        self._version, self._names, self._places = version, names, places
        self._vocabulary: Vocabulary | None = None
        self._found: dict[str, tuple[LiveItem, NDArray[np.int32], NDArray[np.float32]]] = {}
        self.shelf = Shelf(version=version, names=names, places=places)

    def renew(self, told: Mapping[str, LiveItem]) -> None:
        """Put what live records say on the shelf."""
        new = [item for item in told if item not in self._places][-MOST_NEWCOMERS:]
        self._found = {item: self._neighbours(item, told[item]) for item in new}
        own = len(self._names)
        fresh = {item: own + number for number, item in enumerate(new)}
        said = {place: live for item, live in told.items() if (place := self._places.get(item, fresh.get(item))) is not None}
        self.shelf = Shelf(
            version=self._version,
            names=Joined(self._names, new) if new else self._names,
            places=self._places,
            new=fresh,
            near=np.stack([self._found[item][1] for item in new]) if new else self.shelf.near[:0],
            says=np.stack([self._found[item][2] for item in new]) if new else self.shelf.says[:0],
            withdrawn=np.array(sorted(place for place, live in said.items() if live.withdrawn), dtype=np.int64),
            said=said,
        )

    def _neighbours(self, item: str, live: LiveItem) -> tuple[LiveItem, NDArray[np.int32], NDArray[np.float32]]:
        """The items of the version that are most like a new one, of those that anybody liked."""
        before = self._found.get(item)
        if before is not None and before[0] == live:
            return before
        near, says = np.zeros(NEIGHBOURS, dtype=np.int32), np.zeros(NEIGHBOURS, dtype=np.float32)
        content = self._version.content
        if content is not None and content.features:
            self._vocabulary = self._vocabulary or Vocabulary.of(content)
            alike = similarity(content, self._vocabulary.vector(live.item)) * (np.asarray(self._version.popularity) > 0)
            best = np.argsort(-alike, kind="stable")[:NEIGHBOURS]
            near[: best.size], says[: best.size] = best, np.clip(alike[best], 0, 1)
        return live, near, says
