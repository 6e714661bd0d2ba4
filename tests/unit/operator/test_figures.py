"""What the operator's metrics say of a model: bounded, and nothing that it does not know."""

from datetime import timedelta

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from recsys_operator import telemetry
from recsys_operator.figures import NAMED_PARTITIONS, figures, unread
from recsys_operator.model_series import ModelSeries
from recsys_operator.plan.plan import plan
from recsys_operator.state.observed import Key, Observed
from recsys_schemas import metric_names
from unit.operator.lagging import NOW, observed, partition

MOVIES = Key(namespace="shop", name="movies")
LATE = NOW - timedelta(seconds=40)
EARLY = NOW - timedelta(seconds=500)


def told(world: Observed) -> dict[tuple[str, tuple[str, ...]], float]:
    found = figures(world, plan(world).status)
    assert len({(each.metric.name, each.labels) for each in found}) == len(found)
    assert all(len(each.labels) == len(each.metric.labels) for each in found)
    return {(each.metric.name, each.labels[2:]): each.value for each in found}


def test_lag_is_told_by_partition_also_while_nothing_runs_on_ray() -> None:
    topics = {"watch": [partition(0, (EARLY, 4), (LATE, 10)), partition(1, (EARLY, 7))]}
    seen = told(observed(topics, {("watch", 0): 4, ("watch", 1): 7}))
    assert seen["recsys_ingest_lag_records", ("watch", "0")] == 6
    assert seen["recsys_ingest_lag_seconds", ("watch", "0")] == 40
    assert seen["recsys_ingest_lag_records", ("watch", "1")] == 0
    assert seen["recsys_ingest_lag_seconds", ("watch", "1")] == 0
    assert seen["recsys_snapshot_timestamp_seconds", ()] == NOW.timestamp()
    assert seen["recsys_snapshot_rows", ()] == 90


def test_while_no_broker_answers_no_number_of_lag_stands_still() -> None:
    seen = told(observed(None, {("watch", 0): 4}))
    assert not [name for name, _ in seen if "lag" in name or "held" in name]
    assert ("recsys_snapshot_timestamp_seconds", ()) in seen


def test_a_model_has_so_many_series_and_no_more() -> None:
    many = [partition(number, (EARLY, 0), (LATE, 2)) for number in range(1000)]
    seen = told(observed({"watch": many, "rate": many}, {}))
    assert len(seen) < 2 * 2 * (NAMED_PARTITIONS + 1) + 20
    assert seen["recsys_ingest_lag_records", ("rate", "others")] == 2 * (1000 - NAMED_PARTITIONS)
    assert seen["recsys_ingest_lag_seconds", ("rate", "others")] == 40


def test_the_fraction_of_dead_letters_stands_beside_its_limit() -> None:
    seen = told(observed({}, {}, bad=7))
    assert seen["recsys_dead_letter_fraction", ()] == 0.07
    assert seen["recsys_dead_letter_fraction_limit", ()] == 0.05


def test_records_behind_an_open_transaction_are_told_by_the_longest_wait() -> None:
    seen = told(observed({"watch": [partition(0, (EARLY, 4), held_since=LATE), partition(1, (EARLY, 4), held_since=NOW)]}, {}))
    assert seen["recsys_ingest_held_seconds", ()] == 40
    assert told(observed({"watch": [partition(0, (EARLY, 4))]}, {}))["recsys_ingest_held_seconds", ()] == 0


def test_a_model_that_is_gone_and_a_partition_that_is_gone_leave_no_series() -> None:
    registry = CollectorRegistry()
    series = ModelSeries(registry)
    two = observed({"watch": [partition(0, (LATE, 4)), partition(1, (LATE, 4))]}, {})
    series.replace(MOVIES, figures(two, plan(two).status))
    series.replace(Key(namespace="shop", name="books"), unread(Key(namespace="shop", name="books")))
    assert b'recsys_ingest_lag_records{model="movies",namespace="shop",partition="1",topic="watch"} 4.0' in generate_latest(registry)
    one = observed({"watch": [partition(0, (LATE, 4))]}, {})
    series.replace(MOVIES, figures(one, plan(one).status))
    text = generate_latest(registry)
    assert b'partition="0"' in text
    assert b'partition="1"' not in text
    series.forget(MOVIES)
    assert b'"movies"' not in generate_latest(registry)
    assert b'recsys_model_ready{model="books",namespace="shop"} 0.0' in generate_latest(registry)
    series.clear()
    assert b"recsys_" not in generate_latest(registry)


def test_every_figure_of_a_model_is_documented_as_the_operators() -> None:
    world = observed({"watch": [partition(0, (LATE, 4))]}, {})
    for figure in figures(world, plan(world).status):
        assert figure.metric in metric_names.ALL
        assert (figure.metric.source, figure.metric.kind) == ("operator", "gauge")


def test_a_deleted_model_takes_its_count_of_restarts_along() -> None:
    gone = Key(namespace="shop", name="gone")
    telemetry.INGEST_RESTARTS.labels(gone.namespace, gone.name).inc()
    telemetry.forget(gone)
    telemetry.forget(gone)
    assert b'"gone"' not in generate_latest(telemetry.REGISTRY)
