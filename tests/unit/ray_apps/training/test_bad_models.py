"""Bad models, each stopped by a gate that is named; good ones pass them all."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from numpy.typing import NDArray

from ray_apps.algorithms import ALGORITHMS, Algorithms, load_model
from ray_apps.algorithms.als import ALS
from ray_apps.algorithms.hyperparameters import Hyperparameters
from ray_apps.algorithms.interactions import Histories, Indices, Interactions, Weights
from ray_apps.algorithms.recommender import ALONE, Arrays, Fitting, Recommender, Scores
from ray_apps.evaluation import scrambled as exchanging
from ray_apps.evaluation.splits import Split, by_time
from ray_apps.serving.preflight import try_version
from ray_apps.stores.objects import open_store
from ray_apps.stores.registry import open_version, read_card, write_arrays, write_card
from ray_apps.stores.snapshots import open_snapshot
from ray_apps.training import measuring
from ray_apps.training.dataset import read_dataset
from ray_apps.training.job import contents_of, run
from ray_apps.training.refusals import TrainingRefused
from recsys_operator.plan.gates import as_asked, of_preflight, passed, verdicts
from recsys_schemas.train_job import PreflightJob, TrainJob
from recsys_schemas.v1alpha1.gates import default_gates
from recsys_schemas.v1alpha1.version import GateVerdict, VersionSpec
from recsys_schemas.version_card import VersionCard, digest_of
from unit.ray_apps.training import planted

pytestmark = pytest.mark.slow

EVENTS = planted.tastes(users=500, items=200, events=30)
NEWEST = pc.quantile(EVENTS["timestamp"], 0.85)[0]
OLDER = EVENTS.filter(pc.less(EVENTS["timestamp"], NEWEST))


COLUMNS = ("users", "items", "weights", "times")


def job_of(uri: str, **changes: object) -> TrainJob:
    return planted.job(uri, baselines=["Popularity"], **changes)  # type: ignore[arg-type]


def judged(job: TrainJob, card: VersionCard, cache: Path) -> list[GateVerdict]:
    """What the operator says of a version, its preflight included."""
    spec = VersionSpec.model_validate(
        {
            "modelRef": {"name": "movies", "uid": "u"},
            "cause": {"trigger": "Initial", "detail": "x"},
            "snapshot": {"sequence": job.snapshot_sequence, "rows": 1},
            "storageURI": job.storage_uri,
            "algorithm": "ALS",
            "seed": job.seed,
            "parent": job.champion,
        }
    ).model_copy(update={"algorithm": job.algorithm})
    asked = PreflightJob(model=job.model, version=card.version, digest=card.digest, storage_uri=job.storage_uri, timeout_ms=60_000)
    report = try_version(asked, open_store(job.storage_uri), cache)
    return [*verdicts(default_gates(), card), as_asked(spec, job.version, card), *of_preflight(report)]


def stopped_by(found: list[GateVerdict]) -> set[str]:
    assert passed(found) == (not [each for each in found if each.verdict in ("Failed", "Inconclusive")])
    return {each.name for each in found if each.verdict in ("Failed", "Inconclusive")}


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return planted.snapshot(tmp_path / "store", {"watch": EVENTS})


def made(uri: str, algorithm: type[ALS], tmp_path: Path) -> set[str]:
    job = job_of(uri)
    card = run(job, {**ALGORITHMS, "ALS": algorithm})
    return stopped_by(judged(job, card, tmp_path / "cache"))


class Broken(ALS):
    """ALS that goes wrong after it was fitted: `since` the first fit (the measured one), or the second (what serves)."""

    since: ClassVar[int] = 1
    fits: ClassVar[int] = 0

    @classmethod
    def fit(cls, interactions: Interactions, hyperparameters: Hyperparameters, seed: int, fitting: Fitting = ALONE) -> Self:
        """Fit, then break."""
        fitted = super().fit(interactions, hyperparameters, seed, fitting)
        cls.fits += 1
        broken = cls.breaks(dict(fitted.arrays()), interactions) if cls.fits >= cls.since else fitted.arrays()
        return cls.from_arrays(broken, interactions.n_items)

    @classmethod
    def breaks(cls, arrays: dict[str, NDArray[np.generic]], interactions: Interactions) -> Arrays:
        """What becomes of the arrays."""
        raise NotImplementedError


def broken(breaks: Callable[[dict[str, NDArray[np.generic]], Interactions], Arrays], *, since: int) -> type[ALS]:
    """A class of its own, that has not been fitted yet."""
    return type("BrokenALS", (Broken,), {"breaks": staticmethod(breaks), "since": since, "fits": 0})


def not_a_number(arrays: dict[str, NDArray[np.generic]], _: Interactions) -> Arrays:
    items = np.array(arrays["item_factors"], dtype=np.float32)
    items[::7] = np.nan
    return arrays | {"item_factors": items}


def zeros(arrays: dict[str, NDArray[np.generic]], _: Interactions) -> Arrays:
    return arrays | {"item_factors": np.zeros_like(arrays["item_factors"])}


def another_order(arrays: dict[str, NDArray[np.generic]], _: Interactions) -> Arrays:
    items = np.asarray(arrays["item_factors"])
    return arrays | {"item_factors": items[np.random.default_rng(13).permutation(len(items))]}


@pytest.mark.parametrize(
    ("breaks", "since", "gate"),
    [
        (not_a_number, 1, "preflight-finite"),
        (not_a_number, 2, "preflight-finite"),
        (zeros, 1, "baselines"),
        (zeros, 2, "learnt"),
        (another_order, 1, "baselines"),
        (another_order, 2, "learnt"),
    ],
)
def test_numbers_that_are_none_or_say_nothing(
    uri: str, tmp_path: Path, breaks: Callable[[dict[str, NDArray[np.generic]], Interactions], Arrays], since: int, gate: str
):
    assert gate in made(uri, broken(breaks, since=since), tmp_path)


class WrittenInAnotherOrder(ALS):
    """Learnt and measured well; its items' vectors are written in another order than the catalogue's."""

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """As learnt, but for the order."""
        return dict(another_order(super().arrays(), None))  # type: ignore[arg-type]


def test_a_permuted_item_map_is_stopped_before_any_user_sees_it(uri: str, tmp_path: Path):
    assert made(uri, WrittenInAnotherOrder, tmp_path) == {"preflight-as-trained"}


class Collapsed(ALS):
    """Whoever asks gets what is popular."""

    popular: Scores

    @classmethod
    def fit(cls, interactions: Interactions, hyperparameters: Hyperparameters, seed: int, fitting: Fitting = ALONE) -> Self:
        """Fit, and keep how popular the items are in the first factor."""
        fitted = super().fit(interactions, hyperparameters, seed, fitting)
        items = np.zeros_like(fitted.arrays()["item_factors"])
        items[:, 0] = interactions.popularity()
        return cls.from_arrays({**fitted.arrays(), "item_factors": items}, interactions.n_items)

    def scores(self, history: Indices, weights: Weights) -> Scores:
        """The same for everyone."""
        del history, weights
        return np.asarray(self.arrays()["item_factors"], dtype=np.float32)[:, 0]

    def scores_many(self, histories: Histories) -> Scores:
        """The same for everyone."""
        return np.stack([self.scores(*histories.of(user)) for user in range(len(histories))])


def test_popularity_collapse_is_stopped_by_the_baseline_and_by_what_the_champion_covered(tmp_path: Path):
    store = tmp_path / "store"
    uri = planted.snapshot(store, {"watch": OLDER})
    champion = run(job_of(uri))
    planted.snapshot(store, {"watch": EVENTS}, sequence=2)
    job = job_of(uri, version="movies-000002", snapshot_sequence=2, champion=champion.version)
    card = run(job, {**ALGORITHMS, "ALS": Collapsed})
    found = {each.name for each in verdicts(default_gates(), card) if each.verdict in ("Failed", "Inconclusive")}
    assert found >= {"baselines", "champion", "coverage"}


@pytest.mark.parametrize(("algorithm", "chosen"), [("ALS", {"regularization": 0.01, "factors": 128, "alpha": 10}), ("IALS", {})])
def test_a_fit_that_has_seen_what_is_held_out_is_stopped_however_good_its_numbers_are(
    uri: str, tmp_path: Path, algorithm: str, chosen: dict[str, float]
):
    everything = read_dataset(open_snapshot(open_store(uri))).interactions
    honest = ALGORITHMS[algorithm]

    class Leaky(honest):  # type: ignore[misc,valid-type]
        """Fitted on all there is, whatever part it is given."""

        @classmethod
        def fit(cls, interactions: Interactions, hyperparameters: Hyperparameters, seed: int, fitting: Fitting = ALONE) -> Self:
            """Look beyond the training part."""
            del interactions
            return super().fit(everything, hyperparameters, seed, fitting)  # pyright: ignore[reportAbstractUsage]

    job = job_of(uri, algorithm=algorithm, hyperparameters=chosen)
    card = run(job, {**ALGORITHMS, algorithm: Leaky})
    assert card.evaluations[1].difference["ndcg@10"].low > 0.2, "it looks splendid"
    assert stopped_by(judged(job, card, tmp_path / "cache")) == {"leak", "scrambled"}


@pytest.mark.parametrize(
    ("algorithm", "chosen", "besides"),
    [
        ("ItemItem", {}, False),
        ("ItemItem", {}, True),
        ("EASE", {"ridge": 500.0}, False),
        ("ALS", {"regularization": 100.0}, False),
        ("ALS", {}, True),
        ("IALS", {"regularization": 0.1}, False),
        ("IALS", {}, True),
        ("EASE", {}, True),
        ("BPR", {}, True),
    ],
)
def test_a_fit_that_knows_the_future_and_remembers_nobody_is_stopped_by_the_control_on_exchanged_labels(
    uri: str, tmp_path: Path, algorithm: str, chosen: dict[str, float], besides: bool
):
    job = job_of(uri, algorithm=algorithm, hyperparameters=chosen)
    card = run(job, {**ALGORITHMS, algorithm: leaky(uri, algorithm, besides=besides)})
    assert "scrambled" in stopped_by(judged(job, card, tmp_path / "cache")), card.control


def test_a_control_that_is_given_much_nonsense_misses_a_fit_that_mixes_it_with_the_future(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(exchanging, "MOST_LEARNED", 500)
    job = job_of(uri, algorithm="EASE")
    card = run(job, {**ALGORITHMS, "EASE": leaky(uri, "EASE", besides=True)})
    assert "scrambled" not in stopped_by(judged(job, card, tmp_path / "cache")), card.control


def leaky(uri: str, algorithm: str, *, besides: bool) -> type[Recommender]:
    """An algorithm that learns from all there is, in the place of what it is given or besides."""
    everything = read_dataset(open_snapshot(open_store(uri))).interactions

    class Leaky(ALGORITHMS[algorithm]):  # type: ignore[misc,valid-type]
        """Its fits look beyond the training part."""

        @classmethod
        def fit(cls, interactions: Interactions, hyperparameters: Hyperparameters, seed: int, fitting: Fitting = ALONE) -> Self:
            """Look beyond the training part."""
            seen = [interactions, everything] if besides else [everything]
            pairs = np.concatenate([each.users.astype(np.int64) * each.n_items + each.items for each in seen])
            _, first = np.unique(pairs, return_index=True)
            both = {name: np.concatenate([getattr(each, name) for each in seen])[first] for name in COLUMNS}
            return super().fit(replace(interactions, **both), hyperparameters, seed, fitting)  # pyright: ignore[reportAbstractUsage]

    return Leaky


def test_a_split_that_leaves_what_it_asks_for_in_training_is_refused(uri: str, monkeypatch: pytest.MonkeyPatch):
    def careless(interactions: Interactions, seed: int, organic: NDArray[np.bool_] | None = None) -> Split:
        split = by_time(interactions, seed, organic)
        return replace(split, train=interactions)

    monkeypatch.setattr(measuring, "by_time", careless)
    with pytest.raises(TrainingRefused, match="interactions that are asked for are among those that were learned from"):
        run(job_of(uri))


def test_a_version_of_an_older_snapshot_than_was_asked_for_is_stopped(uri: str, tmp_path: Path):
    card = run(job_of(uri))
    assert stopped_by(judged(job_of(uri, snapshot_sequence=2), card, tmp_path / "cache")) == {"as-asked"}


def doctored(uri: str, card: VersionCard, change: Callable[[VersionCard], VersionCard]) -> VersionCard:
    """A version whose files were written anew, with a card whose hashes are theirs: no digest can tell."""
    store = open_store(uri)
    shutil.rmtree(store.path(f"versions/{card.version}"))
    other = change(card)
    write_card(store, other)
    return other


def written_anew(uri: str, card: VersionCard, table: pa.Table, *, users_turned: bool = False) -> VersionCard:
    """The same version, with arrays that were learnt from another table, or with its users in another order."""
    store = open_store(uri)
    elsewhere = Path(store.path("elsewhere"))
    dataset = read_dataset(open_snapshot(open_store(planted.snapshot(elsewhere, {"watch": table}))))
    model = ALS.fit(dataset.interactions, card.hyperparameters, card.seed)
    if users_turned:
        turned = dataset.interactions
        users = (turned.n_users - 1 - turned.users).astype(np.int32)
        order = np.lexsort((turned.items, users))
        moved = replace(turned, users=users[order], items=turned.items[order], weights=turned.weights[order], times=turned.times[order])
        dataset = replace(dataset, interactions=moved)

    def change(old: VersionCard) -> VersionCard:
        files = write_arrays(store, old.version, contents_of(dataset, model))
        return old.model_copy(update={"files": files, "digest": digest_of({name: file.sha256 for name, file in files.items()})})

    return doctored(uri, card, change)


def test_arrays_of_an_older_fit_in_a_newer_version_are_stopped(uri: str, tmp_path: Path):
    stale = written_anew(uri, run(job_of(uri)), OLDER)
    assert stopped_by(judged(job_of(uri), stale, tmp_path / "cache")) >= {"preflight-as-trained"}


def test_histories_that_were_swapped_between_users_are_stopped(uri: str, tmp_path: Path):
    swapped = written_anew(uri, run(job_of(uri)), EVENTS, users_turned=True)
    assert stopped_by(judged(job_of(uri), swapped, tmp_path / "cache")) == {"preflight-users"}


def made_up_users(count: int, targets: list[str]) -> pa.Table:
    """Users who like what all like, and a few items that nobody else does."""
    chance = np.random.default_rng(1)
    liked = sorted(pc.value_counts(EVENTS["item_id"]).to_pylist(), key=lambda each: (-each["counts"], each["values"]))
    top = [each["values"] for each in liked[:60]]
    rows = [(f"z-{user:03d}", item) for user in range(count) for item in [*chance.choice(top, size=25, replace=False), *targets]]
    last = pc.max(EVENTS["timestamp"]).as_py()
    return pa.table(
        {
            "event_id": [f"z{number}" for number in range(len(rows))],
            "user_id": [user for user, _ in rows],
            "item_id": [item for _, item in rows],
            "timestamp": pa.array([last + 1000 * number for number in range(len(rows))], pa.int64()),
            "fraction": [1.0] * len(rows),
        }
    )


def second(tmp_path: Path, events: pa.Table, algorithm: str) -> tuple[TrainJob, VersionCard]:
    """The version after a champion, with what has come in since."""
    store = tmp_path / "store"
    uri = planted.snapshot(store, {"watch": OLDER.filter(pc.less(OLDER["user_id"], "user-0460"))})
    champion = run(job_of(uri, algorithm=algorithm))
    planted.snapshot(store, {"watch": events}, sequence=2)
    job = job_of(uri, version="movies-000002", snapshot_sequence=2, champion=champion.version, algorithm=algorithm)
    return job, run(job)


def test_a_burst_of_made_up_users_that_takes_places_in_everybodys_lists_is_stopped(tmp_path: Path):
    poisoned = pa.concat_tables([EVENTS, made_up_users(90, ["target-0", "target-1", "target-2"])], promote_options="permissive")
    job, card = second(tmp_path, poisoned, "ItemItem")
    assert "capture" in stopped_by(judged(job, card, tmp_path / "cache"))
    assert card.capture is not None
    assert set(card.capture.items) == {"target-0", "target-1", "target-2"}


@pytest.mark.parametrize(
    ("algorithm", "seed", "chosen"),
    [
        ("ALS", 1, {}),
        ("ALS", 2, {}),
        ("ALS", 3, {"regularization": 0.1}),
        ("ALS", 4, {"factors": 8}),
        ("IALS", 1, {}),
        ("IALS", 2, {}),
        ("ItemItem", 1, {}),
        ("ItemItem", 1, {"neighbours": 5}),
        ("EASE", 1, {}),
        ("BPR", 1, {"iterations": 30}),
        ("Popularity", 1, {}),
        ("RecentPopularity", 1, {}),
    ],
)
def test_a_good_model_passes_every_gate(uri: str, tmp_path: Path, algorithm: str, seed: int, chosen: dict[str, float]):
    job = planted.job(
        uri, algorithm=algorithm, seed=seed, hyperparameters=chosen, baselines=[] if "Popularity" in algorithm else ["Popularity"]
    )
    card = run(job)
    assert stopped_by(judged(job, card, tmp_path / "cache")) == set(), card.learnt
    again = read_card(open_store(uri), card.version)
    assert again == card, "what gates ask for survives the card's JSON"


@pytest.mark.parametrize("algorithm", ["ALS", "IALS", "ItemItem", "EASE", "BPR"])
def test_a_good_successor_with_new_users_passes_every_gate(tmp_path: Path, algorithm: str):
    job, card = second(tmp_path, EVENTS, algorithm)
    found = judged(job, card, tmp_path / "cache")
    assert stopped_by(found) == set()
    assert "Abstained" not in {each.verdict for each in found if each.name in {"learnt", "leak", "coverage", "capture"}}


def test_a_first_version_maps_as_it_was_written(uri: str, tmp_path: Path):
    card = run(job_of(uri))
    assert len(card.probes) == 32
    loaded = open_version(open_store(uri), card.version, card.digest, tmp_path, load_model)
    probe = card.probes[0]
    history, _ = loaded.history(probe.user)
    assert list(probe.history) == [loaded.item_ids[int(index)] for index in history]
    assert len(probe.best) == 10
    assert not set(probe.best) & set(probe.history)
    algorithms: Algorithms = ALGORITHMS
    assert card.algorithm in algorithms
