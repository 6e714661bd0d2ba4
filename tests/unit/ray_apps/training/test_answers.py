from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ray_apps.evaluation.off_policy import LoggedAnswers
from ray_apps.stores.objects import open_store
from ray_apps.stores.snapshots import open_snapshot
from ray_apps.training import answers
from ray_apps.training.dataset import read_dataset
from ray_apps.training.job import run
from recsys_schemas.events import RankedItem, ResponseEvent
from unit.ray_apps.training import planted
from unit.ray_apps.training.test_dataset import events

ITEM = pa.struct([("item_id", pa.string()), ("score", pa.float64()), ("propensity", pa.float64())])


def responses(rows: Sequence[tuple[str, str, int, Sequence[tuple[str, float | None]]]]) -> pa.Table:
    """(request, user, time, [(item, propensity)]) as ingest would write them: a column for each field of a ResponseEvent."""
    lists = [[{"item_id": item, "score": 0.0, "propensity": chance} for item, chance in listed] for _, _, _, listed in rows]
    return pa.table(
        {
            "request_id": [row[0] for row in rows],
            "user_id": [row[1] for row in rows],
            "timestamp": pa.array([row[2] for row in rows], pa.int64()),
            "model_version": ["movies-000001"] * len(rows),
            "variant": ["stable"] * len(rows),
            "reason": ["personal"] * len(rows),
            "items": pa.array(lists, pa.list_(ITEM)),
            "epoch": pa.array([1] * len(rows), pa.int64()),
            "latency_ms": [1.0] * len(rows),
        }
    )


def read(folder: Path, response: pa.Table) -> LoggedAnswers | None:
    watch = events("watch", [("u", "a", 1, 1.0), ("u", "b", 2, 1.0), ("v", "a", 3, 1.0), ("v", "b", 4, 0.05), ("v", "c", 5, 1.0)])
    watch = watch.append_column("request_id", pa.array([None, "r1", None, "r2", "r2"], pa.string()))
    tables = {"watch": watch, "responses": response}
    return read_dataset(open_snapshot(open_store(planted.snapshot(folder, tables)), 1)).answers


def test_answers_are_joined_with_what_they_earned_place_by_place(tmp_path: Path):
    rows = [("r2", "v", 40, [("b", 0.5), ("c", 0.25)]), ("r1", "u", 30, [("c", 1.0), ("b", 0.5), ("never", 0.1)])]
    found = read(tmp_path, responses(rows))
    assert found is not None
    seen = zip(found.users.tolist(), found.items.tolist(), found.places.tolist(), found.propensities.tolist(), strict=True)
    assert list(seen) == [(0, 2, 0, 1.0), (0, 1, 1, 0.5), (0, -1, 2, 0.1), (1, 1, 0, 0.5), (1, 2, 1, 0.25)]
    # A glance is no reward, and what followed another answer is not this one's.
    assert found.rewards.tolist() == [0, 1, 0, 0, 1]
    assert found.times.tolist() == [30, 30, 30, 40, 40]


def test_an_event_that_comes_too_late_is_no_reward_and_an_answer_that_may_still_earn_one_is_not_judged_by(tmp_path: Path):
    made = int(planted.MADE_AT.timestamp() * 1000)
    rows = [("early", "u", made - 400_000, [("a", 0.5), ("b", 0.5)]), ("young", "u", made - 299_000, [("a", 0.5)])]
    watch = events("watch", [("u", "a", made - 390_000, 1.0), ("u", "b", made - 99_000, 1.0), ("v", "c", 1, 1.0)])
    watch = watch.append_column("request_id", pa.array(["early", "early", None], pa.string()))
    tables = {"watch": watch, "responses": responses(rows)}
    found = read_dataset(open_snapshot(open_store(planted.snapshot(tmp_path, tables)), 1), attribution_s=300.0).answers
    assert found is not None
    assert found.times.tolist() == [made - 400_000, made - 400_000]
    assert found.rewards.tolist() == [1.0, 0.0]


def test_an_answer_logged_twice_counts_once_and_a_place_without_a_propensity_not_at_all(tmp_path: Path):
    row = ("r1", "u", 30, [("b", None), ("a", 0.5), ("c", 0.0)])
    found = read(tmp_path, responses([row, row]))
    assert found is not None
    assert (found.items.tolist(), found.places.tolist()) == ([0], [1])


def test_users_beyond_the_catalogue_are_told_apart(tmp_path: Path):
    found = read(tmp_path, responses([(f"r{number}", user, 9, [("a", 0.5)]) for number, user in enumerate("xyxu")]))
    assert found is not None
    assert sorted(found.users.tolist()) == [0, 2, 2, 3]


def test_of_very_many_answers_the_newest_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(answers, "MOST_ANSWERS", 3)
    found = read(tmp_path, responses([(f"r{number}", "u", number, [("a", 0.5)]) for number in range(10)]))
    assert found is not None
    assert found.times.tolist() == [7, 8, 9]


def test_an_empty_table_and_an_empty_list_are_no_answers(tmp_path: Path):
    assert read(tmp_path / "none", responses([])) is None
    found = read(tmp_path / "empty", responses([("r1", "u", 1, [])]))
    assert found is not None
    assert len(found) == 0


def test_the_columns_read_are_those_of_the_event_as_it_is_logged():
    assert {"request_id", "user_id", "timestamp", "items"} <= set(ResponseEvent.model_fields)
    assert {"item_id", "propensity"} <= set(RankedItem.model_fields)


def test_a_card_has_the_estimate_of_a_log_that_explored(tmp_path: Path):
    """A logger that shows ten items by chance, and users who take what they like: all models are judged by the same answers."""
    table = planted.tastes(users=300, items=60, events=20)
    chance = np.random.default_rng(0)
    newest = int(table["timestamp"].to_numpy().max())
    items = sorted(set(table["item_id"].to_pylist()))
    taken: list[tuple[str, str, str, int]] = []
    logged: list[tuple[str, str, int, list[tuple[str, float | None]]]] = []
    for number in range(3000):
        user = f"user-{number % 300:04d}"
        shown = chance.permutation(items)[:10].tolist()
        logged.append((f"r{number}", user, newest + number, [(item, 1 / len(items)) for item in shown]))
        taken += [(user, item, f"r{number}", newest + number + 1) for item in shown[:5] if chance.random() < 0.1]
    more = pa.table(
        {
            "event_id": [f"x{number}" for number in range(len(taken))],
            "user_id": [row[0] for row in taken],
            "item_id": [row[1] for row in taken],
            "timestamp": pa.array([row[3] for row in taken], pa.int64()),
            "fraction": pa.array([1.0] * len(taken), pa.float64()),
            "request_id": [row[2] for row in taken],
        }
    )
    organic = table.append_column("request_id", pa.nulls(table.num_rows, pa.string()))
    uri = planted.snapshot(tmp_path, {"watch": pa.concat_tables([organic, more]), "responses": responses(logged)})
    made = run(planted.job(uri))
    assert "snips@10" not in made.evaluations[0].abstained
    for each in made.evaluations:
        assert each.metrics["snips@10"].low > 0
        assert {"snips@10", "dr@10"} <= set(each.metrics)
    assert set(made.evaluations[1].difference) >= {"snips@10", "dr@10"}
