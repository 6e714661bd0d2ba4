"""What a session that failed says of itself: the field, what was seen, and the mend. Ingest goes on by itself once it is mended."""

from confluent_kafka import KafkaException
from deltalake.exceptions import DeltaError

from recsys_schemas.kafka_access import GRANT
from recsys_schemas.store_faults import brief, mend
from recsys_schemas.train_job import IngestJob


def words_of(error: Exception, job: IngestJob) -> str:
    """What to tell of an error that ended a session."""
    if isinstance(error, OSError | DeltaError):
        seen = _seen(error)
        return f"storageURI: {job.storage_uri!r}: {seen}; {mend(seen, job.storage_uri)}; ingest goes on by itself"
    name = error.args[0].name() if isinstance(error, KafkaException) else type(error).__name__
    said = f"{name}: {error}"
    return f"{said}; {GRANT}" if "AUTHORIZATION_FAILED" in said else said


def _seen(error: OSError | DeltaError) -> str:
    """Without the name of the file, which may be another one each time."""
    return error.strerror if isinstance(error, OSError) and error.errno and error.strerror else brief(str(error))
