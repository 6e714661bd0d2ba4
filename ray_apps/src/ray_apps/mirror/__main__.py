"""`python -m ray_apps.mirror --job '<MirrorJob as JSON>'`: the entry point of one run of the mirror as a Ray job.

Ends with 0 when a report is written, also when it says that the server refused; with 2 when the job cannot be read, with 3 when
the store cannot be used.
"""

import argparse
import logging
import sys
from collections.abc import Sequence

from pydantic import ValidationError
from pythonjsonlogger.json import JsonFormatter

from ray_apps.mirror.job import run
from ray_apps.stores.objects import StorageError, open_store
from recsys_schemas.mirror import MirrorJob

EXIT_BAD_JOB, EXIT_STORAGE = 2, 3

logger = logging.getLogger("ray_apps.mirror")


def main(arguments: Sequence[str] | None = None) -> int:
    """Read a job from the command line and do it; returns the exit status."""
    parser = argparse.ArgumentParser(prog="ray_apps.mirror", description="Show versions in an MLflow server.")
    parser.add_argument("--job", required=True, help="a MirrorJob as JSON")
    asked = parser.parse_args(arguments)
    _log_json()
    try:
        job = MirrorJob.model_validate_json(asked.job)
    except ValidationError as error:
        sys.stderr.write(f"--job: {error}\n")
        return EXIT_BAD_JOB
    try:
        run(open_store(job.storage_uri), job)
    except (StorageError, OSError) as error:
        # Without the traceback: the operator shows a job's last words in a condition.
        logger.error("mirror failed", extra={"error": " ".join(str(error).split())[:500]})  # noqa: TRY400
        return EXIT_STORAGE
    return 0


def _log_json() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s", rename_fields={"message": "event"}))
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
