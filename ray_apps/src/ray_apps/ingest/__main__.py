"""`python -m ray_apps.ingest --job '<IngestJob as JSON>'`: the entry point of the long-running Ray job."""

import argparse
import sys

from pydantic import ValidationError

from ray_apps.ingest.app import run
from ray_apps.ingest.consumer import EXIT_REFUSED
from recsys_schemas.train_job import IngestJob


def main() -> int:
    """Read a job from the command line and keep a consumer of it up; returns the exit status."""
    parser = argparse.ArgumentParser(prog="ray_apps.ingest", description="Turn Kafka events into snapshots, on Ray.")
    parser.add_argument("--job", required=True, help="an IngestJob as JSON")
    try:
        job = IngestJob.model_validate_json(parser.parse_args().job)
    except ValidationError as error:
        sys.stderr.write(f"--job: {error}\n")
        return EXIT_REFUSED
    return run(job)


if __name__ == "__main__":
    sys.exit(main())
