"""A run learns from the catalogue, keeps the bytes that it read, and goes on without it when it cannot be read."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ray_apps.algorithms import ALGORITHMS, load_model
from ray_apps.algorithms.content import needed
from ray_apps.algorithms.hyperparameters import Hyperparameters
from ray_apps.algorithms.interactions import Interactions
from ray_apps.algorithms.popularity import Popularity
from ray_apps.algorithms.recommender import ALONE, Fitting
from ray_apps.stores.objects import Store, open_store
from ray_apps.stores.registry import open_version
from ray_apps.stores.snapshots import open_snapshot
from ray_apps.training.catalogue import read_described, source_of
from ray_apps.training.dataset import Dataset, read_dataset
from ray_apps.training.job import run
from ray_apps.training.refusals import Refusal, TrainingRefused
from recsys_schemas.catalogue import CatalogueSource
from recsys_schemas.train_job import TrainJob
from unit.ray_apps.training import planted

ROWS = "item_id,title,genres\n" + "".join(f"item-{number:04d},Film {number} ({1950 + number}),g{number % 4}\n" for number in range(60))
NEW = "new-é,Film,g1\n"


class NeedsContent(Popularity):
    """Learns nothing without a catalogue."""

    @classmethod
    def fit(cls, interactions: Interactions, hyperparameters: Hyperparameters, seed: int, fitting: Fitting = ALONE) -> Self:
        needed(interactions.content, cls.name)
        return super().fit(interactions, hyperparameters, seed, fitting)


NEEDING = MappingProxyType({**ALGORITHMS, "Popularity": NeedsContent})


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return planted.snapshot(tmp_path / "store", {"watch": planted.tastes(users=60, items=50, events=10)})


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., CatalogueSource]:
    def put(content: str, name: str = "items.csv") -> CatalogueSource:
        (tmp_path / name).write_text(content, encoding="utf-8")
        return CatalogueSource(uri=f"file://{tmp_path}/{name}")

    return put


def job(uri: str, source: CatalogueSource | None, version: str = "movies-000001", algorithm: str = "Popularity") -> TrainJob:
    return planted.job(uri, version=version, catalogue=source, algorithm=algorithm, baselines=[])


def read(uri: str, source: CatalogueSource | None) -> Dataset:
    store = open_store(uri)
    return read_dataset(open_snapshot(store, 1), read_described(store, source))


def liked(dataset: Dataset) -> set[tuple[str, str]]:
    known = dataset.interactions
    return {(dataset.user_ids[user], dataset.item_ids[item]) for user, item in zip(known.users, known.items, strict=True)}


def test_items_that_nobody_has_liked_yet_are_items_of_the_version(uri: str, write: Callable[..., CatalogueSource]):
    bare, whole = read(uri, None), read(uri, write(ROWS + NEW))
    assert bare.interactions.content is None
    assert set(whole.item_ids) == {f"item-{number:04d}" for number in range(60)} | {"new-é"}
    assert whole.item_ids == sorted(whole.item_ids, key=str.encode)
    assert (whole.interactions.n_items, len(whole.interactions.content or ())) == (61, 61)
    assert liked(whole) == liked(bare)


def test_items_that_the_catalogue_does_not_have_keep_empty_rows(uri: str, write: Callable[..., CatalogueSource]):
    whole = read(uri, write("item_id,genres\nitem-0001,g\nitem-0002,g\n"))
    content = whole.interactions.content
    assert content is not None
    assert np.flatnonzero(np.diff(content.indptr)).tolist() == [whole.item_ids.index("item-0001"), whole.item_ids.index("item-0002")]
    assert whole.catalogue is not None
    assert (whole.catalogue.items, whole.catalogue.described, whole.catalogue.features) == (2, 2, 1)


def test_the_order_of_rows_of_the_catalogue_changes_no_byte_of_the_version(uri: str, write: Callable[..., CatalogueSource], tmp_path: Path):
    head, *rows = (ROWS + NEW).splitlines()
    other = planted.snapshot(tmp_path / "other", {"watch": planted.tastes(users=60, items=50, events=10)})
    first = run(job(uri, write(ROWS + NEW)))
    second = run(job(other, write("\n".join([head, *reversed(rows), ""]), "turned.csv")))
    assert first.digest == second.digest
    assert first.catalogue is not None
    assert second.catalogue is not None
    assert first.catalogue.sha256 != second.catalogue.sha256


def test_a_version_carries_what_is_known_of_its_items(uri: str, write: Callable[..., CatalogueSource], tmp_path: Path):
    card = run(job(uri, write(ROWS + NEW)))
    loaded = open_version(open_store(uri), card.version, card.digest, tmp_path / "cache", load_model)
    content = loaded.content
    assert content is not None
    indices, _ = content.of(loaded.item_index["new-é"])
    assert [content.features[feature] for feature in indices] == ["genre:g1", "title:film"]
    assert loaded.recent is not None
    assert ((loaded.recent > 0) == (loaded.popularity > 0)).all(), "what newcomers are answered by"
    assert (loaded.recent <= loaded.popularity).all()
    assert loaded.recent.max() > 0


def test_a_version_is_made_again_from_its_card_when_the_catalogue_has_changed(uri: str, write: Callable[..., CatalogueSource]):
    card = run(job(uri, write(ROWS)))
    write(ROWS + NEW)
    store = open_store(uri)
    assert card.catalogue is not None
    assert card.catalogue.kept == f"catalogue/{hashlib.sha256(ROWS.encode()).hexdigest()}.csv"
    assert store.read(str(card.catalogue.kept)) == ROWS.encode()
    again = run(job(uri, source_of(store, card.catalogue), version="movies-000002"))
    assert again.digest == card.digest
    assert run(job(uri, CatalogueSource(uri=card.catalogue.uri), version="movies-000003")).digest != card.digest


def test_a_copy_that_was_damaged_is_written_anew_by_who_has_the_bytes_and_refused_to_who_needs_it(
    uri: str, write: Callable[..., CatalogueSource]
):
    store, source = open_store(uri), write(ROWS)
    described = read_described(store, source)
    assert described is not None
    kept = str(described.used.kept)
    store.write(kept, b"item_id\nx\n")
    with pytest.raises(TrainingRefused, match="give the copy of those bytes") as refused:
        read_described(store, source_of(store, described.used))
    assert refused.value.refusal is Refusal.STORAGE
    read_described(store, source)
    assert store.read(kept) == ROWS.encode()


@pytest.mark.parametrize(
    ("content", "words"), [(None, "is not there"), ("id\n1\n", "no column item_id"), ("item_id\n", "no row that is an item")]
)
def test_a_catalogue_that_cannot_be_read_does_not_hold_training_and_the_card_says_so(
    uri: str,
    write: Callable[..., CatalogueSource],
    caplog: pytest.LogCaptureFixture,
    content: str | None,
    words: str,
):
    source = CatalogueSource(uri="file:///nowhere/items.csv") if content is None else write(content)
    card = run(job(uri, source))
    assert card.catalogue is not None
    assert words in card.catalogue.problem
    assert card.catalogue.described == 0
    assert not any(name.startswith("content") for name in card.files)
    assert "recent.npy" in card.files, "strangers are answered by what is liked these days, whatever is known of items"
    assert any(record.message == "CatalogueUnreadable" for record in caplog.records)


def test_an_algorithm_that_needs_a_catalogue_is_refused_without_one_with_the_mend(uri: str):
    with pytest.raises(TrainingRefused, match=r"Popularity learns from what is known of the items.*set spec\.data\.catalogue") as refused:
        run(job(uri, None), NEEDING)
    assert refused.value.refusal is Refusal.BAD_JOB
    with pytest.raises(TrainingRefused, match=r"Popularity learns from .*'file:///nowhere/items\.csv' is not there; put") as refused:
        run(job(uri, CatalogueSource(uri="file:///nowhere/items.csv")), NEEDING)
    assert refused.value.refusal is Refusal.STORAGE


def test_an_algorithm_that_needs_a_catalogue_is_fitted_with_one(uri: str, write: Callable[..., CatalogueSource]):
    assert run(job(uri, write(ROWS)), NEEDING).catalogue is not None


def test_a_catalogue_as_parquet_is_kept_as_parquet(uri: str, tmp_path: Path):
    pq.write_table(pa.table({"item_id": ["item-0001"], "genres": [["g"]]}), tmp_path / "items.parquet")
    store: Store = open_store(uri)
    described = read_described(store, CatalogueSource(uri=f"file://{tmp_path}/items.parquet"))
    assert described is not None
    assert str(described.used.kept).endswith(".parquet")
    again = read_described(store, source_of(store, described.used))
    assert again is not None
    assert again.items == described.items
