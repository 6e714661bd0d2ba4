"""`python -m ray_apps.upkeep --job '<UpkeepJob as JSON>'`: the entry point of one run of upkeep as a Ray job.

Ends with 0 when the report is written, with 2 when the job cannot be read, with 3 when the store cannot be used.
"""

import argparse
import logging
import sys
from collections.abc import Sequence

from deltalake.exceptions import DeltaError
from pydantic import ValidationError
from pythonjsonlogger.json import JsonFormatter

from ray_apps.stores.objects import StorageError, open_store
from ray_apps.upkeep.job import run
from recsys_schemas.train_job import UpkeepJob

EXIT_BAD_JOB, EXIT_STORAGE = 2, 3

logger = logging.getLogger("ray_apps.upkeep")


def main(arguments: Sequence[str] | None = None) -> int:
    """Read a job from the command line and do it; returns the exit status."""
    parser = argparse.ArgumentParser(prog="ray_apps.upkeep", description="Compact the tables of a store, and enforce its retention.")
    parser.add_argument("--job", required=True, help="an UpkeepJob as JSON")
    asked = parser.parse_args(arguments)
    _log_json()
    try:
        job = UpkeepJob.model_validate_json(asked.job)
    except ValidationError as error:
        sys.stderr.write(f"--job: {error}\n")
        return EXIT_BAD_JOB
    try:
        report = run(open_store(job.storage_uri), job)
    except (StorageError, DeltaError, OSError) as error:
        # Without the traceback: the operator shows a job's last words in a condition.
        logger.error("upkeep failed", extra={"error": " ".join(str(error).split())[:500]})  # noqa: TRY400
        return EXIT_STORAGE
    logger.info("upkeep done", extra={"report": report.model_dump(mode="json")})
    return 0


def _log_json() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s", rename_fields={"message": "event"}))
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
