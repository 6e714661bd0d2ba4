"""What ingest counts: every commit, every pause, every failed session, under the names that the schemas give."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from ray_apps.ingest.batches import Batch
from ray_apps.ingest.consumer import Runs, consume
from ray_apps.ingest.metrics import EXPORTED, Meters, Metrics, RegistryMeters
from ray_apps.ingest.publishing import Committed
from ray_apps.ingest.ray_meters import RayMeters
from ray_apps.ingest.session import Progress, Session
from ray_apps.ingest.work import Alone
from recsys_dev import processes
from recsys_schemas.events import DeadLetterReason
from recsys_schemas.metric_names import Metric
from recsys_schemas.train_job import IngestJob, ModelIdentity, TopicToRead

MODEL = ModelIdentity(namespace="shop", name="movies", uid="0123456789")
OWN = {"namespace": "shop", "model": "movies"}
JOB = IngestJob(
    model=MODEL,
    bootstrap_servers=["127.0.0.1:1"],
    topics=[TopicToRead(topic="w", event_type="watch")],
    dead_letter_topic="d",
    storage_uri="file:///nowhere",
    roll_max_records=10,
    roll_max_seconds=1.0,
)
COMMIT = Committed(
    event_type="watch",
    version=1,
    sequence=1,
    rows=9,
    bytes=1234,
    dead_letters={DeadLetterReason.DUPLICATE: 2},
    lag_ms=5,
    seconds=0.03,
)


def silent(*_: object, **__: object) -> None:
    """A log that nobody reads."""


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(MODEL, RegistryMeters(registry), lane=3)


def test_a_commit_counts_its_rows_its_bytes_its_letters_and_its_time(metrics: Metrics, registry: CollectorRegistry):
    metrics.committed(COMMIT)
    metrics.committed(COMMIT)
    watch = OWN | {"event_type": "watch"}
    assert registry.get_sample_value("recsys_ingest_rows_total", watch) == 18
    assert registry.get_sample_value("recsys_ingest_bytes_total", watch) == 2468
    assert registry.get_sample_value("recsys_ingest_dead_letters_total", OWN | {"reason": "Duplicate"}) == 4
    assert registry.get_sample_value("recsys_ingest_commit_seconds_count", OWN) == 2
    assert registry.get_sample_value("recsys_ingest_commit_seconds_bucket", OWN | {"le": "0.025"}) == 0
    assert registry.get_sample_value("recsys_ingest_commit_seconds_bucket", OWN | {"le": "0.05"}) == 2


def test_who_reads_says_so_until_it_ends(metrics: Metrics, registry: CollectorRegistry):
    place = OWN | {"lane": "3"}
    assert registry.get_sample_value("recsys_ingest_reading", place) is None
    for _ in range(3):
        metrics.reading()
        assert registry.get_sample_value("recsys_ingest_reading", place) == 1
    metrics.ended()
    assert registry.get_sample_value("recsys_ingest_reading", place) == 0
    metrics.reading()
    assert registry.get_sample_value("recsys_ingest_reading", place) == 1


def test_a_batch_that_the_writer_has_no_room_for_is_a_pause(metrics: Metrics, registry: CollectorRegistry):
    session = Session(JOB, Alone(JOB, silent, {}), log=silent, metrics=metrics, progress=Progress(), stopping=threading.Event())
    session._hand_over(Batch(opened_at=0.0))
    assert registry.get_sample_value("recsys_ingest_pauses_total", OWN) is None

    def pauses() -> float:
        return registry.get_sample_value("recsys_ingest_pauses_total", OWN) or 0

    def make_room() -> None:
        """Take one batch, but not before the reader has waited for it."""
        processes.wait_until(lambda: pauses() == 1, what="a pause", deadline_s=60)
        session._handed.get()

    late = threading.Thread(target=make_room)
    late.start()
    session._hand_over(Batch(opened_at=1.0))
    late.join()
    assert pauses() == 1
    assert (registry.get_sample_value("recsys_ingest_paused_seconds_total", OWN) or 0) > 0


def test_a_session_that_fails_is_counted(metrics: Metrics, registry: CollectorRegistry):
    stopping = threading.Event()

    class Fails:
        def run(self) -> None:
            stopping.set()
            raise OSError("the store is away")

    def begin(_: dict[str, int]) -> Runs:
        return Fails()

    consume(JOB, log=silent, metrics=metrics, progress=Progress(), stopping=stopping, session=begin)
    assert registry.get_sample_value("recsys_ingest_session_failures_total", OWN) == 1


@pytest.mark.parametrize("metric", EXPORTED, ids=lambda metric: metric.name)
@pytest.mark.parametrize("make", [RegistryMeters, RayMeters])
def test_every_metric_takes_a_figure_with_its_own_labels_and_no_others(make: Callable[..., Meters], metric: Metric):
    meters = make(CollectorRegistry()) if make is RegistryMeters else make()
    labels = dict.fromkeys(metric.labels, "x")
    meters.record(metric, 1.0, labels)
    with pytest.raises(ValueError, match=r"(?i)label|tag"):
        meters.record(metric, 1.0, dict(list(labels.items())[1:]))


def test_ray_is_given_the_names_labels_and_bounds_of_the_schemas():
    made: dict[str, Any] = RayMeters()._made
    for metric in EXPORTED:
        told = made[metric.name].info
        assert (told["name"], told["tag_keys"], told["description"]) == (metric.name, metric.labels, metric.help)
        assert tuple(told.get("boundaries", ())) == metric.buckets
