"""Which versions' files go: this model's, that nothing named needs, and that are older than all that is kept."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ray_apps.stores.objects import Store, open_store
from ray_apps.stores.registry import read_card, version_names, write_card
from ray_apps.training.job import run
from ray_apps.upkeep.versions import remove_versions
from recsys_schemas.version_card import CARD_FILE, version_folder
from unit.ray_apps.training import planted

NAMES = [f"movies-00000{number}" for number in range(1, 5)]
MODEL = planted.job("file:///").model


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Four versions of one model."""
    uri = planted.snapshot(tmp_path, {"watch": planted.tastes(users=20, items=12, events=6)})
    for name in NAMES:
        run(planted.job(uri, version=name, algorithm="Popularity", baselines=[]))
    return open_store(uri)


def whole(store: Store, name: str) -> bool:
    card = read_card(store, name)
    return card is not None and all(store.exists(f"{version_folder(name)}/{file}") for file in card.files)


def test_what_is_not_named_and_older_than_what_is_goes_whole(store: Store):
    assert remove_versions(store, MODEL, [NAMES[1], NAMES[3]]) == 2
    assert version_names(store) == [NAMES[1], NAMES[3]]
    assert whole(store, NAMES[1])
    assert remove_versions(store, MODEL, [NAMES[1], NAMES[3]]) == 0


def test_a_version_that_was_made_after_the_list_was_stays(store: Store):
    assert remove_versions(store, MODEL, [NAMES[0], NAMES[1]]) == 0
    assert version_names(store) == NAMES


def test_an_operator_that_names_none_has_none_removed(store: Store):
    assert remove_versions(store, MODEL, []) == 0
    assert version_names(store) == NAMES


@pytest.mark.parametrize("change", [{"namespace": "other"}, {"uid": "u-2"}, {"name": "films"}])
def test_the_versions_of_another_model_or_of_a_namesake_stay(store: Store, change: dict[str, str]):
    assert remove_versions(store, MODEL.model_copy(update=change), ["movies-000009", "films-000009"]) == 0
    assert version_names(store) == NAMES


def forget_its_job(store: Store) -> None:
    card = read_card(store, NAMES[0])
    assert card is not None
    write_card(store, card.model_copy(update={"job": None}))


def break_its_card(store: Store) -> None:
    store.write(f"{version_folder(NAMES[0])}/{CARD_FILE}", b"{")


def take_its_card(store: Store) -> None:
    store.remove(f"{version_folder(NAMES[0])}/{CARD_FILE}")


@pytest.mark.parametrize("harm", [forget_its_job, break_its_card, take_its_card])
def test_a_version_that_does_not_say_whose_it_is_stays(store: Store, harm: Callable[[Store], None]):
    harm(store)
    assert remove_versions(store, MODEL, [NAMES[3]]) == 2
    assert version_names(store) == [NAMES[0], NAMES[3]]


def test_what_a_killed_run_began_the_next_one_ends(store: Store, monkeypatch: pytest.MonkeyPatch):
    removed: list[str] = []
    whole_remove = Store.remove

    def killed(self: Store, name: str) -> None:
        if len(removed) == 3:
            raise KeyboardInterrupt
        removed.append(name)
        whole_remove(self, name)

    monkeypatch.setattr(Store, "remove", killed)
    with pytest.raises(KeyboardInterrupt):
        remove_versions(store, MODEL, [NAMES[3]])
    assert not any(name.endswith(CARD_FILE) for name in removed), "the card says whose files these are: it goes last"
    monkeypatch.undo()
    assert remove_versions(store, MODEL, [NAMES[3]]) == 3
    assert version_names(store) == [NAMES[3]]
