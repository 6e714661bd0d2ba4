"""Reads the catalogue, says how complete it is, and knows which items there are.

    python -m ray_apps.ingest.catalogue --uri file:///data/items.csv [--storage s3://bucket/model]

prints the report; with `--storage` also which items of the newest snapshot the catalogue does not have. Ends with 0 when every
row is an item and none is missing, with 1 when not, with 2 when it cannot be read.
"""

import argparse
import csv
import io
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs
from pydantic import ValidationError

from ray_apps.stores.objects import StorageError, Store, open_store
from ray_apps.stores.snapshots import open_snapshot
from recsys_schemas.catalogue import CATALOGUE_REPORT, MOST_NAMED, CatalogueItem, CatalogueReport, CatalogueToRead, RefusedRow

MOST_BYTES = 512 << 20
LOOK_EVERY_S = 30.0
_COLUMNS = ("item_id", "title", "genres", "text")
_MEND = "put a .csv with a header, or a .parquet file there, with a column item_id"


class CatalogueError(Exception):
    """The catalogue cannot be read; the message names the field, what was seen and the mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """The items of one state of the file."""

    items: frozenset[str]
    report: CatalogueReport


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


def stamp_of(uri: str) -> str:
    """Time of the last change of a file, and its size.

    Raises:
        CatalogueError: there is no such file, or its place does not answer.
    """
    store, name = _place(uri)
    try:
        info = store.files.get_file_info(store.path(name))
    except OSError as error:
        raise CatalogueError(f"spec.data.catalogue.uri: {uri!r} does not answer ({error}); look at its store") from error
    if info.type != fs.FileType.File:
        raise CatalogueError(f"spec.data.catalogue.uri: {uri!r} is not there; {_MEND}")
    if (info.size or 0) > MOST_BYTES:
        raise CatalogueError(f"spec.data.catalogue.uri: {uri!r} has {info.size} bytes; at most {MOST_BYTES} fit")
    return f"{info.mtime_ns}-{info.size}"


def read_catalogue(uri: str) -> Catalogue:
    """Read a catalogue and judge each of its rows.

    Raises:
        CatalogueError: the whole of it cannot be read.
    """
    stamp = stamp_of(uri)
    store, name = _place(uri)
    try:
        data = store.read(name)
    except OSError as error:
        raise CatalogueError(f"spec.data.catalogue.uri: {uri!r} cannot be read ({error}); allow this user to read it") from error
    counts: Counter[str] = Counter()
    items: set[str] = set()
    refused: list[RefusedRow] = []
    for line, row in (_csv if name.endswith(".csv") else _parquet)(uri, data):
        item = _item(row, items) if isinstance(row, Mapping) else row
        if isinstance(item, str):
            counts["refused"] += 1
            if len(refused) < MOST_NAMED:
                refused.append(RefusedRow(line=line, reason=item))
            continue
        items.add(item.item_id)
        for field in ("title", "genres", "text"):
            counts[f"with_{field}"] += bool(getattr(item, field))
    told = {"uri": uri, "stamp": stamp, "items": len(items), "refused_first": refused, **counts}
    report = CatalogueReport.model_validate(told)
    return Catalogue(items=frozenset(items), report=report)


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


def _place(uri: str) -> tuple[Store, str]:
    folder, _, name = uri.rpartition("/")
    if not name.endswith((".csv", ".parquet")):
        raise CatalogueError(f"spec.data.catalogue.uri: {uri!r} ends in neither .csv nor .parquet; {_MEND}")
    try:
        return open_store(folder), name
    except StorageError as error:
        words = str(error).removeprefix("storageURI: ")
        raise CatalogueError(f"spec.data.catalogue.uri: {words}") from error


def _item(row: Mapping[str, Any], known: set[str]) -> CatalogueItem | str:
    """The row's item, or why it is none."""
    try:
        item = CatalogueItem.model_validate({name: row[name] for name in _COLUMNS if row.get(name) not in (None, "", [])})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}; seen {ascii(row.get(str(first['loc'][0])))[:100]}"
    return f"item_id: {item.item_id!a} is there before; give each item one row" if item.item_id in known else item


def _csv(uri: str, data: bytes) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CatalogueError(f"spec.data.catalogue.uri: {uri!r} is not UTF-8 at line {line}; write it as UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(uri, header)
        line = reader.line_num + 1
        for cells in reader:
            if len(cells) == len(header):
                row: dict[str, Any] = dict(zip(header, cells, strict=True))
                row["genres"] = [genre.strip() for genre in (row.get("genres") or "").split("|") if genre.strip()]
                yield line, row
            elif cells:
                yield line, f"row: {len(cells)} cells, and the header has {len(header)}; quote cells that hold a comma"
            line = reader.line_num + 1
    except csv.Error as error:
        raise CatalogueError(f"spec.data.catalogue.uri: {uri!r} is no CSV at line {reader.line_num}: {error}") from error


def _parquet(uri: str, data: bytes) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        _check_header(uri, file.schema_arrow.names)
        columns = [name for name in _COLUMNS if name in file.schema_arrow.names]
        row = 0
        for batch in file.iter_batches(columns=columns):
            for each in batch.to_pylist():
                row += 1
                yield row, each
    except pa.ArrowException as error:
        raise CatalogueError(f"spec.data.catalogue.uri: {uri!r} is no Parquet file ({error}); write it anew") from error


def _check_header(uri: str, names: Sequence[str]) -> None:
    if "item_id" not in names:
        seen = ", ".join(names[:20]) or "nothing"
        raise CatalogueError(f"spec.data.catalogue.uri: {uri!r} has no column item_id, seen {seen[:200]}; name the column of ids so")


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
