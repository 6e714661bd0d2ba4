"""A whole run, in one process."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ray_apps.algorithms import load_model
from ray_apps.algorithms.onboarding import HALF_LIFE_DAYS
from ray_apps.stores.objects import open_store
from ray_apps.stores.registry import open_version, read_card
from ray_apps.training.choosing import CANDIDATES
from ray_apps.training.dataset import Dataset
from ray_apps.training.entry import main
from ray_apps.training.job import run
from ray_apps.training.rebuilding import rebuild
from ray_apps.training.refusals import Refusal, TrainingRefused
from ray_apps.training.table import table
from recsys_schemas.version_card import VersionCard
from unit.ray_apps.training import planted

METRICS = {"hr@10", "hr@20", "ndcg@10", "ndcg@20", "recall@20", "map@10", "mrr@10", "novelty@20", "popularity_bias@20"}
SHARED = METRICS | {"coverage@20", "gap:activity:ndcg@10"}


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return planted.snapshot(tmp_path_factory.mktemp("store"), {"watch": planted.tastes()})


@pytest.fixture(scope="module")
def card(uri: str) -> VersionCard:
    return run(planted.job(uri))


def test_the_card_holds_what_a_judge_needs(card: VersionCard):
    assert [(each.name, each.role) for each in card.evaluations] == [
        ("ALS", "candidate"),
        ("Popularity", "baseline"),
        ("ItemItem", "baseline"),
    ]
    for each in card.evaluations:
        assert set(each.metrics) == SHARED
        assert set(each.abstained) == {"diversity@20", "calibration@20", "snips@10", "dr@10"}
        assert all(estimate.low <= estimate.value <= estimate.high for estimate in each.metrics.values())
        assert all(each.metrics[name].samples == card.test_users for name in METRICS)
    assert card.evaluations[0].difference == {}
    assert all(set(each.difference) == SHARED for each in card.evaluations[1:])
    assert card.hyperparameters == {"factors": 128, "alpha": 3.0, "damping": 0.5, "regularization": 30.0, "iterations": 15}
    assert (card.users, card.items, card.interactions) == (600, 300, 18_000)
    assert card.test_users > 500
    assert card.parent is None


def test_als_and_item_item_find_planted_tastes_and_popularity_does_not(card: VersionCard):
    als, popularity, item_item = card.evaluations
    assert popularity.difference["ndcg@10"].low > 0.05
    assert item_item.metrics["ndcg@10"].low > 2 * popularity.metrics["ndcg@10"].high
    assert als.metrics["coverage@20"].value > 0.9


def test_what_is_written_is_what_serves(uri: str, card: VersionCard, tmp_path: Path):
    loaded = open_version(open_store(uri), card.version, card.digest, tmp_path, load_model)
    assert (len(loaded.item_ids), len(loaded.user_ids)) == (card.items, card.users)
    history, weights = loaded.history("user-0007")
    assert history.size == 30
    scores = loaded.model.scores(history, weights)
    assert scores.shape == (card.items,)
    assert np.isfinite(scores).all()


def test_the_same_snapshot_and_seed_give_the_same_bytes_whatever_the_order_of_files(uri: str, card: VersionCard, tmp_path: Path):
    table_of = planted.tastes()
    shuffled = table_of.take(pa.array(np.random.default_rng(1).permutation(table_of.num_rows)))
    again = run(planted.job(planted.snapshot(tmp_path, {"watch": shuffled})))
    assert again.digest == card.digest
    assert [each.metrics for each in again.evaluations] == [each.metrics for each in card.evaluations]
    assert run(planted.job(uri, version="movies-000077", seed=43)).digest != card.digest


def test_a_version_that_exists_is_left_as_it_is(uri: str, card: VersionCard):
    assert run(planted.job(uri), algorithms=MappingProxyType({})) == card


KILLED = """
import os, signal, sys
from ray_apps.stores.objects import Store
from ray_apps.training.job import run
from recsys_schemas.train_job import TrainJob

whole, left = Store.write_parts, int(sys.argv[2])

def write(self, name, data):
    global left
    if name.startswith("versions/"):
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
    whole(self, name, data)

Store.write_parts = write
run(TrainJob.model_validate_json(sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("files_written", [0, 5, 11])
def test_a_run_killed_while_it_writes_leaves_no_version_and_the_next_makes_the_same_one(tmp_path: Path, files_written: int):
    uri = planted.snapshot(tmp_path / "killed", {"watch": planted.tastes(users=80, items=40, events=10)})
    job = planted.job(uri)
    died = subprocess.run([sys.executable, "-c", KILLED, job.model_dump_json(), str(files_written)], check=False)
    assert died.returncode == -signal.SIGKILL
    assert len(list((tmp_path / "killed" / "versions").rglob("*.npy"))) == files_written
    assert read_card(open_store(uri), job.version) is None
    undisturbed = planted.snapshot(tmp_path / "whole", {"watch": planted.tastes(users=80, items=40, events=10)})
    assert run(job).digest == run(planted.job(undisturbed)).digest


@pytest.mark.parametrize("change", [{"seed": 1}, {"algorithm": "ItemItem"}, {"snapshot_sequence": 2}])
def test_a_version_name_that_was_used_for_something_else_is_refused(uri: str, card: VersionCard, change: dict[str, object]):
    with pytest.raises(TrainingRefused, match=f"'{card.version}' was made of") as refused:
        run(planted.job(uri).model_copy(update=change))
    assert refused.value.refusal is Refusal.STORAGE


def test_the_champion_is_measured_only_on_what_it_has_not_seen(uri: str, card: VersionCard):
    more = pa.concat_tables([planted.tastes(), planted.tastes(users=650, items=320, seed=9).slice(600 * 30)])
    folder = Path(uri.removeprefix("file://"))
    planted.snapshot(folder, {"watch": more}, sequence=2)
    second = run(planted.job(uri, version="movies-000002", snapshot_sequence=2, champion=card.version))
    champion = second.evaluations[-1]
    assert (champion.name, champion.role, champion.train_seconds) == (card.version, "champion", 0.0)
    assert second.parent == card.version
    assert card.version in table(second)
    # Only the fifty new users have anything that the champion did not learn from: its word on the others is not asked.
    assert 30 <= champion.metrics["ndcg@10"].samples <= 50
    assert champion.difference["ndcg@10"].high > 0


def test_a_champion_that_has_seen_nothing_of_what_is_held_out_is_judged_on_the_users_of_the_rest(tmp_path: Path):
    events = planted.tastes()
    newest = pc.quantile(events["timestamp"], 0.7)[0]
    older = events.filter(pc.less(events["timestamp"], newest))
    planted.snapshot(tmp_path, {"watch": older}, sequence=1)
    first = run(planted.job(f"file://{tmp_path}"))
    planted.snapshot(tmp_path, {"watch": events}, sequence=2)
    second = run(planted.job(f"file://{tmp_path}", version="movies-000002", snapshot_sequence=2, champion=first.version))
    assert second.evaluations[-1].metrics["ndcg@10"].samples == second.test_users
    # It knows three quarters of what its successor learned from: the successor is not shown to be worse.
    assert second.evaluations[-1].difference["ndcg@10"].high > 0


def test_a_champion_of_the_same_snapshot_proves_nothing_either_way(uri: str, card: VersionCard):
    second = run(planted.job(uri, version="movies-000003", champion=card.version))
    for name, found in second.evaluations[-1].difference.items():
        widest = np.log2(card.users) if name == "novelty@20" else 1.0
        assert (found.low, found.high, found.samples) == (-widest, widest, 0)


def test_a_damaged_champion_does_not_bar_its_successor(card: VersionCard, tmp_path: Path):
    copy = planted.snapshot(tmp_path, {"watch": planted.tastes()})
    run(planted.job(copy))
    (tmp_path / "versions" / card.version / "popularity.npy").unlink()
    second = run(planted.job(copy, version="movies-000002", champion=card.version))
    assert [each.role for each in second.evaluations] == ["candidate", "baseline", "baseline"]
    assert second.parent == card.version


def without_the_first_user(dataset: Dataset) -> Dataset:
    """What is written lacks somebody who was learnt from."""
    kept = dataset.interactions.users != 0
    return replace(dataset, interactions=dataset.interactions.take(kept), organic=dataset.organic[kept])


def test_what_is_written_can_be_other_data_than_what_was_measured(uri: str, card: VersionCard, tmp_path: Path):
    other = run(planted.job(uri, version="movies-000666"), written=without_the_first_user)
    assert [each.metrics for each in other.evaluations] == [each.metrics for each in card.evaluations]
    assert other.digest != card.digest
    loaded = open_version(open_store(uri), other.version, other.digest, tmp_path, load_model)
    assert loaded.history("user-0000")[0].size == 0
    assert loaded.history("user-0001")[0].size == 30


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"algorithm": "Magic"}, "algorithm: 'Magic' is unknown; use one of ALS, BPR, EASE, "),
        ({"baselines": ["Magic"]}, "algorithm: 'Magic' is unknown"),
        ({"hyperparameters": {"depth": 3}}, "hyperparameters.depth: 3 is taken by no algorithm; use alpha, "),
        ({"hyperparameters": {"factors": 5000}}, "hyperparameters.factors: 5000 is out of range; use a whole number from 1 to 1024"),
    ],
)
def test_a_job_that_cannot_be_done_is_refused_before_the_snapshot_is_read(tmp_path: Path, change: dict[str, object], words: str):
    with pytest.raises(TrainingRefused) as refused:
        run(planted.job(f"file://{tmp_path}/nothing").model_copy(update=change))
    assert words in refused.value.message
    assert refused.value.refusal is Refusal.BAD_JOB


@pytest.mark.slow
def test_auto_takes_the_best_on_users_held_out_for_that_and_the_card_says_from_what(uri: str, tmp_path: Path):
    asked = planted.job(uri, version="movies-000090", algorithm="Auto")
    made = run(asked)
    assert made.job is not None
    assert made.job.algorithm == "Auto"
    assert [trial.algorithm for trial in made.tried] == list(CANDIDATES)
    chosen = next(trial for trial in made.tried if trial.outcome == "chosen")
    assert chosen.ndcg10 is not None
    assert all(trial.ndcg10 is not None and trial.ndcg10.value <= chosen.ndcg10.value for trial in made.tried)
    assert made.algorithm == chosen.algorithm == made.evaluations[0].name
    assert made.hyperparameters == chosen.hyperparameters
    assert run(asked) == made
    rebuilt = rebuild(made, open_store(uri), open_store(f"file://{tmp_path}/again"), champions=tmp_path / "champions")
    assert rebuilt.same
    assert rebuilt.metrics == ()
    again = run(planted.job(planted.snapshot(tmp_path, {"watch": planted.tastes()}), algorithm=made.algorithm))
    assert again.digest == made.digest


def test_auto_tries_nothing_more_when_its_budget_is_spent(uri: str):
    made = run(planted.job(uri, version="movies-000091", algorithm="Auto", budget_seconds=1e-6))
    assert made.algorithm == CANDIDATES[0]
    assert [trial.ndcg10 is not None for trial in made.tried] == [True] + [False] * (len(CANDIDATES) - 1)
    assert all("the budget of 1e-06 s was spent" in trial.outcome for trial in made.tried[1:])


def test_auto_refuses_hyperparameters(uri: str):
    with pytest.raises(TrainingRefused, match="Auto tries each algorithm with its own defaults; remove them") as refused:
        run(planted.job(uri, version="movies-000092", algorithm="Auto", hyperparameters={"factors": 8}))
    assert refused.value.refusal is Refusal.BAD_JOB


def test_a_hyperparameter_goes_to_the_algorithms_that_take_it(tmp_path: Path):
    uri = planted.snapshot(tmp_path, {"watch": planted.tastes(users=80, items=40, events=10)})
    made = run(planted.job(uri, hyperparameters={"factors": 4, "neighbours": 3}))
    assert made.hyperparameters["factors"] == 4
    assert "neighbours" not in made.hyperparameters
    assert made.evaluations[2].size_bytes < 40 * 3 * 8 + 41 * 8 + 1


def test_a_snapshot_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(TrainingRefused, match="has none yet; wait for the first commit") as refused:
        run(planted.job(f"file://{tmp_path}"))
    assert refused.value.refusal is Refusal.STORAGE


def test_too_few_users_to_measure_on_are_refused(tmp_path: Path):
    uri = planted.snapshot(tmp_path, {"watch": planted.tastes(users=4, items=40, events=10)})
    with pytest.raises(TrainingRefused, match="4 users liked something new of their own accord after the split; at least 5") as refused:
        run(planted.job(uri))
    assert refused.value.refusal is Refusal.INSUFFICIENT_DATA


def test_the_command_line_finds_a_finished_version_without_ray(uri: str, card: VersionCard, capsys: pytest.CaptureFixture[str]):
    assert main(["--job", planted.job(uri).model_dump_json()]) == 0
    assert "ALS (candidate)" in capsys.readouterr().out
    assert read_card(open_store(uri), card.version) == card


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("{}", "--job: model: Field required"),
        ("not json", "--job: the argument: Invalid JSON"),
        (planted.job("ftp://x").model_dump_json(), "storageURI: 'ftp://x' has scheme 'ftp'; use one of file, s3"),
    ],
)
def test_the_command_line_refuses_in_one_line_of_json(argument: str, words: str, capsys: pytest.CaptureFixture[str]):
    assert main(["--job", argument]) in {int(Refusal.BAD_JOB), int(Refusal.STORAGE)}
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("{")
    assert words in line


@pytest.mark.skipif("DATA" not in os.environ, reason="DATA=folder of MovieLens' CSV files is not given")
def test_als_beats_both_baselines_on_the_given_ratings(tmp_path: Path):
    uri = planted.snapshot(tmp_path, {"rate": planted.ratings(Path(os.environ["DATA"]))})
    _, *baselines = run(planted.job(uri)).evaluations
    assert all(each.difference["hr@20"].low > 0 for each in baselines)


def test_newcomers_of_a_card_are_shown_what_serving_shows_them_and_yardsticks_stand_for_themselves(tmp_path: Path):
    rows = planted.tastes(users=340, items=80, events=20)
    times = 1_700_000_000_000 + 600 * (rows["timestamp"].to_numpy() - 1_700_000_000_000)  # over seven years
    late = times >= np.quantile(times, 0.9)
    newcomers = np.array([str(user) >= "user-0280" for user in rows["user_id"].to_pylist()])
    rows = rows.set_column(rows.schema.get_field_index("timestamp"), "timestamp", pa.array(times)).filter(pa.array(late | ~newcomers))
    uri = planted.snapshot(tmp_path, {"watch": rows})
    baselines = ["Popularity", "RecentPopularity"]
    job = planted.job(uri, algorithm="ItemItem", baselines=baselines, hyperparameters={"halfLifeDays": HALF_LIFE_DAYS})
    ours, ever, lately = ({k: v.value for k, v in each.slices["coldUsers"].items()} for each in run(job).evaluations)
    assert ours == lately
    assert ours != ever
    served = run(planted.job(uri, version="movies-000002", algorithm="Popularity", baselines=["ItemItem"])).evaluations
    assert [{k: v.value for k, v in each.slices["coldUsers"].items()} for each in served] == [ours, ours], "whatever would be served"
