"""Retention on a real folder: what is past it goes, what a retained snapshot needs stays, wherever a run is killed."""

import contextlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from deltalake.exceptions import DeltaError
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_apps.ingest.files import write_rows
from ray_apps.stores.objects import StorageError, Store, open_store
from ray_apps.stores.snapshots import files_of, open_snapshot, read_manifest, sequences
from ray_apps.upkeep import retention
from ray_apps.upkeep.compaction import compact
from ray_apps.upkeep.job import utc_now
from ray_apps.upkeep.retention import Removed, enforce
from unit.ray_apps.upkeep.growing import Growing, batch

MONTH = timedelta(days=30)


@pytest.fixture
def growing(tmp_path: Path) -> Growing:
    return Growing(open_store(f"file://{tmp_path}/store"))


def clean(growing: Growing, keep: set[int] | None = None, days: int = 30) -> Removed:
    return enforce(growing.store, now=utc_now(), retention=timedelta(days=days), keep=keep or set())


def data_files(store: Store) -> list[str]:
    return [name for name in store.names("watch") if name.endswith(".parquet") and "_delta_log" not in name]


def compacted_and_old(growing: Growing, commits: int = 5) -> list[int]:
    made = [growing.publish().sequence for _ in range(commits)]
    compact(growing.store, "watch")
    growing.age(timedelta(days=40))
    made.append(growing.publish().sequence)
    growing.age(timedelta(days=40))
    growing.publish()
    return made


def test_snapshots_past_their_time_go_with_the_files_that_only_they_need(growing: Growing) -> None:
    compacted_and_old(growing)
    assert len(data_files(growing.store)) == 5 + 1 + 2
    removed = clean(growing)
    assert (removed.manifests, removed.files, removed.missing, removed.troubles) == (5, 5, [], [])
    assert removed.bytes > 0
    assert len(data_files(growing.store)) == 3
    growing.check()


def test_a_snapshot_s_time_begins_when_a_newer_one_takes_its_place(growing: Growing) -> None:
    old = growing.publish().sequence
    growing.age(timedelta(days=400))
    assert clean(growing).manifests == 0
    growing.publish()
    assert clean(growing).manifests == 0
    growing.check(kept={old})


def test_what_a_retained_version_was_trained_on_stays_with_its_files(growing: Growing) -> None:
    made = compacted_and_old(growing)
    removed = clean(growing, keep={made[1]})
    assert removed.missing == []
    assert set(sequences(growing.store)) >= {made[1]}
    growing.check(kept={made[1]})
    assert removed.files == 3
    assert len(files_of(growing.store, read_manifest(growing.store, made[1]).tables[0])) == 2


def test_once_the_version_goes_its_snapshot_goes_too(growing: Growing) -> None:
    made = compacted_and_old(growing)
    clean(growing, keep={made[1]})
    removed = clean(growing)
    assert (removed.manifests, removed.files) == (1, 2)
    growing.check()


def test_a_snapshot_that_was_to_be_kept_and_is_gone_is_told(growing: Growing) -> None:
    made = compacted_and_old(growing)
    lost = files_of(growing.store, read_manifest(growing.store, made[0]).tables[0])[0]
    growing.store.remove(lost.path)
    assert clean(growing, keep={made[0], 999}).missing == [made[0], 999]


def test_a_file_whose_commit_may_still_come_is_never_touched(growing: Growing) -> None:
    compacted_and_old(growing)
    write_rows(growing.store, "watch", [batch(100, 2)], 1_700_000_000.0)
    before = len(data_files(growing.store))
    assert clean(growing).files == 5
    assert len(data_files(growing.store)) == before - 5


def test_what_a_killed_writer_or_compaction_left_goes_in_the_end(growing: Growing) -> None:
    growing.publish()
    write_rows(growing.store, "watch", [batch(100, 2)], 1_700_000_000.0)
    growing.age(timedelta(days=40))
    for _ in range(2):
        growing.publish()
        growing.age(timedelta(days=40))
    growing.publish()
    assert clean(growing).files == 1
    growing.check()


def test_a_snapshot_between_the_oldest_and_the_newest_keeps_files_that_neither_has(growing: Growing) -> None:
    growing.publish()
    growing.age(timedelta(days=20))
    between = [growing.publish().sequence for _ in range(3)][-1]
    growing.age(timedelta(days=5))
    compact(growing.store, "watch")
    growing.publish()
    growing.age(timedelta(days=10))
    assert clean(growing, days=30).files == 0
    growing.check(kept={between})


def test_a_file_of_a_compaction_that_an_idle_table_s_manifests_do_not_know_yet_stays(growing: Growing) -> None:
    growing.publish()
    oldest = growing.publish().sequence
    growing.age(timedelta(days=30))
    compact(growing.store, "watch")
    growing.age(timedelta(days=10))
    middle = growing.publish().sequence  # names the compacted file, which is far older than it
    growing.age(timedelta(days=10))
    compact(growing.store, "watch")
    growing.publish()
    growing.age(timedelta(days=2))
    growing.publish()
    clean(growing, days=15)
    growing.check(kept={oldest, middle})


@pytest.mark.slow
def test_the_log_is_cut_behind_the_oldest_snapshot_and_every_one_left_still_opens(growing: Growing) -> None:
    for _ in range(120):
        growing.publish(1)
    growing.age(timedelta(days=40))
    oldest = growing.publish(1).sequence
    growing.age(timedelta(days=40))
    for _ in range(3):
        growing.publish(1)
    removed = clean(growing)
    assert removed.log_entries == 99  # versions 0 to 98: the checkpoint of 99 opens all later ones
    assert sequences(growing.store)[0] == oldest
    growing.check()
    growing.claim()
    growing.publish()
    growing.check()


def test_a_snapshot_that_went_is_said_to_have_gone_by_retention(growing: Growing) -> None:
    made = compacted_and_old(growing)
    clean(growing)
    with pytest.raises(StorageError, match=rf"snapshot {made[0]}: .* older ones went by retention"):
        open_snapshot(growing.store, made[0])


class KilledError(Exception):
    """The run ends here."""


def dying(left: int) -> Callable[[Store, str], None]:
    """A run that is killed after so many removals."""
    removals = iter(range(left))

    def remove(store: Store, name: str) -> None:
        if next(removals, None) is None:
            raise KilledError(name)
        Path(store.path(name)).unlink(missing_ok=True)

    return remove


STEPS = ("publish", "publish", "publish", "lose the manifest", "compact", "restart", "a week", "a month", "clean", "killed", "pin")


def play(growing: Growing, steps: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    pins = set[int]()
    for step, number in steps:
        match step:
            case "publish":
                growing.publish(1 + number % 3)
            case "lose the manifest":
                growing.publish(manifest=False)
                growing.claim()
            case "compact":
                compact(growing.store, "watch")
            case "restart":
                growing.claim()
            case "a week":
                growing.age(timedelta(days=7))
            case "a month":
                growing.age(timedelta(days=31))
            case "pin":
                pins.add(sequences(growing.store)[-1])
            case "clean":
                assert not clean(growing, keep=pins).missing
            case _:
                with monkeypatch.context() as patch, contextlib.suppress(KilledError):
                    patch.setattr(Store, "remove", dying(number))
                    clean(growing, keep=pins)
        growing.check(kept=pins)


@pytest.mark.slow
@settings(max_examples=15)
@given(steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 9)), max_size=14))
def test_whatever_happens_in_whatever_order_every_snapshot_that_is_there_opens_its_rows(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    growing = Growing(open_store(f"file://{tmp_path_factory.mktemp('store')}"))
    growing.publish()
    with pytest.MonkeyPatch.context() as patch:
        play(growing, steps, patch)


def nothing_pinned(_store: Store, _keep: set[int], _removed: Removed) -> list[object]:
    return []


TWINS = {
    "snapshots kept by name do not count": ("_pinned", nothing_pinned),
    "no time is left for what came between": ("GRACE", -timedelta(days=3650)),
}


@pytest.mark.parametrize("twin", TWINS, ids=lambda name: name.replace(" ", "-"))
def test_a_broken_twin_is_caught(growing: Growing, twin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, broken = TWINS[twin]
    monkeypatch.setattr(retention, name, broken)
    made = [growing.publish().sequence for _ in range(3)]
    compact(growing.store, "watch")
    growing.age(timedelta(days=40))
    made += [growing.publish().sequence for _ in range(3)]
    growing.age(timedelta(days=20))
    made += [growing.publish().sequence for _ in range(3)]
    compact(growing.store, "watch")
    growing.age(timedelta(days=20))
    growing.publish()
    clean(growing, keep={made[1]})
    with pytest.raises((OSError, DeltaError, AssertionError)):
        growing.check(kept={made[1]})
