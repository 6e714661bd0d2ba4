"""What the brokers say of the line's topics: replication, how much is on them, and how soon a snapshot covers it."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource  # pyright: ignore[reportPrivateImportUsage] - public by its documentation

from recsys_dev.errors import Unmet
from recsys_schemas.events import ResponseEvent
from recsys_schemas.snapshot import MANIFEST_FOLDER, SnapshotManifest

CALL_DEADLINE_S = 60.0
MOST_MARKS = 5000
_quiet = logging.getLogger("recsys_dev.topics")


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSeen:
    """One topic as the brokers describe it."""

    name: str
    partitions: int
    replicas: int
    """The least of all partitions."""
    in_sync: int
    """The least of all partitions."""
    min_in_sync: int


class Topics:
    """Asks the brokers; nothing here joins a group or commits."""

    def __init__(self, bootstrap_servers: str) -> None:
        """Connect at the first question."""
        _quiet.setLevel(logging.CRITICAL)
        self._admin = AdminClient({"bootstrap.servers": bootstrap_servers}, logger=_quiet)
        self._consumer = Consumer(
            {"bootstrap.servers": bootstrap_servers, "group.id": "recsys-demo-looks", "enable.auto.commit": False}, logger=_quiet
        )

    def describe(self, names: Sequence[str]) -> list[TopicSeen]:
        """The topics, in the order asked.

        Raises:
            Unmet: one of them is not there.
        """
        known = self._admin.list_topics(timeout=CALL_DEADLINE_S).topics
        missing = [name for name in names if name not in known]
        if missing:
            raise Unmet(f"topics {', '.join(missing)}", "the brokers do not have them", "See the model's TopicsReady condition.")
        resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
        configs = self._admin.describe_configs(resources, request_timeout=CALL_DEADLINE_S)
        least = {resource.name: int(answer.result()["min.insync.replicas"].value) for resource, answer in configs.items()}
        return [
            TopicSeen(
                name=name,
                partitions=len(known[name].partitions),
                replicas=min(len(partition.replicas) for partition in known[name].partitions.values()),
                in_sync=min(len(partition.isrs) for partition in known[name].partitions.values()),
                min_in_sync=least[name],
            )
            for name in names
        ]

    def ends(self, topic: str) -> dict[int, int]:
        """Partition → the offset that the next record gets."""
        partitions = self._admin.list_topics(topic, timeout=CALL_DEADLINE_S).topics[topic].partitions
        return {
            number: self._consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=CALL_DEADLINE_S)[1] for number in partitions
        }

    def count(self, topic: str) -> int:
        """Offsets used so far, over all partitions."""
        return sum(self.ends(topic).values())

    def last_answer(self, topic: str) -> ResponseEvent | None:
        """The newest answer on the responses' topic; None when there is none."""
        for number, end in sorted(self.ends(topic).items(), key=lambda pair: -pair[1]):
            if end == 0:
                continue
            self._consumer.assign([TopicPartition(topic, number, end - 1)])
            message = self._consumer.poll(CALL_DEADLINE_S)
            self._consumer.unassign()
            value = message.value() if message is not None and message.error() is None else None
            if value is not None:
                return ResponseEvent.model_validate_json(value)
        return None

    def close(self) -> None:
        """Let the connections go."""
        self._consumer.close()


@dataclass(slots=True, kw_only=True)
class LagMarks:
    """How long an event waits for its snapshot: how much was on the topics when, against what each manifest covers since when."""

    topics: Topics
    names: tuple[str, ...]
    marks: list[tuple[datetime, int]] = field(default_factory=list[tuple[datetime, int]])

    def mark(self) -> None:
        """Note how much is on the topics now."""
        if len(self.marks) < MOST_MARKS:
            count = sum(self.topics.count(name) for name in self.names)
            self.marks.append((datetime.now(UTC), count))

    def lags(self, manifests: Iterable[SnapshotManifest]) -> list[float]:
        """Seconds from each mark until the first manifest that covers all that was there."""
        covered = sorted((m.committed_at, sum(o.next_offset for o in m.offsets if o.topic in self.names)) for m in manifests)
        found: list[float] = []
        for when, count in self.marks:
            later = next((at for at, offsets in covered if offsets >= count), None)
            if later is not None:
                # Already covered at the time of the mark: nothing new had come.
                found.append(max(0.0, (later - when).total_seconds()))
        return found


def manifests(storage: Path) -> list[SnapshotManifest]:
    """Every manifest below a model's storage folder, oldest first; none when there is no folder yet."""
    files = sorted(path for path in (storage / MANIFEST_FOLDER).glob("*.json") if path.stem.isdigit())
    return [SnapshotManifest.model_validate_json(path.read_bytes()) for path in files]
