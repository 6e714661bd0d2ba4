from pathlib import Path

import pyarrow as pa

from ray_apps.stores.objects import open_store
from ray_apps.stores.snapshots import open_snapshot
from ray_apps.training.dataset import Dataset, read_dataset
from ray_apps.training.job import run
from unit.ray_apps.training import planted
from unit.ray_apps.training.test_dataset import events


def read(folder: Path, tables: dict[str, pa.Table], *fields: str) -> Dataset:
    return read_dataset(open_snapshot(open_store(planted.snapshot(folder, tables)), 1), None, fields)


def test_the_latest_value_of_a_user_counts_whatever_the_event_and_its_strength(tmp_path: Path):
    watch = events("watch", [("u", "a", 1, 1.0), ("u", "b", 5, 0.01), ("v", "a", 1, 1.0), ("w", "b", 9, 1.0)])
    watch = watch.append_column("plan", pa.array(["free", "paid", "free", None]))
    rate = events("rate", [("v", "b", 7, 0.0)]).append_column("plan", pa.array(["gone"]))
    found = read(tmp_path, {"watch": watch, "rate": rate}, "plan", "city")
    assert found.user_ids == ["u", "v", "w"]
    assert found.groups == {"plan": ["paid", "gone", None], "city": [None, None, None]}


def test_of_values_of_one_moment_the_order_of_rows_decides_nothing(tmp_path: Path):
    rows = [("u", "a", 1, 1.0), ("u", "b", 1, 1.0), ("v", "a", 1, 1.0)]
    for order in (["b", "a", "c"], ["a", "b", "c"]):
        table = events("watch", rows).append_column("plan", pa.array(order))
        assert read(tmp_path / order[0], {"watch": table}, "plan").groups == {"plan": ["b", "c"]}


def test_numbers_and_truths_are_groups_by_their_text(tmp_path: Path):
    table = events("watch", [("u", "a", 1, 1.0), ("v", "b", 1, 1.0)])
    table = table.append_column("age", pa.array([30, 41])).append_column("paying", pa.array([True, False]))
    assert read(tmp_path, {"watch": table}, "age", "paying").groups == {"age": ["30", "41"], "paying": ["true", "false"]}


def test_the_card_has_the_groups_that_the_job_asks_for_beside_unchanged_numbers(tmp_path: Path):
    table = planted.tastes(users=300, items=100, events=20)
    parity = pa.array([("even", "odd")[int(user.as_py()[-1]) % 2] for user in table["user_id"]])
    uri = planted.snapshot(tmp_path, {"watch": table.append_column("parity", parity)})
    plain = run(planted.job(uri))
    grouped = run(planted.job(uri, version="movies-000002", group_by=["parity"]))
    assert grouped.digest == plain.digest
    for before, after in zip(plain.evaluations, grouped.evaluations, strict=True):
        sizes = {name: part["ndcg@10"].samples for name, part in after.slices.items()}
        assert sizes["group:parity=even"] + sizes["group:parity=odd"] == sizes["warmUsers"] == grouped.test_users
        assert after.slices["warmUsers"]["ndcg@10"] == before.metrics["ndcg@10"] == after.metrics["ndcg@10"]
        assert set(after.slice_difference) == (set() if after.role == "candidate" else set(after.slices))
        assert {name: part for name, part in after.slices.items() if "parity" not in name} == before.slices
