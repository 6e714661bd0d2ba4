"""Features of items: the same in any order of rows, in any script, and bounded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_apps.algorithms import content as features
from ray_apps.algorithms.content import content_of, words
from ray_apps.stores.content import CONTENT_FILES, Content, content_of_arrays
from recsys_schemas.catalogue import CatalogueItem

FILMS = [
    CatalogueItem(item_id="a", title="Heat (1995)", genres=["Crime", "Drama"], text="Two men, one city: cops and robbers."),
    CatalogueItem(item_id="b", title="Alien (1979)", genres=["Horror"], text="A crew, a ship, and robbers of bodies."),
    CatalogueItem(item_id="c", title="Red Heat (1988)", genres=["Crime"]),
    CatalogueItem(item_id="d"),
]
IDS = ["a", "b", "c", "d", "unknown"]


def said(content: Content, item: int) -> dict[str, float]:
    indices, weights = content.of(item)
    return {content.features[feature]: round(float(weight), 4) for feature, weight in zip(indices, weights, strict=True)}


def bytes_of(content: Content) -> tuple[object, ...]:
    return content.indptr.tobytes(), content.indices.tobytes(), content.weights.tobytes(), content.features


def test_genres_decades_and_words_that_connect_items_become_features():
    content = content_of(FILMS, IDS)
    assert content.features == ("genre:Crime", "genre:Drama", "genre:Horror", "text:and", "text:robbers", "title:heat")
    assert set(said(content, 2)) == {"genre:Crime", "title:heat"}


def test_what_fewer_items_have_says_more_of_them():
    row = said(content_of(FILMS, IDS), 0)
    assert row["genre:Drama"] > row["genre:Crime"]


def test_rows_have_length_one_or_none():
    matrix = content_of(FILMS, IDS).matrix().toarray()
    assert np.allclose(np.linalg.norm(matrix, axis=1), [1, 1, 1, 0, 0])


def test_items_that_the_catalogue_does_not_have_keep_empty_rows_and_further_rows_are_passed_over():
    content = content_of([*FILMS, CatalogueItem(item_id="not asked", genres=["Crime"])], IDS)
    assert said(content, 4) == {}
    assert bytes_of(content) == bytes_of(content_of(FILMS, IDS))


@pytest.mark.parametrize("items", [[], [CatalogueItem(item_id="z", genres=["Crime"])], [CatalogueItem(item_id="a")]])
def test_a_catalogue_that_says_nothing_gives_rows_without_features(items: list[CatalogueItem]):
    content = content_of(items, IDS)
    assert (len(content), content.features, content.indices.size) == (5, (), 0)


@given(st.permutations(FILMS))
def test_the_order_of_rows_changes_nothing(films: list[CatalogueItem]):
    assert bytes_of(content_of(films, IDS)) == bytes_of(content_of(FILMS, IDS))


def test_the_most_frequent_features_are_kept_and_of_equally_frequent_ones_the_first_names(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(features, "MOST_FEATURES", 3)
    genres = [["x", "common"], ["b", "common"], ["a", "c", "common"]]
    found = content_of([CatalogueItem(item_id=item, genres=own) for item, own in zip("abc", genres, strict=True)], ["a", "b", "c"])
    assert found.features == ("genre:a", "genre:b", "genre:common")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Schindler's List!", ["schindler", "list"]),
        ("CAFÉ cafe\u0301 ＣＡＦÉ", ["café", "café", "café"]),
        ("千と千尋", ["千と", "と千", "千尋"]),
        ("愛", ["愛"]),
        ("Kino日本film", ["日本", "kino", "film"]),
        ("हिन्दी फ़िल्म", ["हिन्दी", "फ़िल्म"]),
        ("ﬁlm — Straße", ["film", "strasse"]),
        ("a b " + "x" * 41, []),
        ("😀😀 😀", ["😀😀"]),
        ("", []),
    ],
)
def test_words_are_found_in_any_script(text: str, found: list[str]):
    assert words(text) == found


@given(
    st.lists(
        st.builds(CatalogueItem, item_id=st.sampled_from(IDS), title=st.text(max_size=30), text=st.text(max_size=60)),
        max_size=5,
        unique_by=lambda item: item.item_id,
    )
)
def test_any_text_gives_rows_of_length_one_or_none(items: list[CatalogueItem]):
    content = content_of(items, IDS)
    lengths = np.linalg.norm(content.matrix().toarray(), axis=1) if content.features else np.zeros(5)
    assert np.all((np.abs(lengths - 1) < 1e-5) | (lengths == 0))
    again = content_of_arrays(content.arrays(), 5)
    assert again is not None
    assert bytes_of(again) == bytes_of(content)


def test_content_comes_back_from_its_arrays():
    content = content_of(FILMS, IDS)
    again = content_of_arrays(content.arrays(), 5)
    assert again is not None
    assert bytes_of(again) == bytes_of(content)
    assert content_of_arrays({}, 5) is None


@pytest.mark.parametrize(
    ("name", "hostile", "words_of_it"),
    [
        ("content_indices", np.array([9, 1, 2, 3, 4, 5, 0, 5, 0, 1], np.int32), "points outside the 6 features"),
        ("content_indices", np.array([-1, 1, 2, 3, 4, 5, 0, 5, 0, 1], np.int32), "points outside"),
        ("content_weights", np.full(10, np.nan, np.float32), "not finite"),
        ("content_weights", np.ones(3, np.float32), "shape"),
        ("content_indptr", np.array([0, 5, 2, 9, 9, 9]), "that rise from 0 to"),
        ("content_indptr", np.array([0, 9]), "that rise from 0 to"),
        ("feature_offsets", np.array([0, 99]), "that rise from 0 to"),
        ("feature_offsets", np.empty(0, np.int64), "that rise from 0 to"),
        ("feature_bytes", np.ones((2, 2), np.uint8), "one dimension"),
    ],
)
def test_hostile_arrays_are_refused(name: str, hostile: np.ndarray, words_of_it: str):
    arrays = content_of(FILMS, IDS).arrays() | {name: hostile}
    with pytest.raises(ValueError, match=words_of_it):
        content_of_arrays(arrays, 5)


def test_half_of_a_content_is_refused():
    arrays = content_of(FILMS, IDS).arrays()
    for name in CONTENT_FILES:
        with pytest.raises(ValueError, match="a version with"):
            content_of_arrays({other: array for other, array in arrays.items() if other != name}, 5)
