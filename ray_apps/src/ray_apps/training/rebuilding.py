"""Make a version again, by its card alone, and say what came out otherwise and what may be to blame.

Nothing is written but into a folder of one's own: the registry stays as it is.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deltalake.exceptions import DeltaError
from threadpoolctl import threadpool_limits

from ray_apps.algorithms import ALGORITHMS, Algorithms
from ray_apps.stores.objects import StorageError, Store
from ray_apps.stores.registry import MODEL_PREFIX, ArtefactRefused, write_arrays
from ray_apps.stores.snapshots import open_snapshot
from ray_apps.training import provenance
from ray_apps.training.catalogue import read_described, source_of
from ray_apps.training.dataset import Dataset, read_dataset
from ray_apps.training.fitter import fitter_of
from ray_apps.training.job import contents_of, relearn, standing
from ray_apps.training.measuring import compare
from recsys_schemas.train_job import AUTO, ModelIdentity, TrainJob
from recsys_schemas.version_card import FileDigest, VersionCard, digest_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One fact of the card that is another here; None where one side does not have it."""

    what: str
    then: str | None
    now: str | None

    def __str__(self) -> str:
        return f"{self.what}: {self.then or 'absent'} then, {self.now or 'absent'} now"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """A version, made again."""

    card: VersionCard
    digest: str
    files: Mapping[str, FileDigest]
    surroundings: tuple[Change, ...]
    """Libraries, code and machine that are not those of the card."""
    metrics: tuple[Change, ...] | None = None
    """Metrics that came out otherwise; None when they were not measured again."""

    @property
    def same(self) -> bool:
        """Whether every byte is what the card says."""
        return self.digest == self.card.digest

    @property
    def changed(self) -> tuple[str, ...]:
        """Files of other bytes, and those that only one side has."""
        names = sorted({*self.files, *self.card.files})
        return tuple(name for name in names if self.files.get(name) != self.card.files.get(name))

    @property
    def data_differ(self) -> bool:
        """Whether what was read differs, not only what was learnt from it."""
        return any(not name.startswith(MODEL_PREFIX) for name in self.changed)


def rebuild(
    card: VersionCard, store: Store, scratch: Store, algorithms: Algorithms = ALGORITHMS, *, champions: Path | None = None
) -> Rebuilt:
    """Read the snapshot that the card names, learn as it says, and write the arrays into `scratch`.

    Args:
        card: Of the version.
        store: Where its snapshot is.
        scratch: Where the arrays go.
        algorithms: What can be fitted.
        champions: Measure again too; the champion of the time, where it is not local, is copied here.

    Raises:
        StorageError: the snapshot is gone, or another one stands under its number.
        ArtefactRefused: the card contradicts itself.
        TrainingRefused: there is nothing to learn from, or the algorithm is not known here.
    """
    job = job_of(card)
    dataset = _dataset_of(card, store, job)
    with threadpool_limits(1), tempfile.TemporaryDirectory(prefix="champion-") as cache:
        champion = standing(store, job, champions or Path(cache)) if champions or job.warm_start else None
        repeated = job.model_copy(update={"algorithm": card.algorithm}) if job.algorithm == AUTO else job
        measured = compare(repeated, dataset, algorithms, champion, fitter_of(job)) if champions else None
        chosen = job.model_copy(update={"algorithm": card.algorithm, "hyperparameters": card.hyperparameters, "baselines": []})
        model, _ = relearn(chosen, dataset, algorithms, champion, fitter_of(job))
        files = write_arrays(scratch, card.version, contents_of(dataset, model))
    found = {each.name: {name: e.value for name, e in each.metrics.items()} for each in measured.evaluations} if measured else None
    return Rebuilt(
        card=card,
        digest=digest_of({name: file.sha256 for name, file in files.items()}),
        files=files,
        surroundings=surroundings(card),
        metrics=None if found is None else _measured_otherwise(card, found),
    )


def job_of(card: VersionCard) -> TrainJob:
    """The job that made a version; for a card that does not carry it, as much of it as the rest of the card says.

    Raises:
        ArtefactRefused: the card says otherwise than its own job.
    """
    if card.job is not None:
        job = card.job
        asked = (job.version, job.snapshot_sequence, job.seed, job.champion)
        said = (card.version, card.snapshot.sequence, card.seed, card.parent)
        if asked != said:
            words = f"{card.version}: the card says (version, snapshot, seed, parent) = {said}, its own job {asked}"
            raise ArtefactRefused(f"{words}: it was edited; bring it back from a backup")
        return job
    namespace, _, name = card.model.partition("/")
    return TrainJob(
        model=ModelIdentity(namespace=namespace, name=name, uid=""),
        version=card.version,
        storage_uri="",
        snapshot_sequence=card.snapshot.sequence,
        algorithm=card.algorithm,
        hyperparameters=card.hyperparameters,
        baselines=[each.name for each in card.evaluations if each.role == "baseline"],
        seed=card.seed,
        champion=card.parent,
    )


def _dataset_of(card: VersionCard, store: Store, job: TrainJob) -> Dataset:
    sequence = card.snapshot.sequence
    try:
        snapshot = open_snapshot(store, sequence)
        # The copy beside the snapshots: the catalogue itself may have changed since.
        described = read_described(store, source_of(store, card.catalogue))
        dataset = read_dataset(snapshot, described, job.group_by, job.attribution_seconds, job.history_half_life)
    except (StorageError, DeltaError, FileNotFoundError) as error:
        why = " ".join(str(error).split())[:300]
        words = f"{card.version}: snapshot {sequence}, on which it was trained, cannot be opened in {store.uri} ({why}); without it"
        mend = "bring its manifest and tables back from a backup. The operator keeps a snapshot while a version made of it has an object"
        raise StorageError(f"{words} the version cannot be made again: {mend}") from error
    if snapshot.manifest != card.snapshot:
        words = f"{card.version}: snapshot {sequence} of {store.uri} is not the one of the card ({snapshot.manifest.rows} rows"
        raise StorageError(f"{words}, by the card {card.snapshot.rows}); name the store in which the version was made")
    return dataset


def surroundings(card: VersionCard) -> tuple[Change, ...]:
    """What is installed here, our own code and the machine, where they are not those of the card."""
    pairs = (
        ("library", card.libraries, provenance.libraries()),
        ("code of ray_apps", card.code, provenance.code()),
        ("machine", card.machine, provenance.machine()),
    )
    # What an older card does not say of itself is not told as changed.
    return tuple(change for what, then, now in pairs if then for change in changes(what, then, now))


def changes(what: str, then: Mapping[str, object], now: Mapping[str, object]) -> list[Change]:
    """Entries of two mappings that differ, sorted by name."""
    names = sorted({*then, *now})
    return [
        Change(what=f"{what} {name}", then=_text(then.get(name)), now=_text(now.get(name)))
        for name in names
        if then.get(name) != now.get(name)
    ]


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _measured_otherwise(card: VersionCard, found: Mapping[str, Mapping[str, float]]) -> tuple[Change, ...]:
    # What a model costs is measured by the clock and never the same twice: only what it is worth is compared.
    then = {each.name: {name: estimate.value for name, estimate in each.metrics.items()} for each in card.evaluations}
    return tuple(change for name in sorted({*then, *found}) for change in changes(name, then.get(name, {}), found.get(name, {})))
