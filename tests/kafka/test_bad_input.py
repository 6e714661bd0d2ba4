"""A store that fails around a running consumer: it is told with the field and the mend, ingest goes on by itself, and nothing is lost."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from tests.kafka.test_ingest import LIMIT_S, Running, exact, job, producer, wait_covered, write

from ray_apps.ingest.consumer import check
from ray_apps.ingest.tables import RefusedError
from recsys_dev.objects import ObjectStore
from recsys_dev.processes import wait_until
from recsys_schemas.train_job import IngestJob

__all__ = ["job", "producer"]


@pytest.fixture
def run() -> Iterator[Callable[[IngestJob], Running]]:
    started: list[Running] = []

    def start(job: IngestJob) -> Running:
        started.append(Running(job).start())
        return started[-1]

    yield start
    for each in started:
        each.stop()


def trouble(running: Running, *words: str) -> None:
    """Wait until the consumer says what is wrong, in these words."""
    wait_until(
        lambda: all(word in running.progress.trouble for word in words),
        what=f"{words} in what it says ({running.progress.trouble!r}, {running.events[-3:]})",
        deadline_s=LIMIT_S,
    )


def well(running: Running) -> None:
    wait_until(lambda: not running.progress.trouble, what="the end of the trouble", deadline_s=LIMIT_S)
    assert running.failure is None


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], check=False, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"a small disk takes the right to mount one: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def on(job: IngestJob, place: Path) -> IngestJob:
    return job.model_copy(update={"storage_uri": f"file://{place}/store"})


def fill(disk: Path) -> Path:
    """A file that takes all the room there is."""
    file = disk / "somebody-elses"
    with file.open("wb", buffering=0) as stream, pytest.raises(OSError, match="No space left"):
        while True:
            stream.write(b"x" * 4096)
    return file


def read_only(disk: Path, *, on: bool) -> None:
    subprocess.run(["mount", "-o", f"remount,{'ro' if on else 'rw'}", disk], check=True)


def goes_wrong_and_is_mended(running: Running, producer: Producer, words: tuple[str, ...], mend: Callable[[], object]) -> None:
    """Records that come meanwhile are in the snapshot once it is mended, and so are those before."""
    write(producer, running.job, 60, bad=(b"worse",))
    trouble(running, f"storageURI: '{running.job.storage_uri}': ", *words, "; ingest goes on by itself")
    mend()
    wait_covered(running.job, 122)
    well(running)
    running.stop()
    found = exact(running.job)
    assert (found.rows, found.dead_letters, found.uncovered) == (120, 2, 0)


def test_a_full_disk_is_told_and_ingest_goes_on_when_there_is_room_again(
    job: IngestJob, producer: Producer, run: Callable[[IngestJob], Running], disk: Path
) -> None:
    write(producer, job, 60, bad=(b"bad",))
    running = run(on(job, disk))
    wait_covered(running.job, 61)
    file = fill(disk)
    goes_wrong_and_is_mended(running, producer, ("No space left on device; free space there",), file.unlink)


def test_a_store_that_may_not_be_written_is_told_and_ingest_goes_on_when_it_may(
    job: IngestJob, producer: Producer, run: Callable[[IngestJob], Running], disk: Path
) -> None:
    write(producer, job, 60, bad=(b"bad",))
    running = run(on(job, disk))
    wait_covered(running.job, 61)
    read_only(disk, on=True)
    with pytest.raises(RefusedError, match=r"storageURI: .* cannot be written \(.*Read-only.*; make the folder writable"):
        check(running.job)  # what a job that starts now would say, and end with
    words = ("Read-only file system; make it writable for the user that ingest runs as",)
    goes_wrong_and_is_mended(running, producer, words, lambda: read_only(disk, on=False))


def test_a_bucket_that_is_missing_and_one_that_may_not_be_written_are_told_and_ingest_goes_on(
    job: IngestJob, producer: Producer, run: Callable[[IngestJob], Running], s3: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.env().items():
        monkeypatch.setenv(name, value)
    bucket = f"late-{job.model.name}"
    stored = job.model_copy(update={"storage_uri": f"s3://{bucket}/movies"})
    with pytest.raises(
        RefusedError, match=rf"storageURI: 's3://{bucket}/movies' cannot be written \(.*; make the bucket, or allow this user"
    ):
        check(stored)
    write(producer, job, 60, bad=(b"bad",))
    running = run(stored)
    trouble(running, f"storageURI: 's3://{bucket}/movies': ", "NoSuchBucket", "make the bucket; ingest goes on by itself")
    s3.make_bucket(bucket)
    wait_covered(stored, 61)
    well(running)
    right = s3.env()["AWS_SECRET_ACCESS_KEY"]
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-key")
    words = ("allow this user to put and list objects there, or correct AWS_* on the Ray cluster",)
    goes_wrong_and_is_mended(running, producer, words, lambda: monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", right))
