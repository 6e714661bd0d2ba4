"""The consumer as a process of its own, or as the thread of an actor: sessions, one after another.

    python -m ray_apps.ingest.consumer --job '<IngestJob as JSON>'

Ends with 0 when asked to (SIGTERM, SIGINT), with 2 when a person must look, with 3 when another writer has taken over.
Whatever else happens is logged and tried again, from the tables.
"""

import argparse
import logging
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Protocol

from prometheus_client import start_http_server
from pydantic import ValidationError
from pythonjsonlogger.json import JsonFormatter

from ray_apps.ingest.columns import UnknownEventTypeError, events_of
from ray_apps.ingest.metrics import Metrics, RegistryMeters
from ray_apps.ingest.session import Progress, Session
from ray_apps.ingest.tables import FencedError, RefusedError
from ray_apps.ingest.troubles import words_of
from ray_apps.ingest.work import Alone, Log
from ray_apps.stores.objects import StorageError, open_store
from ray_apps.stores.secrets import SecretsError, read_secrets
from recsys_schemas.train_job import IngestJob

EXIT_REFUSED, EXIT_FENCED = 2, 3
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 30.0


class Runs(Protocol):
    """A session: reads by itself, or conducts lanes."""

    def run(self) -> None:
        """Until asked to stop, or until it fails."""
        ...


def consume(  # noqa: PLR0913 (what every session gets)
    job: IngestJob,
    *,
    log: Log,
    metrics: Metrics,
    progress: Progress,
    stopping: threading.Event,
    session: Callable[[dict[str, int]], Runs] | None = None,
) -> None:
    """Run sessions until asked to stop.

    Args:
        job: what is consumed.
        log: takes an event and its facts.
        metrics: where commits are counted.
        progress: what a supervisor looks at.
        stopping: set to end after what was read is committed.
        session: makes a session from this process's last claims of the tables. Default: one that reads by itself.

    Raises:
        FencedError: another writer has taken over.
        RefusedError: a person must look.
    """

    def alone(held: dict[str, int]) -> Runs:
        return Session(job, Alone(job, log, held), log=log, metrics=metrics, progress=progress, stopping=stopping)

    wait_s, held, begin = _FIRST_WAIT_S, dict[str, int](), session or alone
    while not stopping.is_set():
        progress.sessions += 1
        commits = progress.commits
        try:
            begin(held).run()
        except (FencedError, RefusedError):
            raise
        except SecretsError as error:
            raise RefusedError(str(error)) from error
        except Exception as error:  # noqa: BLE001 (a session may fail in any way: the next one begins from the tables)
            wait_s = _FIRST_WAIT_S if progress.commits > commits else min(wait_s * 2, _LONGEST_WAIT_S)
            progress.failed(words_of(error, job))
            metrics.failed()
            told = {"error": progress.trouble, "kind": type(error).__name__, "where": _where(error)}
            log("session failed", **told, mend=f"the next one begins in {wait_s:g} s")
            _wait(wait_s, progress, stopping)


def _wait(seconds: float, progress: Progress, stopping: threading.Event) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not stopping.wait(min(left, 1.0)):
        progress.beat = time.monotonic()


def _where(error: Exception) -> str:
    """Name the line that raised: an error that nobody foresaw must be findable in the log alone."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def check(job: IngestJob) -> None:
    """Refuse a job that cannot be done, before anything is opened.

    Raises:
        RefusedError: it names the field, the value and the mend.
    """
    try:
        read_secrets(job.kafka_security)
        open_store(job.storage_uri).prove_writable()
        events_of(job)
    except (SecretsError, StorageError, UnknownEventTypeError, ValueError) as error:
        raise RefusedError(str(error)) from error
    if not job.topics:
        raise RefusedError("topics: none is given; name at least one topic and its event type")
    if job.dead_letter_topic in {each.topic for each in job.topics}:
        raise RefusedError(f"deadLetterTopic: {job.dead_letter_topic!r} is read as events too; give dead letters a topic of their own")


def json_log(job: IngestJob) -> Log:
    """Log one JSON object a line to stderr, each with the model's name."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s", rename_fields={"message": "event"}))
    logger = logging.getLogger("ray_apps.ingest")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO)

    def log(event: str, **facts: object) -> None:
        logger.info(event, extra={"namespace": job.model.namespace, "model": job.model.name, **facts})

    return log


def main(arguments: Sequence[str] | None = None) -> int:
    """Read a job from the command line and do it; returns the exit status."""
    parser = argparse.ArgumentParser(prog="ray_apps.ingest.consumer", description="Turn Kafka events into snapshots.")
    parser.add_argument("--job", required=True, help="an IngestJob as JSON")
    parser.add_argument("--metrics-port", type=int, default=0, help="serve Prometheus metrics on this port of the loopback; 0: not at all")
    asked = parser.parse_args(arguments)
    try:
        job = IngestJob.model_validate_json(asked.job)
    except ValidationError as error:
        sys.stderr.write(f"--job: {error}\n")
        return EXIT_REFUSED
    log = json_log(job)
    if asked.metrics_port:
        start_http_server(asked.metrics_port, "127.0.0.1")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stopper(stopping))
    return _status(lambda: _run(job, log, stopping), log)


def _run(job: IngestJob, log: Log, stopping: threading.Event) -> None:
    check(job)
    consume(job, log=log, metrics=Metrics(job.model, RegistryMeters()), progress=Progress(), stopping=stopping)


def _status(work: Callable[[], None], log: Log) -> int:
    try:
        work()
    except RefusedError as error:
        log("refused", error=str(error))
        return EXIT_REFUSED
    except FencedError as error:
        log("fenced", error=str(error))
        return EXIT_FENCED
    log("stopped")
    return 0


def _stopper(stopping: threading.Event) -> Callable[[int, FrameType | None], None]:
    return lambda _number, _frame: stopping.set()


if __name__ == "__main__":
    sys.exit(main())
