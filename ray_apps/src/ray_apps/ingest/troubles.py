"""What a session that failed says of itself: the field, what was seen, and the mend. Ingest goes on by itself once it is mended."""

import re

from confluent_kafka import KafkaException
from deltalake.exceptions import DeltaError

from recsys_schemas.kafka_access import GRANT
from recsys_schemas.train_job import IngestJob

_LONGEST = 300
_ANSI = re.compile(r"\x1b\[[0-9;]*m|↳")
_XML = re.compile(r"<\?xml.*?<Code>(.*?)</Code>(?:<Message>(.*?)</Message>)?.*", re.DOTALL)
_TOOK = re.compile(r" in [\d.]+\s?(?:ns|µs|ms|s)\b")
_MENDS = (
    (re.compile(r"No space left|os error 28\b|Disk quota|os error 122\b"), "free space there"),
    (
        re.compile(r"Read-only file system|os error 30\b|Permission denied|os error 13\b"),
        "make it writable for the user that ingest runs as",
    ),
    (re.compile(r"NoSuchBucket|NO_SUCH_BUCKET|bucket does not exist"), "make the bucket"),
    (
        re.compile(r"ACCESS_DENIED|AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|403 Forbidden"),
        "allow this user to put and list objects there, or correct AWS_* on the Ray cluster",
    ),
)


def words_of(error: Exception, job: IngestJob) -> str:
    """What to tell of an error that ended a session."""
    if isinstance(error, KafkaException):
        said = f"{error.args[0].name()}: {error}"
        return f"{said}; {GRANT}" if "AUTHORIZATION_FAILED" in said else said
    if isinstance(error, OSError | DeltaError):
        seen = _brief(error)
        return f"storageURI: {job.storage_uri!r}: {seen}; {_mend(seen, job)}; ingest goes on by itself"
    said = f"{type(error).__name__}: {error}"
    return f"{said}; {GRANT}" if "AUTHORIZATION_FAILED" in said else said


def _mend(seen: str, job: IngestJob) -> str:
    for sign, mend in _MENDS:
        if sign.search(seen):
            return mend
    return "look at the disk" if job.storage_uri.startswith("file:") else "check that the store runs and that AWS_* are right"


def _brief(error: OSError | DeltaError) -> str:
    """In one line, without colours, XML, names of the moment and times: the same fault is to give the same words."""
    if isinstance(error, OSError) and error.errno and error.strerror:
        return error.strerror
    plain = _XML.sub(lambda found: f"{found[1]}: {found[2] or ''}", _ANSI.sub("", str(error)))
    words = " ".join(_TOOK.sub("", plain).split())
    # What was wrong stands last, after what was tried.
    return words if len(words) <= _LONGEST else f"… {words[-_LONGEST:]}"
