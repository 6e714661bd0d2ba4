"""Is a snapshot, with its dead letters, the topic's committed records, each exactly once? Reads everything and compares.

    python -m ray_apps.ingest.verify --job '<IngestJob as JSON>' [--sequence N]

Ends with 0 when it is, with 1 when it is not.
"""

import argparse
import hashlib
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from ray_apps.ingest.dead_letters import CONSUMER_HEADER, consumer_name, group_id
from ray_apps.ingest.letters_read import FETCH_WAIT_MS, ends_of
from ray_apps.stores import snapshots
from ray_apps.stores.objects import Store, open_store
from ray_apps.stores.secrets import connection_settings
from recsys_schemas.events import DeadLetter
from recsys_schemas.train_job import IngestJob

_DEADLINE_S = 300.0
_MARKED_S = 60.0
"""Brokers say yes to the end of a transaction first, and mark it in its partitions a moment later."""
_LOOK_S = 0.1

Place = tuple[str, int, int]
"""Topic, partition, offset."""
Digests = tuple[int, str]
"""CRC-32 and SHA-256 of a raw value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a comparison found; all of the last five are 0 when the snapshot is exact."""

    sequence: int
    records: int
    """Committed records that the snapshot covers."""
    rows: int
    dead_letters: int
    uncovered: int
    """Committed records that it does not cover yet."""
    missing: int
    repeated: int
    altered: int
    """Rows or dead letters made from other bytes than the record's."""
    unknown: int
    """Rows or dead letters of no committed record: aborted ones, for instance."""
    miscounted: int
    """Differences between the manifest's own counts and what is there."""
    expired: int = 0
    """Rows and dead letters of records that the topic itself does not keep any more: there is nothing to compare them with."""

    @property
    def exact(self) -> bool:
        """Whether snapshot ∪ dead letters = the covered records, once each."""
        return not (self.missing or self.repeated or self.altered or self.unknown or self.miscounted)


def verify(store: Store, job: IngestJob, sequence: int | None = None) -> Verification:
    """Compare a snapshot (the newest when no number is given) with the topics and the dead-letter topic.

    Dead letters that a snapshot counts may stand in a transaction whose end is not marked yet: then they are waited for.

    Raises:
        StorageError: there is no such snapshot.
        KafkaException: a topic cannot be read.
    """
    snapshot = snapshots.open_snapshot(store, sequence)
    topics = [each.topic for each in job.topics]
    records = {place: (zlib.crc32(value), hashlib.sha256(value).hexdigest()) for place, value, _ in _committed(job, topics)}
    upto = {(each.topic, each.partition): each.next_offset for each in snapshot.manifest.offsets}
    covered = _covered_letters(job, upto, snapshot.manifest.dead_letters)
    rows = [row for event_type in snapshot.datasets for row in _rows(snapshot, event_type)]
    first = _first_offsets(job, topics)
    left = [row for row in rows if row[0][2] >= first.get(row[0][:2], 0)]
    records = {place: digests for place, digests in records.items() if place[2] >= first.get(place[:2], 0)}
    left_letters = [letter for letter in covered if letter.offset >= first.get((letter.topic, letter.partition), 0)]
    gone, gone_letters = len(rows) - len(left), len(covered) - len(left_letters)
    found = compare(
        records=records,
        upto=upto,
        rows=left,
        letters=left_letters,
        sequence=snapshot.manifest.sequence,
        counts=(snapshot.manifest.all_rows - gone, snapshot.manifest.dead_letters - gone_letters),
    )
    return replace(found, expired=gone + gone_letters)


def _covered_letters(job: IngestJob, upto: Mapping[tuple[str, int], int], counted: int) -> list[DeadLetter]:
    """Read this consumer's dead letters that a snapshot covers; again while there are fewer than it counts, and more may show."""
    ours, deadline = consumer_name(job).encode(), time.monotonic() + _MARKED_S
    while True:
        at = dict[tuple[str, int], int]()
        written = _committed(job, [job.dead_letter_topic], at)
        letters = [DeadLetter.model_validate_json(value) for _, value, whose in written if whose == ours]
        covered = [letter for letter in letters if letter.offset < upto.get((letter.topic, letter.partition), 0)]
        if len(covered) >= counted or time.monotonic() > deadline or _read_whole(job, at):
            return covered
        time.sleep(_LOOK_S)


def _read_whole(job: IngestJob, at: Mapping[tuple[str, int], int]) -> bool:
    """Whether nothing stands behind where reading has ended: neither a transaction that is open nor one whose end is not marked yet."""
    settings: dict[str, Any] = {**connection_settings(job.bootstrap_servers, job.kafka_security)}
    ends = ends_of(AdminClient(settings), job.dead_letter_topic)
    return all(at.get((job.dead_letter_topic, partition), 0) >= end for partition, end in ends.items())


def _first_offsets(job: IngestJob, topics: Sequence[str]) -> dict[tuple[str, int], int]:
    """Return the first offset that each partition still has."""
    consumer = Consumer({**connection_settings(job.bootstrap_servers, job.kafka_security), "group.id": group_id(job)})
    try:
        places = [
            (topic, partition) for topic in topics for partition in consumer.list_topics(topic, timeout=30.0).topics[topic].partitions
        ]
        return {place: consumer.get_watermark_offsets(TopicPartition(*place), timeout=30.0)[0] for place in places}
    finally:
        consumer.close()


def compare(  # noqa: PLR0913 (each is one side of the comparison)
    *,
    records: Mapping[Place, Digests],
    upto: Mapping[tuple[str, int], int],
    rows: Sequence[tuple[Place, int]],
    letters: Sequence[DeadLetter],
    sequence: int,
    counts: tuple[int, int],
) -> Verification:
    """Compare as multisets.

    Args:
        records: every committed record.
        upto: the next offset that the snapshot covers, by partition.
        rows: place and CRC-32 of each row.
        letters: the dead letters below those offsets.
        sequence: the snapshot's number.
        counts: rows and dead letters by the manifest's own account.
    """
    expected = {place for place in records if place[2] < upto.get(place[:2], 0)}
    found = Counter([place for place, _ in rows] + [(letter.topic, letter.partition, letter.offset) for letter in letters])
    altered = sum(records[place][0] != crc for place, crc in rows if place in records)
    altered += sum(records.get(_place(letter), (0, ""))[1] != letter.payload_sha256 for letter in letters if _place(letter) in records)
    return Verification(
        sequence=sequence,
        records=len(expected),
        rows=len(rows),
        dead_letters=len(letters),
        uncovered=len(records) - len(expected),
        missing=len(expected - found.keys()),
        repeated=sum(count - 1 for count in found.values()),
        altered=altered,
        unknown=len(found.keys() - expected),
        miscounted=abs(counts[0] - len(rows)) + abs(counts[1] - len(letters)),
    )


def _place(letter: DeadLetter) -> Place:
    return (letter.topic, letter.partition, letter.offset)


def _rows(snapshot: snapshots.Snapshot, event_type: str) -> Iterator[tuple[Place, int]]:
    names = [snapshots.TOPIC, snapshots.PARTITION, snapshots.OFFSET, snapshots.PAYLOAD_CRC32]
    found = snapshot.rows(event_type, names)
    for topic, partition, offset, crc in zip(*(found[name].to_pylist() for name in names), strict=True):
        yield (topic, partition, offset), crc


def _committed(
    job: IngestJob, topics: Sequence[str], at: dict[tuple[str, int], int] | None = None
) -> Iterator[tuple[Place, bytes, bytes | None]]:
    """Read the place, value and consumer header of every committed record of some topics; a tombstone is an empty value.

    Where reading has ended, by partition, is left in `at`.
    """
    consumer = Consumer(
        {
            **connection_settings(job.bootstrap_servers, job.kafka_security),
            "group.id": group_id(job),  # asked for by the client; nothing is committed to it
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": FETCH_WAIT_MS,
        }
    )
    try:
        places = [
            TopicPartition(topic, partition, 0)
            for topic in topics
            for partition in consumer.list_topics(topic, timeout=30.0).topics[topic].partitions
        ]
        consumer.assign(places)
        left, deadline = {(place.topic, place.partition) for place in places}, time.monotonic() + _DEADLINE_S
        while left:
            if time.monotonic() > deadline:
                raise TimeoutError(f"topics: {sorted(left)} not read to their end within {_DEADLINE_S:g} s; look at the brokers")
            for message in consumer.consume(10_000, 0.05):
                error, partition = message.error(), (message.topic() or "", message.partition() or 0)
                if error is None:
                    headers: Any = dict(message.headers() or [])
                    yield (*partition, message.offset() or 0), message.value() or b"", headers.get(CONSUMER_HEADER)
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 (the client's own name)
                    left.discard(partition)
                    if at is not None:
                        at[partition] = message.offset() or 0
                else:
                    raise KafkaException(error)
    finally:
        consumer.close()


def main() -> int:
    """Verify and print what was found; returns the exit status."""
    parser = argparse.ArgumentParser(prog="ray_apps.ingest.verify", description="Compare a snapshot with its topics.")
    parser.add_argument("--job", required=True, help="the IngestJob as JSON")
    parser.add_argument("--sequence", type=int, help="which snapshot; the newest when not given")
    asked = parser.parse_args()
    job = IngestJob.model_validate_json(asked.job)
    found = verify(open_store(job.storage_uri), job, asked.sequence)
    sys.stdout.write("".join(f"{name:<14}{value}\n" for name, value in asdict(found).items()))
    sys.stdout.write("exact\n" if found.exact else "NOT EXACT\n")
    return 0 if found.exact else 1


if __name__ == "__main__":
    sys.exit(main())
