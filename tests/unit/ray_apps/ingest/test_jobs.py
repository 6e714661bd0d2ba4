"""Jobs that cannot be done are refused before anything is opened, with the field, the value and the mend."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ray_apps.ingest.columns import table_schema
from ray_apps.ingest.consumer import EXIT_REFUSED, check, main
from ray_apps.ingest.dead_letters import group_id, transactional_id
from ray_apps.ingest.tables import RefusedError
from recsys_schemas.train_job import IngestJob


def job(tmp_path: Path, **changes: Any) -> IngestJob:
    asked: dict[str, Any] = {
        "model": {"namespace": "demo", "name": "movies", "uid": "0123456789abcdef"},
        "bootstrap_servers": ["127.0.0.1:1"],
        "topics": [{"topic": "watch", "event_type": "watch"}],
        "dead_letter_topic": "dead",
        "storage_uri": f"file://{tmp_path}",
        "roll_max_records": 10,
        "roll_max_seconds": 1,
    }
    return IngestJob.model_validate(asked | changes)


def test_a_good_job_passes(tmp_path: Path) -> None:
    check(job(tmp_path))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"storage_uri": "ftp://host/x"}, r"storageURI: 'ftp://host/x' has scheme 'ftp'; use one of file, s3"),
        ({"topics": [{"topic": "t", "event_type": "listen"}]}, r"event_type 'listen' has no schema; use one of watch, rate"),
        ({"topics": []}, r"topics: none is given"),
        ({"dead_letter_topic": "watch"}, r"deadLetterTopic: 'watch' is read as events too"),
    ],
)
def test_a_job_that_cannot_be_done_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        check(job(tmp_path, **changes))


def test_an_argument_that_is_no_job_ends_with_the_refused_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--job", "{}"]) == EXIT_REFUSED
    assert "bootstrap_servers" in capsys.readouterr().err


def test_names_on_kafka_are_derived_from_the_model(tmp_path: Path) -> None:
    assert group_id(job(tmp_path)) == "recsys.demo.movies.ingest"
    assert transactional_id(job(tmp_path)) == "recsys.demo.movies.01234567.dead-letters"


def test_a_table_has_the_events_columns_and_those_of_the_record() -> None:
    assert table_schema("rate").names == [
        *("event_id", "user_id", "item_id", "timestamp", "rating", "request_id"),
        *("_topic", "_partition", "_offset", "_timestamp", "_payload_crc32"),
    ]
    assert [column.name for column in table_schema("rate") if column.nullable] == ["request_id"]
    assert table_schema("watch").field("fraction").type == pa.float64()
