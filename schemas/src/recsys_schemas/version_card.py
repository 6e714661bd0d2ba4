"""The version card: what training hands to the operator and to serving. It is written last, so a version without one does not exist."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from pydantic import Field

from recsys_schemas.artifact import Artifact
from recsys_schemas.catalogue import CatalogueUsed
from recsys_schemas.snapshot import EventProfile, SnapshotManifest
from recsys_schemas.train_job import TrainJob

CARD_FILE = "card.json"
PREFLIGHT_FILE = "preflight.json"
REPORT_FILE = "report.html"
"""The card as a page for people: beside the card and no part of the digest, for it holds times."""
VERSIONS_FOLDER = "versions"
RUNS_FOLDER = "runs"
"""Folder of Ray Train's own state below the storage URI, with one folder for each version."""


def version_folder(version: str) -> str:
    """Folder of a version below the storage URI: `versions/movies-000042`."""
    return f"{VERSIONS_FOLDER}/{version}"


def progress_file(version: str) -> str:
    """Where a run says how far it is: `runs/movies-000042/progress.json`."""
    return f"{RUNS_FOLDER}/{version}/progress.json"


def digest_of(files: Mapping[str, str]) -> str:
    """Digest of a version: SHA-256 over its `sha256  name` lines, sorted by name.

    >>> digest_of({"b": "02", "a": "01"}) == digest_of({"a": "01", "b": "02"})
    True
    """
    lines = "".join(f"{files[name]}  {name}\n" for name in sorted(files))
    return "sha256:" + hashlib.sha256(lines.encode()).hexdigest()


class Estimate(Artifact):
    """A measured mean with its 95 % confidence interval."""

    value: float
    """The mean."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of the 95 % interval."""
    samples: Annotated[int, Field(ge=0)]
    """How many users (or items) it was measured on."""


class Evaluation(Artifact):
    """One model, measured on the same held-out users as the others of its card."""

    name: str
    """Algorithm name for the candidate and the baselines; the version's name for the champion."""
    role: str
    """candidate, baseline or champion."""
    train_seconds: Annotated[float, Field(ge=0)]
    """Wall time of fitting; 0 for the champion, which was not fitted here."""
    inference_ms_per_user: Annotated[float, Field(ge=0)]
    """Mean CPU time to score one user and take the best 20 items, milliseconds."""
    size_bytes: Annotated[int, Field(ge=0)]
    """Size of the model's own arrays."""
    metrics: dict[str, Estimate]
    """Over all users measured, by metric, such as ndcg@10."""
    difference: dict[str, Estimate] = {}
    """The candidate minus this model, paired by user: for per-user metrics only; empty for the candidate itself."""
    slices: dict[str, dict[str, Estimate]] = {}
    """The same metrics over a part of the users or items, by slice (coldUsers, warmUsers, coldItems, oldItems, group:<field>=<value>), then
    by metric. A slice that nobody belongs to is absent."""
    slice_difference: dict[str, dict[str, Estimate]] = {}
    """The candidate minus this model, by slice, then by metric."""
    abstained: dict[str, str] = {}
    """Metrics that were asked for and could not be told honestly, each with the reason: an off-policy estimate without support."""


class Probe(Artifact):
    """One question and what the model answered to it where it was fitted."""

    user: str
    """Whose history it is."""
    history: dict[str, float]
    """Item id → how strongly it was liked: all that the version knows of the user."""
    best: list[str]
    """The ten best items that are not in the history, best first."""


class CurvePoint(Artifact):
    """How well the measured fit answered after one of its steps: NDCG@10, the mean over some users, the same after each step."""

    step: Annotated[int, Field(ge=1)]
    """Steps (epochs, sweeps) done."""
    learnt: float
    """On items that it learns from, as in `Learnt`."""
    held_out: float
    """On items that were held out. It falls while `learnt` still rises: the fit learns by heart, fewer steps would do."""


class Learnt(Artifact):
    """How well models answer from what they were fitted on: some of a user's items are left out of the history, and asked for."""

    measured: Estimate
    """NDCG@10 of the fit that the metrics are of."""
    serves: Estimate
    """Of the fit that serves, for the same users and items."""
    held_out_minus_learnt: Estimate
    """NDCG@10 of the measured fit on held-out items less that on as many learnt items, paired by user. Far above 0: it knew them."""


class Control(Artifact):
    """Whether an algorithm finds what was held out though it has learned from exchanged labels, from which nothing can be known of it."""

    measured: Estimate
    """NDCG@10 of the measured fit on held-out items."""
    scrambled: Estimate
    """Of the same algorithm fitted on the training part with its items' labels exchanged at random, for the same users and items."""
    chance: Annotated[float, Field(ge=0, le=1)]
    """Of lists drawn by lot, on average."""
    excess: Estimate
    """By how much more than a fifth of what the first has over chance the second has over it, paired by user. Above 0: what was held out is
    known from elsewhere than from what was learned."""


class Capture(Artifact):
    """Which part of the lists of users whom the champion knew has gone to items that only newcomers brought up."""

    newcomers: Annotated[int, Field(ge=0)]
    """Users that the champion did not know."""
    items: list[str]
    """Items that are liked mostly by newcomers and were hardly known before, those with the largest part first; at most 20."""
    share: Estimate
    """Part of the 20 places of each list that they hold, less what the champion gave them; over users whom the champion knew."""


class Contender(Artifact):
    """One algorithm that AUTO looked at, on users held out inside the training part."""

    algorithm: str
    """Which."""
    hyperparameters: dict[str, float | int | str] = {}
    """As used, defaults filled in."""
    ndcg10: Estimate | None = None
    """NDCG@10; none when it was not measured."""
    train_seconds: Annotated[float, Field(ge=0)] = 0.0
    """Wall time of fitting."""
    outcome: str
    """What became of it, in words: chosen, not chosen, or why it was not measured."""


class FileDigest(Artifact):
    """One file of a version."""

    sha256: str
    """Hex digest of its bytes."""
    size_bytes: Annotated[int, Field(ge=0)]
    """Its size."""


class Trial(Artifact):
    """One try of a search for hyperparameters."""

    hyperparameters: dict[str, float | int | str]
    """As tried."""
    value: float | None = None
    """What it reached; none: it was not finished."""
    seconds: Annotated[float, Field(ge=0)] = 0.0
    """How long it took."""
    message: str = ""
    """Why it was not finished."""


class SearchReport(Artifact):
    """A search for hyperparameters, on a part of the training data held out for it: nothing that a card's metrics rest on was seen."""

    metric: str
    """What was compared."""
    split: str
    """On what, in words."""
    trials: list[Trial]
    """In the order in which they were drawn."""


class VersionCard(Artifact):
    """Everything needed to judge, to serve and to rebuild one version."""

    version: str
    """Its name, such as movies-000042."""
    model: str
    """namespace/name of the RecommenderModel."""
    digest: str
    """digest_of the files: what rollout pins and serving verifies."""
    algorithm: str
    """The algorithm that serves."""
    hyperparameters: dict[str, float | int | str]
    """As used, defaults filled in."""
    tried: list[Contender] = []
    """What AUTO chose from, in the order in which it was tried; empty when the algorithm was named. What was asked for is in `job`."""
    seed: int
    """The only source of chance."""
    snapshot: SnapshotManifest
    """What it was trained on."""
    split: str
    """How users were held out, in words."""
    users: Annotated[int, Field(ge=0)]
    """Users in training."""
    items: Annotated[int, Field(ge=0)]
    """Items of the version: those of the interactions and those of the catalogue."""
    interactions: Annotated[int, Field(ge=0)]
    """Interactions in training."""
    test_users: Annotated[int, Field(ge=0)]
    """Users that the metrics are measured on."""
    evaluations: list[Evaluation]
    """The candidate first, then baselines, then the champion if there was one."""
    files: dict[str, FileDigest]
    """Every file of the version but the card itself."""
    libraries: dict[str, str]
    """Package name → version, of code that shapes the result."""
    catalogue: CatalogueUsed | None = None
    """What was known of the items; none when the job named no catalogue."""
    parent: str | None = None
    """The champion at the time."""
    created_at: datetime
    """When training ended (UTC). Not part of the digest."""
    worker: str = ""
    """Where it ran: Ray Train run name and number of workers."""
    warm_start: str | None = None
    """The version that the fit which serves began from; none: from nothing."""
    search: SearchReport | None = None
    """How the hyperparameters were found; none: they were given."""
    probes: list[Probe] = []
    """What its preflight asks again, of the arrays as they were written."""
    learnt: Learnt | None = None
    """None: an older release wrote it, or nobody has two items."""
    control: Control | None = None
    """None: an older release wrote it, or nobody could be asked."""
    capture: Capture | None = None
    """None without a champion, or without newcomers."""
    history_half_life: float | None = None
    """Likes after which an older one counts half: in what metrics were asked with, and in the histories that it carries."""
    curve: list[CurvePoint] = []
    """The training curve, at most 12 points; nothing was chosen by it. Empty for an algorithm without steps. The steps of an attempt that
    died are not in it."""
    profile: EventProfile | None = None
    """Of the newest events of its snapshot."""
    job: TrainJob | None = None
    """What was asked, whole: with it the version can be made again. None: written by a release that did not say."""
    report: str | None = None
    """Name of the page for people beside the card; None: there is none."""
    code: dict[str, str] = {}
    """Part of the Ray apps (algorithms, training, ...) → SHA-256 over its source files: what `libraries` cannot tell between releases."""
    machine: dict[str, str] = {}
    """What else may shape the last bits of a float: platform, and the kernels that linear algebra chose for the processor."""


class PreflightReport(Artifact):
    """What a candidate did in a process apart, before any user saw it."""

    version: str
    """The version tried."""
    digest: str
    """The digest computed from its bytes."""
    run: str = ""
    """Which trial this was; empty for the first one."""
    passed: bool
    """Whether it may take traffic."""
    checks: dict[str, str]
    """Check → what was seen, in words; a failed one begins with `failed: `."""
    requests: Annotated[int, Field(ge=0)]
    """Requests tried."""
    p99_ms: Annotated[float, Field(ge=0)]
    """99th percentile of scoring time, milliseconds."""


class RunProgress(Artifact):
    """How far a run is, written by it now and then."""

    version: str
    """The version that it makes."""
    step: Annotated[int, Field(ge=0)]
    """Steps (epochs of its fits) done,"""
    of: Annotated[int, Field(ge=1)]
    """of so many."""
    seconds_left: Annotated[float | None, Field(ge=0)] = None
    """For the steps that are left, by how long those before took; none before the second."""
    told_at: datetime
    """When (UTC)."""
