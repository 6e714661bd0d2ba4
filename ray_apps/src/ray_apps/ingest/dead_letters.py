"""Records that fit no schema go to the dead-letter topic, each once.

A transaction writes a batch's letters before its tables are committed, and these commits say where in the dead-letter topic
the letters of that batch begin: those of older batches are covered. A restarted writer fences the older one and reads on from
there. Where it finds letters of records that the tables do not cover, the older writer died between the two: these letters are
not written again, and stay the verdict on their records. So a record that would be judged otherwise today (the event gained a
field, the catalogue an item) is still a row or a dead letter, never both.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient

from ray_apps.ingest.letters_read import Positions, ends_of, read_letters
from ray_apps.stores import snapshots
from ray_apps.stores.secrets import connection_settings
from recsys_schemas.events import DeadLetter
from recsys_schemas.kafka_access import names_prefix
from recsys_schemas.train_job import IngestJob

CONSUMER_HEADER = "recsys-consumer"
"""Header of a dead letter: whose it is. Models that read the same topics may share a dead-letter topic."""
Record = tuple[str, int, int]
"""Topic, partition and offset of a record."""
_CALL_S = 15.0
_DEADLINE_S = 120.0
_THROWN_AWAY = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)  # noqa: SLF001 (the client's own names)
_PASSING = (
    KafkaError._TIMED_OUT,  # noqa: SLF001 (the client's own name)
    KafkaError._WAIT_COORD,  # noqa: SLF001 (the client's own name)
    KafkaError._TRANSPORT,  # noqa: SLF001 (the client's own name)
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.NOT_COORDINATOR,
)


class DeadLettersError(Exception):
    """The dead letters could not be written; none of this transaction's is visible."""


def consumer_name(job: IngestJob) -> str:
    """Name of a model's consumer in its tables and on its dead letters."""
    return f"{job.model.namespace}.{job.model.name}"


def group_id(job: IngestJob) -> str:
    """Group that the client of a model's consumer names: it is no member of it and commits nothing to it."""
    return f"{names_prefix(job.model.namespace, job.model.name)}ingest"


def transactional_id(job: IngestJob) -> str:
    """Identity of the one writer of a model's dead letters."""
    return f"{names_prefix(job.model.namespace, job.model.name)}{job.model.uid[:8]}.dead-letters"


class DeadLetters:
    """The dead-letter topic's one writer. Not thread-safe."""

    def __init__(self, job: IngestJob) -> None:
        """Call `fence`, then `put_aside`, before anything else."""
        self._topic = job.dead_letter_topic
        self._headers: Any = [(CONSUMER_HEADER, consumer_name(job).encode())]
        self._group = group_id(job)
        self._read_from = {each.topic for each in job.topics}
        self._undelivered: KafkaError | None = None
        self._since: Positions = {}
        self._ends: Positions = {}
        self._known: dict[Record, DeadLetter] = {}
        self._servers: dict[str, Any] = {**connection_settings(job.bootstrap_servers, job.kafka_security)}
        servers = self._servers
        self._admin = AdminClient(servers)
        self._producer = Producer(
            {
                **servers,
                "transactional.id": transactional_id(job),
                "transaction.timeout.ms": 60_000,
                "compression.type": "lz4",
                "linger.ms": 5,
            }
        )

    def fence(self, going_on: Callable[[], bool]) -> None:
        """End what an older writer left open, and shut it out.

        Raises:
            DeadLettersError: the brokers do not answer within two minutes, or `going_on` says no.
        """
        _retried(self._producer.init_transactions, "init_transactions", going_on)

    def put_aside(
        self, covered: Mapping[snapshots.TopicPartition, int], since: Mapping[snapshots.TopicPartition, int]
    ) -> Mapping[Record, DeadLetter]:
        """Read the letters that are written of records which no table covers.

        Args:
            covered: the next offset of each partition that the tables cover.
            since: where in dead-letter topics these letters begin, as the tables' newest commits say. A partition that is not
                named is read from its beginning.

        Returns:
            The verdict on these records: whoever judges them again must come to the same one.

        Raises:
            KafkaException: the brokers do not answer, or do not let us.
            TimeoutError: they cannot be read within two minutes.
        """
        mine = {partition: offset for (topic, partition), offset in since.items() if topic == self._topic}
        try:
            self._ends = ends_of(self._admin, self._topic)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
            self._ends = dict.fromkeys(mine, 0)  # nothing is in it; writing to it says that it is missing
        # Beyond its end: the topic was made anew.
        self._since = {partition: offset if offset <= self._ends.get(partition, 0) else 0 for partition, offset in mine.items()}
        found = read_letters({**self._servers, "group.id": self._group}, self._topic, self._since, self._ends, self._headers[0])
        self._known = {(each.topic, each.partition, each.offset): each for each in found if each.topic in self._read_from}
        self._forget(covered)
        return self._known

    @property
    def since(self) -> Mapping[snapshots.TopicPartition, int]:
        """Where the letters begin that the tables do not cover: a commit of the batch written last must say so."""
        return {(self._topic, partition): offset for partition, offset in self._since.items()}

    def write(self, letters: Sequence[DeadLetter], covered: Mapping[snapshots.TopicPartition, int]) -> int:
        """Write those that are not written yet; returns how many they were.

        Args:
            letters: what was put aside in a batch; every batch before is in the tables.
            covered: the next offset of each partition that the tables cover now.

        Raises:
            DeadLettersError: the transaction was given up.
            KafkaException: this writer is fenced, or cannot go on: begin again from the tables.
        """
        self._forget(covered)
        if not self._known:
            self._since = dict(self._ends)  # else letters before these are not covered yet: they begin where those do
        new = [letter for letter in letters if (letter.topic, letter.partition, letter.offset) not in self._known]
        if not new:
            return 0
        self._undelivered = None
        self._producer.begin_transaction()
        try:
            self._send(new)
        except KafkaException as error:
            if not error.args[0].txn_requires_abort():
                raise
            why = self._why(error)
            # A courtesy: the next session ends what is left. A broker that let no record in says there is no transaction to end.
            with contextlib.suppress(KafkaException, DeadLettersError):
                _retried(self._producer.abort_transaction, "abort_transaction", _always)
            # The transaction's own error says only that some were not delivered; theirs says why.
            why = self._undelivered or why
            raise DeadLettersError(f"deadLetterTopic: {self._topic!r} did not take {len(new)} records: {why}") from error
        return len(new)

    def _forget(self, covered: Mapping[snapshots.TopicPartition, int]) -> None:
        """Keep no letters of records that are covered."""
        self._known = {record: letter for record, letter in self._known.items() if record[2] >= covered.get(record[:2], 0)}

    def _why(self, error: KafkaException) -> KafkaException:
        """Tell what broke a transaction: a call that was on its way then fails with `_STATE` only, the next one with the cause."""
        if error.args[0].code() == KafkaError._STATE:  # noqa: SLF001 (the client's own name)
            try:
                self._producer.commit_transaction(_CALL_S)
            except KafkaException as cause:
                return cause
        return error

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        # What a failed transaction throws away says nothing of why it failed.
        if error is not None and error.code() not in _THROWN_AWAY:
            self._undelivered = self._undelivered or error
        partition, offset = message.partition(), message.offset()
        if error is None and partition is not None and offset is not None:
            self._ends[partition] = max(offset + 1, self._ends.get(partition, 0))

    def _send(self, letters: Sequence[DeadLetter]) -> None:
        for letter in letters:
            key = f"{letter.topic}-{letter.partition}-{letter.offset}"
            value = letter.model_dump_json().encode()
            while True:
                try:
                    self._producer.produce(self._topic, value, key, headers=self._headers, on_delivery=self._delivered)
                    break
                except BufferError:
                    self._producer.poll(0.1)
        _retried(self._producer.commit_transaction, "commit_transaction", _always)


def _always() -> bool:
    return True


def _retried(call: Callable[[float], object], name: str, going_on: Callable[[], bool]) -> None:
    """Call again while the client says that calling again resumes, up to a deadline."""
    deadline = time.monotonic() + _DEADLINE_S
    while True:
        try:
            call(_CALL_S)
        except KafkaException as error:
            if not error.args[0].retriable() and error.args[0].code() not in _PASSING:
                raise
            if time.monotonic() > deadline or not going_on():
                raise DeadLettersError(f"bootstrapServers: {name} got no answer: {error}") from error
        else:
            return
