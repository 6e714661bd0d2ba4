"""One run: read the snapshot, compare, learn from everything, write the version. It does nothing when the version exists."""

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from threadpoolctl import threadpool_limits

from ray_apps.algorithms import ALGORITHMS, Algorithms, load_model
from ray_apps.algorithms.columns import Room
from ray_apps.algorithms.content import ContentNeeded
from ray_apps.algorithms.hyperparameters import Unsuitable
from ray_apps.algorithms.interactions import Histories
from ray_apps.algorithms.onboarding import HALF_LIFE_DAYS
from ray_apps.algorithms.recent_popularity import recent_popularity
from ray_apps.algorithms.recommender import Crew, Fitting, Recommender
from ray_apps.reports.exposure import Exposure, exposure
from ray_apps.reports.page import page
from ray_apps.stores.objects import StorageError, Store, open_store
from ray_apps.stores.registry import (
    ArtefactRefused,
    LoadedVersion,
    Scorer,
    VersionContents,
    open_version,
    read_card,
    write_arrays,
    write_card,
)
from ray_apps.stores.snapshots import open_snapshot
from ray_apps.training.catalogue import read_described, without_content
from ray_apps.training.champion import as_champion
from ray_apps.training.choosing import settle
from ray_apps.training.dataset import Dataset, read_dataset
from ray_apps.training.fitter import Fitter, fitter_of
from ray_apps.training.measuring import Comparison, asked_of, compare
from ray_apps.training.progress import Telling
from ray_apps.training.provenance import code, libraries, machine
from ray_apps.training.refusals import Refusal, TrainingRefused
from ray_apps.training.resources import out_of_memory, threads
from ray_apps.training.searched import read_search
from ray_apps.training.soundness import capture_of, control_of, learnt_of, probes_of
from recsys_schemas.train_job import TrainJob
from recsys_schemas.version_card import REPORT_FILE, Capture, Control, Learnt, VersionCard, digest_of, version_folder

logger = logging.getLogger(__name__)

Written = Callable[[Dataset], Dataset]
"""From the data that was read to the data that is written."""


def as_read(dataset: Dataset) -> Dataset:
    """What is written is what was read."""
    return dataset


def run(  # noqa: PLR0913 — what a worker brings along
    job: TrainJob,
    algorithms: Algorithms = ALGORITHMS,
    *,
    written: Written = as_read,
    worker: str = "",
    crew: Callable[[Dataset], Crew] | None = None,
    room: Room | None = None,
) -> VersionCard:
    """Make the version that a job asks for, in this process, and return its card.

    The metrics are those of a fit on the training part; what serves is fitted again with the same hyperparameters on all interactions,
    the newest included.

    Args:
        job: What is asked.
        algorithms: What can be fitted and measured.
        written: The data whose users, items and histories are written; by default what was read.
        worker: Where it runs, in words, for the card.
        crew: Who shares the fits of this data set.
        room: Where the data set lies, for a worker whose memory is for its shard; None: in memory. The version does not depend on it.

    Raises:
        TrainingRefused: no version can be made, and why.
    """
    try:
        store = open_store(job.storage_uri)
        existing = finished(store, job)
        if existing is not None:
            return existing
        asked_of(job, algorithms)
        described = read_described(store, job.catalogue)
        snapshot = open_snapshot(store, job.snapshot_sequence)
        dataset = read_dataset(snapshot, described, job.group_by, job.attribution_seconds, job.history_half_life, room)
        fitter = fitter_of(job, _means(job, store, crew(dataset) if crew else None))
        return write(job, written(dataset), _learned(job, store, dataset, algorithms, fitter), worker)
    except Unsuitable as error:
        raise TrainingRefused(Refusal.BAD_JOB, str(error)) from error
    except (StorageError, ArtefactRefused) as error:
        raise TrainingRefused(Refusal.STORAGE, str(error)) from error
    except MemoryError as error:
        raise out_of_memory(job, str(error)) from error


def _means(job: TrainJob, store: Store, crew: Crew | None) -> Fitting:
    telling = Telling(store=store, version=job.version, fits=2 if job.champion is None else 3)
    return Fitting(threads=threads(job), gpu=job.resources_per_worker.gpu > 0, tell=telling.tell, crew=crew)


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """The comparison; what serves; and what gates ask of that."""

    comparison: Comparison
    model: Recommender
    began_from: str | None
    learnt: Learnt | None
    control: Control | None
    capture: Capture | None


def _learned(job: TrainJob, store: Store, dataset: Dataset, algorithms: Algorithms, fitter: Fitter) -> Learned:
    # One thread: a worker has one CPU, and sums in another order would be other bytes.
    with threadpool_limits(1), tempfile.TemporaryDirectory(prefix="champion-") as cache:
        champion = standing(store, job, Path(cache))
        try:
            settled, tried = settle(job, dataset, algorithms, fitter)
            comparison = replace(compare(settled, dataset, algorithms, champion, fitter), tried=tried)
            model, began_from = relearn(settled, dataset, algorithms, champion, fitter)
        except ContentNeeded as error:
            raise without_content(error, dataset.catalogue) from error
        return Learned(
            comparison=comparison,
            model=model,
            began_from=began_from,
            learnt=learnt_of(comparison.quizzed, model, job.seed),
            control=control_of(comparison.quizzed, comparison.scrambled, len(dataset.item_ids), job.seed),
            capture=capture_of(model, champion, dataset, job.seed),
        )


def finished(store: Store, job: TrainJob) -> VersionCard | None:
    """The card of a version that was made before; None when there is none.

    Raises:
        TrainingRefused: a version of that name was made of something else.
        ArtefactRefused: its card cannot be read.
    """
    card = read_card(store, job.version)
    if card is None:
        return None
    wanted = (_full_name(job), job.snapshot_sequence, job.algorithm, job.seed)
    found = (card.model, card.snapshot.sequence, card.job.algorithm if card.job else card.algorithm, card.seed)
    if wanted != found:
        words = f"version: {job.version!r} was made of (model, snapshot, algorithm, seed) = {found}, asked are {wanted}"
        raise TrainingRefused(Refusal.STORAGE, f"{words}; versions are never rewritten: use another name or another storageURI")
    return card


def standing(store: Store, job: TrainJob, cache: Path) -> LoadedVersion | None:
    """The champion, verified and mapped; None when there is none, or when its files are damaged: a new version is the mend for that."""
    if job.champion is None:
        return None
    try:
        card = read_card(store, job.champion)
        if card is None:
            raise ArtefactRefused(f"{job.champion}: it has no card in {store.uri}")  # noqa: TRY301 — told in one place
        return open_version(store, job.champion, card.digest, cache, load_model)
    except ArtefactRefused as error:
        logger.warning("ChampionRefused", extra={"version": job.version, "champion": job.champion, "error": str(error)})
        return None


def relearn(
    job: TrainJob, dataset: Dataset, algorithms: Algorithms, champion: LoadedVersion | None, fitter: Fitter
) -> tuple[Recommender, str | None]:
    """The asked algorithm, fitted on all interactions: what serves, and the version that it was begun from."""
    algorithm = algorithms[job.algorithm]
    earlier = None if champion is None else as_champion(champion, dataset)
    model = fitter.fit(algorithm, dataset.interactions, asked_of(job, algorithms)[job.algorithm], earlier)
    return model, job.champion if fitter.starts_warm(algorithm, earlier) else None


def write(job: TrainJob, dataset: Dataset, learned: Learned, worker: str) -> VersionCard:
    """Write a fitted model as the version that the job asks for, the card last."""
    store, comparison, model = open_store(job.storage_uri), learned.comparison, learned.model
    contents = contents_of(dataset, model)
    files = write_arrays(store, job.version, contents)
    card = VersionCard(
        version=job.version,
        model=_full_name(job),
        digest=digest_of({name: file.sha256 for name, file in files.items()}),
        algorithm=comparison.algorithm,
        hyperparameters=dict(comparison.hyperparameters),
        tried=list(comparison.tried),
        seed=job.seed,
        snapshot=dataset.manifest,
        split=comparison.split.words,
        users=len(dataset.user_ids),
        items=len(dataset.item_ids),
        interactions=len(dataset.interactions),
        test_users=comparison.split.users.size,
        evaluations=comparison.evaluations,
        files=files,
        libraries=libraries(),
        catalogue=dataset.catalogue,
        parent=job.champion,
        created_at=datetime.now(UTC),
        worker=worker,
        warm_start=learned.began_from,
        search=read_search(store, job.version) if job.search else None,
        job=job,
        code=code(),
        machine=machine(),
        probes=probes_of(dataset, model),
        learnt=learned.learnt,
        control=learned.control,
        capture=learned.capture,
        curve=list(comparison.curve),
        history_half_life=job.history_half_life,
        profile=dataset.profile,
    )
    card = with_report(store, card, contents, learned.model)
    write_card(store, card)
    return card


def with_report(store: Store, card: VersionCard, contents: VersionContents, model: Recommender) -> VersionCard:
    """Write the page for people; a version is not lost because its page cannot be made."""
    try:
        text = page(card, shown_by(model, contents))
    except Exception as error:
        logger.exception("ReportFailed", extra={"version": card.version, "error": str(error)})
        return card
    store.write(f"{version_folder(card.version)}/{REPORT_FILE}", text.encode())
    return card.model_copy(update={"report": REPORT_FILE})


def shown_by(model: Scorer, contents: VersionContents) -> Exposure | None:
    """How a version's lists are spread over popular and rare items."""
    histories = Histories(indptr=contents.history_indptr, indices=contents.history_indices, weights=contents.history_weights)
    return exposure(model.scores, histories, contents.popularity, contents.item_ids.__getitem__)


def contents_of(dataset: Dataset, model: Recommender) -> VersionContents:
    """What a version of this data and this model holds."""
    histories = dataset.interactions.told()
    return VersionContents(
        item_ids=dataset.item_ids,
        user_ids=dataset.user_ids,
        history_indptr=histories.indptr,
        history_indices=histories.indices,
        history_weights=histories.weights,
        popularity=dataset.interactions.popularity(),
        model=model.arrays(),
        content=dataset.interactions.content,
        recent=recent_popularity(dataset.interactions, HALF_LIFE_DAYS),
        facets=dataset.facets,
    )


def _full_name(job: TrainJob) -> str:
    return f"{job.model.namespace}/{job.model.name}"
