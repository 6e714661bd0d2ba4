"""What is said of an error that ended a session."""

import errno

import pytest
from confluent_kafka import KafkaError, KafkaException
from deltalake.exceptions import CommitFailedError, DeltaError

from ray_apps.ingest.registry import RegistryError
from ray_apps.ingest.troubles import words_of
from recsys_schemas.train_job import IngestJob

NO_BUCKET = """Kernel error -> Generic S3 error
          \x1b[31m↳\x1b[0m Error performing GET http://host:1/late?list-type=2 in 602.176µs - Server returned non-2xx status code
             \x1b[31m↳\x1b[0m <?xml version="1.0" encoding="UTF-8"?>
<Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist.</Message><RequestId>3BFL8</RequestId></Error>
"""
DENIED = "When getting information for key 'x' in bucket 'b': AWS Error ACCESS_DENIED during HeadObject operation: No response body."


def job(uri: str = "file:///store") -> IngestJob:
    return IngestJob.model_validate(
        {
            "model": {"namespace": "demo", "name": "movies", "uid": "0123456789abcdef"},
            "bootstrap_servers": ["127.0.0.1:1"],
            "topics": [{"topic": "watch", "event_type": "watch"}],
            "dead_letter_topic": "dead",
            "storage_uri": uri,
            "roll_max_records": 10,
            "roll_max_seconds": 1,
        }
    )


def test_a_full_disk_is_told_with_the_store_and_the_mend() -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "/store/.3d.partial")
    assert words_of(full, job()) == "storageURI: 'file:///store': No space left on device; free space there; ingest goes on by itself"


@pytest.mark.parametrize(
    ("error", "uri", "words"),
    [
        (
            OSError(errno.EROFS, "Read-only file system", "/store/.1f.partial"),
            "file:///store",
            "Read-only file system; make it writable for",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/store/.2e.partial"),
            "file:///store",
            "Permission denied; make it writable for",
        ),
        (DeltaError("commit: No space left on device (os error 28)"), "file:///store", "free space there"),
        (OSError(NO_BUCKET), "s3://late/m", "status code NoSuchBucket: The specified bucket does not exist.; make the bucket; ingest"),
        (OSError(DENIED), "s3://b/m", "ACCESS_DENIED during HeadObject operation: No response body.; allow this user to put and list"),
        (OSError("Connection refused"), "s3://b/m", "Connection refused; check that the store runs and that AWS_* are right"),
        (CommitFailedError("refused"), "file:///store", "refused; look at the disk"),
    ],
)
def test_a_failing_store_is_told_with_what_to_do(error: Exception, uri: str, words: str) -> None:
    told = words_of(error, job(uri))
    assert told.startswith(f"storageURI: '{uri}': ")
    assert words in told
    assert not {"\x1b", "\n", "<", "µ"} & set(told)


def test_the_same_fault_gives_the_same_words_and_no_more_than_a_few_lines() -> None:
    again = NO_BUCKET.replace("602.176µs", "3.1ms").replace("3BFL8", "AAAAA")
    assert words_of(OSError(NO_BUCKET), job()) == words_of(OSError(again), job())
    assert len(words_of(OSError("x" * 10_000 + " No space left on device"), job())) < 500


def test_what_is_not_the_store_keeps_its_own_words() -> None:
    assert words_of(RegistryError("schemaRegistryURL: http://r does not answer"), job()) == (
        "RegistryError: schemaRegistryURL: http://r does not answer"
    )
    denied = words_of(KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)), job())
    assert denied.startswith("TOPIC_AUTHORIZATION_FAILED: ")
    assert "kubectl recsys topics acls" in denied
