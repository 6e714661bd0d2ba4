"""Copies of catalogues go when no version was made of them, and no run may still be about to name them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ray_apps.stores.objects import Store, open_store
from ray_apps.training.job import run
from ray_apps.upkeep.catalogues import LONGEST_RUN, remove_catalogues
from recsys_schemas.catalogue import CATALOGUE_REPORT, CatalogueSource
from recsys_schemas.version_card import CARD_FILE, version_folder
from unit.ray_apps.training import planted

LATER = datetime.now(UTC) + LONGEST_RUN + timedelta(days=1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A version made of one catalogue, and a copy of another that no version was made of."""
    uri = planted.snapshot(tmp_path / "store", {"watch": planted.tastes(users=20, items=12, events=6)})
    (tmp_path / "items.csv").write_text("item_id,genres\nitem-0001,g\n")
    source = CatalogueSource(uri=f"file://{tmp_path}/items.csv")
    run(planted.job(uri, algorithm="Popularity", baselines=[], catalogue=source))
    found = open_store(uri)
    found.write(f"catalogue/{'0' * 64}.csv", b"item_id\n")
    found.write(CATALOGUE_REPORT, b"{}")
    return found


def test_a_copy_that_no_version_was_made_of_goes_and_the_others_stay(store: Store):
    before = set(store.names("catalogue"))
    assert remove_catalogues(store, LATER) == 1
    assert before - set(store.names("catalogue")) == {f"catalogue/{'0' * 64}.csv"}
    assert remove_catalogues(store, LATER) == 0


def test_a_copy_that_a_run_may_be_about_to_name_stays(store: Store):
    assert remove_catalogues(store, datetime.now(UTC)) == 0


def test_while_a_card_cannot_be_read_none_goes(store: Store):
    store.write(f"{version_folder('movies-000001')}/{CARD_FILE}", b"{")
    assert remove_catalogues(store, LATER) == 0
    assert len(store.names("catalogue")) == 3


def test_a_copy_goes_with_the_last_version_that_was_made_of_it(store: Store):
    for name in store.names(version_folder("movies-000001")):
        store.remove(name)
    assert remove_catalogues(store, LATER) == 2
    assert store.names("catalogue") == [CATALOGUE_REPORT]


def test_a_store_without_copies_is_left_as_it_is(tmp_path: Path):
    assert remove_catalogues(open_store(f"file://{tmp_path}"), LATER) == 0
