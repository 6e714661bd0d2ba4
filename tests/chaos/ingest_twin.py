"""A broken twin of the consumer: it stores its offsets by themselves, before the data are visible. Only tests run it."""

import json
import sys
from collections.abc import Callable, Mapping

from ray_apps.ingest import work
from ray_apps.ingest.commits import Written
from ray_apps.ingest.consumer import main
from ray_apps.ingest.publishing import Committed, Publisher
from ray_apps.stores.snapshots import TopicPartition

OFFSETS = "offsets.json"


class CommitBeforePublish(Publisher):
    """What a consumer with committed offsets of its own does: a kill in between loses a batch."""

    @property
    def positions(self) -> dict[TopicPartition, int]:
        if not self._store.exists(OFFSETS):
            return {}
        return {(topic, partition): offset for topic, partition, offset in json.loads(self._store.read(OFFSETS))}

    def publish(self, written: Written, event_types: Mapping[str, str], on_commit: Callable[[Committed], None]) -> None:
        offsets = [[topic, partition, offset] for (topic, partition), offset in written.offsets.items()]
        self._store.write(OFFSETS, json.dumps(offsets).encode())
        super().publish(written, event_types, on_commit)

    def _check_starts(self, written: Written) -> None:
        """Its positions are those of this very batch by now: it has nothing left to compare with."""


if __name__ == "__main__":
    work.Publisher = CommitBeforePublish
    sys.exit(main())
