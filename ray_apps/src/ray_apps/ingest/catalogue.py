"""Reads the catalogue, says how complete it is, and knows which items there are.

    python -m ray_apps.ingest.catalogue --uri file:///data/items.csv [--storage s3://bucket/model]

prints the report; with `--storage` also which items of the newest snapshot the catalogue does not have. Ends with 0 when every
row is an item and none is missing, with 1 when not, with 2 when it cannot be read.
"""

import argparse
import sys
import time
from collections.abc import Sequence

from ray_apps.stores.catalogue import Catalogue, CatalogueError, read_catalogue, stamp_of
from ray_apps.stores.objects import StorageError, Store, open_store
from ray_apps.stores.snapshots import open_snapshot
from recsys_schemas.catalogue import CATALOGUE_REPORT, MOST_NAMED, CatalogueReport, CatalogueToRead

LOOK_EVERY_S = 30.0


class CatalogueFile:
    """The catalogue as it is now: looked at every 30 seconds, and read again when it has changed. Not thread-safe."""

    def __init__(self, asked: CatalogueToRead, store: Store) -> None:
        """Read it, and leave the report in the model's store.

        Raises:
            CatalogueError: it cannot be read, and unknown items are to be put aside.
        """
        self._asked = asked
        self._store = store
        self._look_at = 0.0
        self.items: frozenset[str] | None = None
        """Items that are known; None when events of others are kept, or nothing can be said of them."""
        self._stamp: str | None = None
        self.follow(time.monotonic())

    def follow(self, now: float) -> None:
        """Look whether the file has changed, when it is time to; one that can no longer be read leaves the items as they were."""
        if now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY_S
        try:
            stamp = stamp_of(self._asked.uri)
            if stamp == self._stamp:
                return
            read = read_catalogue(self._asked.uri)
        except CatalogueError as error:
            self._stamp = None
            if self._asked.on_unknown_item == "DeadLetter" and self.items is None:
                raise
            self._tell(CatalogueReport(uri=self._asked.uri, stamp="", problem=str(error)))
            return
        self._stamp = stamp
        if self._asked.on_unknown_item == "DeadLetter":
            self.items = read.items
        self._tell(read.report)

    def _tell(self, report: CatalogueReport) -> None:
        self._store.write(CATALOGUE_REPORT, report.model_dump_json(indent=1).encode())


def compared(catalogue: Catalogue, store: Store) -> CatalogueReport:
    """Add which items of the newest snapshot's events the catalogue does not have.

    Raises:
        StorageError: there is no snapshot.
    """
    seen: set[str] = set()
    for dataset in open_snapshot(store).datasets.values():
        for batch in dataset.to_batches(columns=["item_id"]):
            seen.update(batch["item_id"].unique().to_pylist())
    missing = sorted(seen - catalogue.items)
    return catalogue.report.model_copy(update={"missing": len(missing), "missing_first": missing[:MOST_NAMED]})


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report; returns the exit status."""
    parser = argparse.ArgumentParser(prog="ray_apps.ingest.catalogue", description="Say how complete a catalogue is.")
    parser.add_argument("--uri", required=True, help="file:// or s3:// of a .csv or .parquet file")
    parser.add_argument("--storage", help="the model's storage URI: its newest snapshot is compared with the catalogue")
    asked = parser.parse_args(arguments)
    try:
        catalogue = read_catalogue(asked.uri)
        report = compared(catalogue, open_store(asked.storage)) if asked.storage else catalogue.report
    except (CatalogueError, StorageError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(report.model_dump_json(indent=1) + "\n")
    return 1 if report.refused or report.missing else 0


if __name__ == "__main__":
    sys.exit(main())
