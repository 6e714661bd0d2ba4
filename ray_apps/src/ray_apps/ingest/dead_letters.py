"""Records that fit no schema go to the dead-letter topic, each once.

A transaction writes them together with the offset up to which they are written, kept as the committed offset of a consumer
group that nobody is a member of (KIP-447), and, as that offset's metadata, where in the dead-letter topic they begin. A
restarted writer fences the older one and asks for both. Where letters are written of records that the tables do not cover,
the older writer died between the two: these letters are read again, and stay the verdict on their records. So a record that
would be judged otherwise today (the event gained a field, the catalogue an item) is still a row or a dead letter, never both.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
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
_MOST_METADATA = 4000  # a broker's offset.metadata.max.bytes is 4096
_CALL_S = 15.0
_LOOK_S = 3.0
_DEADLINE_S = 120.0
_THROWN_AWAY = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)  # noqa: SLF001 (the client's own names)
_PASSING = (
    KafkaError._TIMED_OUT,  # noqa: SLF001 (the client's own name)
    KafkaError._WAIT_COORD,  # noqa: SLF001 (the client's own name)
    KafkaError._TRANSPORT,  # noqa: SLF001 (the client's own name)
    KafkaError.UNSTABLE_OFFSET_COMMIT,
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
    """Group whose committed offsets say which dead letters are written."""
    return f"{names_prefix(job.model.namespace, job.model.name)}dead-letters"


def transactional_id(job: IngestJob) -> str:
    """Identity of the one writer of a model's dead letters."""
    return f"{names_prefix(job.model.namespace, job.model.name)}{job.model.uid[:8]}.dead-letters"


class DeadLetters:
    """The dead-letter topic's one writer. Not thread-safe."""

    def __init__(self, job: IngestJob, consumer: Consumer) -> None:
        """Call `fence` before anything else.

        Args:
            job: whose dead letters.
            consumer: a member of `group_id(job)` that never subscribes; it is not used after this.
        """
        self._topic = job.dead_letter_topic
        self._read_from = [each.topic for each in job.topics]
        self._headers: Any = [(CONSUMER_HEADER, consumer_name(job).encode())]
        self._group = group_id(job)
        # Taken here: a call on the consumer waits for the lock that the reading thread holds nearly all the time.
        self._membership = consumer.consumer_group_metadata()
        self._written: dict[snapshots.TopicPartition, int] | None = None
        self._undelivered: KafkaError | None = None
        self._since: dict[snapshots.TopicPartition, Positions] = {}
        self._known: dict[Record, DeadLetter] = {}
        self._ends: Positions | None = None
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

    def put_aside(self, covered: Mapping[snapshots.TopicPartition, int]) -> Mapping[Record, DeadLetter]:
        """Read the letters that are written of records which no table covers; call it after `fence`, before `write`.

        Args:
            covered: the next offset of each partition that the tables cover.

        Returns:
            The verdict on these records: whoever judges them again must come to the same one.

        Raises:
            DeadLettersError: they cannot be read within two minutes.
        """
        written, self._known = self._look_up(), {}
        ahead = [partition for partition, offset in written.items() if offset > covered.get(partition, 0)]
        if ahead:
            began = [self._since.get(partition, {}) for partition in ahead]
            common = (
                set[int]().union(*began).intersection(*began)
            )  # a dead-letter partition that one does not name is read from its beginning
            since = {partition: min(each[partition] for each in began) for partition in common}
            found = read_letters({**self._servers, "group.id": self._group}, self._admin, self._topic, since, self._headers[0])
            self._known = {
                (each.topic, each.partition, each.offset): each
                for each in found
                if each.offset >= covered.get((each.topic, each.partition), 0)
            }
        return self._known

    def write(self, letters: Sequence[DeadLetter], covered: Mapping[snapshots.TopicPartition, int] | None = None) -> int:
        """Write those that are not written yet; returns how many they were.

        Args:
            letters: what was put aside.
            covered: the next offset of each partition that the tables cover now.

        Raises:
            DeadLettersError: the transaction was given up.
            KafkaException: this writer is fenced, or cannot go on: begin again from the tables.
        """
        new = [letter for letter in letters if (letter.topic, letter.partition, letter.offset) not in self._known]
        if not new:
            return 0
        written = self._written if self._written is not None else self._look_up()
        if self._ends is None:
            self._ends = ends_of(self._admin, self._topic)
        ends: dict[snapshots.TopicPartition, int] = {}
        for letter in new:
            where = (letter.topic, letter.partition)
            ends[where] = max(letter.offset + 1, ends.get(where, 0), written.get(where, 0))
        for where in ends:
            if where not in self._since or written.get(where, 0) <= (covered or {}).get(where, 0):
                self._since[where] = dict(self._ends)  # else letters before these are not covered yet: they begin where those do
        self._undelivered = None
        self._producer.begin_transaction()
        try:
            self._send(new, ends)
        except KafkaException as error:
            if not error.args[0].txn_requires_abort():
                raise
            why = self._why(error)
            _retried(self._producer.abort_transaction, "abort_transaction", _always)
            # The transaction's own error says only that some were not delivered; theirs says why.
            why = self._undelivered or why
            raise DeadLettersError(f"deadLetterTopic: {self._topic!r} did not take {len(new)} records: {why}") from error
        self._written = written | ends
        return len(new)

    def _why(self, error: KafkaException) -> KafkaException:
        """Tell what broke a transaction: a call that was on its way then fails with `_STATE` only, the next one with the cause."""
        if error.args[0].code() == KafkaError._STATE:  # noqa: SLF001 (the client's own name)
            try:
                self._producer.commit_transaction(_CALL_S)
            except KafkaException as cause:
                return cause
        return error

    def _look_up(self) -> dict[snapshots.TopicPartition, int]:
        """Ask how far dead letters are written, and where they begin; after `fence` nobody else adds to them."""
        found: list[TopicPartition] = []

        def look(limit: float) -> None:
            # Not by an AdminClient: librdkafka 2.16 ends the process when such a one asks a coordinator that has just moved.
            # Only offsets of transactions that are done are told (KIP-447), because of the isolation level.
            settings = {"group.id": self._group, "enable.auto.commit": False, "isolation.level": "read_committed"}
            asker = Consumer(self._servers | settings)
            try:
                topics = asker.list_topics(timeout=limit).topics
                places = [TopicPartition(name, each) for name in self._read_from if name in topics for each in topics[name].partitions]
                found[:] = asker.committed(places, timeout=min(limit, _LOOK_S)) if places else []
            except KafkaException:
                _raise_refusal(asker)
                raise
            finally:
                asker.close()
            for place in found:
                if place.error:
                    raise KafkaException(place.error)

        _retried(look, "committed", _always)
        self._written = {(place.topic, place.partition): max(place.offset, 0) for place in found}
        self._since = {(place.topic, place.partition): _positions(place.metadata) for place in found}
        return self._written

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        # What a failed transaction throws away says nothing of why it failed.
        if error is not None and error.code() not in _THROWN_AWAY:
            self._undelivered = self._undelivered or error
        partition, offset = message.partition(), message.offset()
        if error is None and self._ends is not None and partition is not None and offset is not None:
            self._ends[partition] = max(offset + 1, self._ends.get(partition, 0))

    def _send(self, letters: Sequence[DeadLetter], ends: Mapping[snapshots.TopicPartition, int]) -> None:
        for letter in letters:
            key = f"{letter.topic}-{letter.partition}-{letter.offset}"
            value = letter.model_dump_json().encode()
            while True:
                try:
                    self._producer.produce(self._topic, value, key, headers=self._headers, on_delivery=self._delivered)
                    break
                except BufferError:
                    self._producer.poll(0.1)
        places = [TopicPartition(*where, offset, _metadata(self._since[where])) for where, offset in ends.items()]
        _retried(
            lambda limit: self._producer.send_offsets_to_transaction(places, self._membership, limit),
            "send_offsets_to_transaction",
            _always,
        )
        _retried(self._producer.commit_transaction, "commit_transaction", _always)


def _raise_refusal(consumer: Consumer) -> None:
    """A call that needs the group's coordinator only ends late where that is refused; why, the client tells by an event."""
    message = consumer.poll(0.1)
    error = message.error() if message is not None else None
    if error is not None and error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
        raise KafkaException(error)


def _metadata(positions: Positions) -> str:
    told = json.dumps({str(partition): offset for partition, offset in sorted(positions.items())}, separators=(",", ":"))
    return told if len(told) <= _MOST_METADATA else ""  # without any, the topic is read from its beginning


def _positions(metadata: str | None) -> Positions:
    try:
        return {int(partition): int(offset) for partition, offset in json.loads(metadata or "{}").items()}
    except (ValueError, AttributeError, TypeError):
        return {}


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
