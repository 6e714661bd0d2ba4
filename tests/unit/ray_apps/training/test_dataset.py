from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ray_apps.stores.objects import open_store
from ray_apps.stores.snapshots import open_snapshot
from ray_apps.training.dataset import Dataset, read_dataset
from ray_apps.training.refusals import Refusal, TrainingRefused
from unit.ray_apps.training import planted


def events(kind: str, rows: list[tuple[str, str, int, float]]) -> pa.Table:
    return pa.table(
        {
            "event_id": [f"{kind}-{number}" for number in range(len(rows))],
            "user_id": [row[0] for row in rows],
            "item_id": [row[1] for row in rows],
            "timestamp": pa.array([row[2] for row in rows], pa.int64()),
            {"watch": "fraction", "rate": "rating"}[kind]: pa.array([row[3] for row in rows], pa.float64()),
        }
    )


def read(folder: Path, **tables: list[tuple[str, str, int, float]]) -> Dataset:
    uri = planted.snapshot(folder, {kind: events(kind, rows) for kind, rows in tables.items()})
    return read_dataset(open_snapshot(open_store(uri), 1))


def plain(dataset: Dataset) -> dict[tuple[str, str], tuple[float, int]]:
    """(user, item) → (weight, time)."""
    known = dataset.interactions
    columns = (known.users.tolist(), known.items.tolist(), known.weights.tolist(), known.times.tolist())
    rows = zip(*columns, strict=True)
    return {(dataset.user_ids[user], dataset.item_ids[item]): (round(weight, 4), time) for user, item, weight, time in rows}


def test_watches_count_by_their_fraction_and_ratings_by_their_stars(tmp_path: Path):
    found = read(tmp_path, watch=[("u", "a", 1, 0.5), ("v", "b", 2, 1.0)], rate=[("u", "c", 3, 5.0), ("v", "d", 4, 3.5)])
    assert plain(found) == {("u", "a"): (0.5, 1), ("v", "b"): (1.0, 2), ("u", "c"): (1.0, 3), ("v", "d"): (0.7, 4)}


def test_a_glance_and_a_bad_rating_say_nothing_of_a_taste(tmp_path: Path):
    found = read(tmp_path, watch=[("u", "a", 1, 0.5), ("u", "b", 1, 0.09)], rate=[("v", "c", 1, 4.0), ("v", "d", 1, 3.0)])
    assert set(plain(found)) == {("u", "a"), ("v", "c")}
    assert found.item_ids == ["a", "c"]


def test_of_several_events_of_one_pair_the_strongest_and_the_latest_stay(tmp_path: Path):
    found = read(tmp_path, watch=[("u", "a", 9, 0.2), ("u", "a", 1, 0.8), ("v", "b", 1, 1.0)], rate=[("u", "a", 5, 4.5)])
    assert plain(found)["u", "a"] == (0.9, 9)


def test_the_order_of_rows_changes_nothing(tmp_path: Path):
    table = planted.tastes(users=40, items=30, events=8)
    shuffled = table.take(pa.array(np.random.default_rng(1).permutation(table.num_rows)))
    one, other = (
        read_dataset(open_snapshot(open_store(planted.snapshot(tmp_path / name, {"watch": rows})), 1))
        for name, rows in (("one", table), ("other", shuffled))
    )
    assert (one.user_ids, one.item_ids) == (other.user_ids, other.item_ids)
    for name in ("users", "items", "weights", "times"):
        assert getattr(one.interactions, name).tobytes() == getattr(other.interactions, name).tobytes()


def test_ids_are_sorted_by_their_utf8_bytes_and_interactions_by_user_then_item(tmp_path: Path):
    found = read(tmp_path, watch=[("ü", "日本", 1, 1.0), ("u", "z", 1, 1.0), ("u", "é", 1, 1.0), ("😀", "a", 1, 1.0)])
    assert found.user_ids == ["u", "ü", "😀"]
    assert found.item_ids == ["a", "z", "é", "日本"]
    pairs = list(zip(found.interactions.users.tolist(), found.interactions.items.tolist(), strict=True))
    assert pairs == sorted(pairs)


@pytest.mark.parametrize(
    "rows", [[], [("u", "a", 1, 0.01)], [("u", "a", 1, 1.0), ("u", "b", 1, 1.0)], [("u", "a", 1, 1.0), ("v", "a", 1, 1.0)]]
)
def test_too_little_to_learn_from_is_refused_with_what_was_seen(tmp_path: Path, rows: list[tuple[str, str, int, float]]):
    with pytest.raises(TrainingRefused, match=f"snapshot 1: of its {len(rows)} events, .* send more events") as refused:
        read(tmp_path, watch=rows)
    assert refused.value.refusal is Refusal.INSUFFICIENT_DATA


def test_a_snapshot_without_tables_is_refused(tmp_path: Path):
    with pytest.raises(TrainingRefused, match="0 users liked 0 items"):
        read(tmp_path)


def test_what_followed_an_answer_is_known_as_such(tmp_path: Path):
    rows = events("watch", [("u", "a", 1, 1.0), ("u", "b", 2, 1.0), ("v", "a", 3, 1.0), ("v", "a", 4, 1.0)])
    rows = rows.append_column("request_id", pa.array([None, "r1", None, "r2"], pa.string()))
    found = read_dataset(open_snapshot(open_store(planted.snapshot(tmp_path, {"watch": rows})), 1))
    assert found.organic.tolist() == [True, False, False]
