"""From what a catalogue says of items to features: genres, decades, words of titles and texts, weighed so that the rare says more.

Weights are TF-IDF with a logarithmic term frequency. Each sort of feature is brought to a length of its own before they are put
together, so that three genres are not drowned by the hundred words of a text.

Source: Salton & Buckley, "Term-weighting approaches in automatic text retrieval", Information Processing & Management 24(5), 1988.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.hyperparameters import Unsuitable
from ray_apps.stores.content import Content
from recsys_schemas.catalogue import CatalogueItem

MOST_FEATURES = 1 << 15
"""The most frequent are kept; of equally frequent ones those whose names come first."""
MOST_WORDS = 512
"""Different words of one item that count: the most frequent, of equally frequent ones those that come first."""
LONGEST_WORD = 40
"""Longer runs of letters are no words."""
SORTS = ("decade", "genre", "text", "title")
"""What features speak of, as in `genre:Comedy`."""
LENGTHS = (0.5, 1.0, 1.0, 0.5)
"""How much each sort says of an item, before rows are brought to length 1."""
LEAST_ITEMS = (2, 1, 2, 2)
"""A word of one item connects it with no other; a genre of one item is something that a new user may ask for."""

_YEAR = re.compile(r"[\(\[](1[89]\d\d|20\d\d)[\)\]]\s*$")
_SEPARATORS = re.compile(r"[\s\x00-/:-@\[-`{-\xa9\xab-\xb1\xb4\xb6-\xb8\xbb-\xbf\xd7\xf7\u2000-\u206f\u3000-\u3004\u3008-\u3020\u3030]+")
_UNSPACED = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")


class ContentNeeded(Unsuitable):
    """An algorithm that learns from what items are was given no catalogue; the message says the mend."""


def needed(content: Content | None, algorithm: str) -> Content:
    """The content, for an algorithm that cannot do without.

    Raises:
        ContentNeeded: there is none.
    """
    if content is None or not content.features:
        words = f"algorithm: {algorithm} learns from what is known of the items, and there is no catalogue"
        raise ContentNeeded(f"{words}; set spec.data.catalogue, or choose another algorithm")
    return content


def content_of(items: Iterable[CatalogueItem], item_ids: Sequence[str]) -> Content:
    """Features of the items `item_ids`, in that order; an item that is not among `items` has an empty row.

    The result does not depend on the order of `items`, each of which stands there once.
    """
    position = {item: index for index, item in enumerate(item_ids)}
    names: dict[str, int] = {}
    rows: list[int] = []
    terms: list[int] = []
    counts: list[int] = []
    for item in items:
        row = position.get(item.item_id)
        if row is None:
            continue
        for name, count in _said(item):
            rows.append(row)
            terms.append(names.setdefault(name, len(names)))
            counts.append(count)
    return _weighed(list(names), np.array(rows, np.int64), np.array(terms, np.int64), np.array(counts, np.int64), len(item_ids))


def words(text: str) -> list[str]:
    """The words of a text, folded to one spelling (NFKC, case); scripts without spaces give pairs of neighbouring signs."""
    found: list[str] = []
    for part in _SEPARATORS.split(unicodedata.normalize("NFKC", text).casefold()):
        for run in _UNSPACED.findall(part):
            found += [run[at : at + 2] for at in range(max(1, len(run) - 1))]
        found += [word for word in _UNSPACED.split(part) if 1 < len(word) <= LONGEST_WORD]
    return found


def _said(item: CatalogueItem) -> Iterator[tuple[str, int]]:
    """Features of one item and how often each is said."""
    for genre in sorted({name for each in item.genres or () if (name := unicodedata.normalize("NFC", each).strip())}):
        yield f"genre:{genre}", 1
    title = item.title or ""
    year = _YEAR.search(title)
    if year:
        yield f"decade:{year[1][:3]}0", 1
        title = title[: year.start()]
    for sort, text in (("title", title), ("text", item.text or "")):
        often = Counter(words(text))
        for word in sorted(often, key=lambda word: (-often[word], word))[:MOST_WORDS]:
            yield f"{sort}:{word}", often[word]


def _weighed(names: list[str], rows: NDArray[np.int64], terms: NDArray[np.int64], counts: NDArray[np.int64], n_items: int) -> Content:
    """Choose the features and weigh them."""
    held_by = np.bincount(terms, minlength=len(names))
    sort_of = np.array([SORTS.index(name.partition(":")[0]) for name in names], dtype=np.int64)
    fit = [term for term in range(len(names)) if held_by[term] >= LEAST_ITEMS[sort_of[term]]]
    chosen = sorted(fit, key=lambda term: (-held_by[term], names[term].encode()))[:MOST_FEATURES]
    chosen.sort(key=lambda term: names[term].encode())
    new = np.full(len(names), -1, dtype=np.int64)
    new[chosen] = np.arange(len(chosen))
    described = np.unique(rows).size
    kept = new[terms] >= 0
    rows, terms, counts = rows[kept], terms[kept], counts[kept]
    order = np.lexsort((new[terms], rows))
    rows, terms, counts = rows[order], terms[order], counts[order]
    weights = (1 + np.log(counts)) * (1 + np.log((1 + described) / (1 + held_by[terms])))
    sorts = sort_of[terms]
    weights *= np.array(LENGTHS)[sorts] / _lengths(weights, rows * len(SORTS) + sorts, n_items * len(SORTS))
    weights /= _lengths(weights, rows, n_items)
    return Content(
        indptr=np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=n_items)))).astype(np.int64),
        indices=new[terms].astype(np.int32),
        weights=weights.astype(np.float32),
        features=tuple(names[term] for term in chosen),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """The features of some content by name, and how much each says: one more item can be told in the same terms."""

    index: Mapping[str, int]
    rarity: NDArray[np.float64]
    """Shape (features,)."""

    @classmethod
    def of(cls, content: Content) -> "Vocabulary":
        """The vocabulary of items that are known."""
        held_by = np.bincount(content.indices, minlength=len(content.features))
        described = int(np.count_nonzero(np.diff(content.indptr)))
        index = {name: place for place, name in enumerate(content.features)}
        return cls(index=index, rarity=1 + np.log((1 + described) / (1 + held_by)))

    def vector(self, item: CatalogueItem) -> NDArray[np.float64]:
        """One item, as `content_of` weighs it, of length 1, shape (features,); 0 where nothing that is said of it is known."""
        told = [(self.index[name], SORTS.index(name.partition(":")[0]), count) for name, count in _said(item) if name in self.index]
        vector = np.zeros(len(self.index))
        if told:
            terms, sorts, counts = (np.array(column, dtype=np.int64) for column in zip(*told, strict=True))
            weights = (1 + np.log(counts)) * self.rarity[terms]
            weights *= np.array(LENGTHS)[sorts] / _lengths(weights, sorts, len(SORTS))
            vector[terms] = weights / np.sqrt((weights * weights).sum())
        return vector


def _lengths(weights: NDArray[np.float64], groups: NDArray[np.int64], n_groups: int) -> NDArray[np.float64]:
    """For each weight the length (L2) of the group that it belongs to."""
    return np.sqrt(np.bincount(groups, weights=weights * weights, minlength=n_groups))[groups]
