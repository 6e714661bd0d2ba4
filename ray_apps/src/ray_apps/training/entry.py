"""The command line of a run: one argument in, a table and an exit status out."""

import argparse
import json
import logging
import sys
from collections.abc import Sequence

from pydantic import ValidationError

from ray_apps.algorithms import ALGORITHMS, Algorithms
from ray_apps.stores.objects import StorageError, open_store
from ray_apps.stores.registry import ArtefactRefused
from ray_apps.training.job import Written, as_read, finished
from ray_apps.training.logs import log_json
from ray_apps.training.measuring import asked_of
from ray_apps.training.refusals import Refusal, TrainingRefused
from ray_apps.training.search import searchable
from ray_apps.training.table import table
from recsys_schemas.train_job import TrainJob
from recsys_schemas.version_card import VersionCard

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None, algorithms: Algorithms = ALGORITHMS, *, written: Written = as_read) -> int:
    """Do the job that `--job` gives; print the comparison and return the exit status.

    Args:
        arguments: Of the command line; by default this process's own.
        algorithms: What can be fitted and measured; classes that Ray's workers can import.
        written: What becomes of the data before it is written; by default nothing. A function that Ray's workers can import.

    Returns:
        0 when the version exists, whether made now or before; else a `Refusal`.
    """
    parser = argparse.ArgumentParser(prog="ray_apps.training", description="Turn a snapshot into a version.")
    parser.add_argument("--job", required=True, help="a TrainJob as JSON")
    asked = parser.parse_args(arguments)
    log_json()
    try:
        job = _read(asked.job)
        card = _made(job, algorithms, written)
    except TrainingRefused as refused:
        logger.error("TrainingRefused", extra={"reason": refused.refusal.name, "error": refused.message})  # noqa: TRY400 — its words say all
        return int(refused.refusal)
    sys.stdout.write(f"\n{table(card)}\n")
    logger.info("VersionReady", extra={"version": card.version, "digest": card.digest, "snapshot": card.snapshot.sequence})
    return 0


def _read(text: str) -> TrainJob:
    try:
        return TrainJob.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the argument"
        seen = json.dumps(first["input"], default=str)[:200]
        raise TrainingRefused(Refusal.BAD_JOB, f"--job: {field}: {first['msg']}; seen: {seen}") from error


def _made(job: TrainJob, algorithms: Algorithms, written: Written) -> VersionCard:
    """The card: of the version that is there, or of the one that is made now. Ray is not even imported for the first."""
    try:
        card = finished(open_store(job.storage_uri), job)
    except (StorageError, ArtefactRefused) as error:
        raise TrainingRefused(Refusal.STORAGE, str(error)) from error
    asked_of(job, algorithms)
    searchable(job)
    if card is not None:
        return card
    from ray_apps.training.workers import run_on_ray  # noqa: PLC0415 — Ray takes seconds to import

    return run_on_ray(job, algorithms, written)
