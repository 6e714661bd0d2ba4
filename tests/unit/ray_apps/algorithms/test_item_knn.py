import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from ray_apps.algorithms.item_knn import ItemItem
from unit.ray_apps.algorithms.grouped import dense, interactions


def similarities(kind: str) -> NDArray[np.float64]:
    known = interactions()
    arrays = ItemItem.fit(known, {"neighbours": known.n_items, "similarity": kind}, 7).arrays()
    return csr_matrix((arrays["similarities"], arrays["indices"], arrays["indptr"]), shape=(known.n_items, known.n_items)).toarray()


def test_item_similarities_are_the_cosines_of_the_columns():
    matrix = dense(interactions())
    unit = matrix / np.maximum(np.linalg.norm(matrix, axis=0), 1e-12)
    cosines = unit.T @ unit
    np.fill_diagonal(cosines, 0)
    assert np.allclose(similarities("Cosine"), cosines, atol=1e-5)


def test_item_similarities_are_products_of_bm25_weights_with_items_as_documents_and_users_as_words():
    matrix = dense(interactions()).T
    k1, b, liked = 1.2, 0.75, (matrix > 0).sum(axis=0)
    rarity = np.log(matrix.shape[0]) - np.log1p(liked)
    length = matrix.sum(axis=1, keepdims=True)
    weights = matrix * (k1 + 1) / (k1 * (1 - b + b * length / length.mean()) + matrix) * rarity
    products = weights @ weights.T
    np.fill_diagonal(products, 0)
    assert np.allclose(similarities("BM25"), products, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["Cosine", "BM25"])
def test_no_item_keeps_more_neighbours_than_asked(kind: str):
    arrays = ItemItem.fit(interactions(), {"neighbours": 5, "similarity": kind}, 7).arrays()
    assert int(np.diff(arrays["indptr"].astype(np.int64)).max()) == 5
