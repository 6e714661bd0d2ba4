"""The catalogue as a file: which items there are, what is known of them, and why a row is none.

A CSV with a header or a Parquet file, read whole and judged row by row. Ingest reads it to know the items, training to learn from
what is said of them.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs
from pydantic import ValidationError

from ray_apps.stores.objects import StorageError, Store, open_store
from recsys_schemas.catalogue import MOST_NAMED, CatalogueItem, CatalogueReport, RefusedRow

MOST_BYTES = 512 << 20
_COLUMNS = ("item_id", "title", "genres", "text", "category", "tags", "released_at")
_LISTS = ("genres", "tags")
_MEND = "put a .csv with a header, or a .parquet file there, with a column item_id"


class CatalogueError(Exception):
    """The catalogue cannot be read; the message names the field, what was seen and the mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """The items of one state of the file."""

    items: frozenset[str]
    report: CatalogueReport


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


def catalogue_bytes(uri: str) -> bytes:
    """The file as it is.

    Raises:
        CatalogueError: it is not there, too large, or may not be read.
    """
    stamp_of(uri)
    store, name = _place(uri)
    try:
        return store.read(name)
    except OSError as error:
        raise CatalogueError(f"spec.data.catalogue.uri: {uri!r} cannot be read ({error}); allow this user to read it") from error


def rows_of(uri: str, data: bytes) -> Iterator[tuple[int, CatalogueItem | str]]:
    """Each row with its line: the item, or why it is none. The first row of an item id counts.

    Raises:
        CatalogueError: the whole of it is no catalogue.
    """
    known: set[str] = set()
    for line, row in (_csv if uri.endswith(".csv") else _parquet)(uri, data):
        item = _item(row, known) if isinstance(row, Mapping) else row
        if isinstance(item, CatalogueItem):
            known.add(item.item_id)
        yield line, item


def read_catalogue(uri: str) -> Catalogue:
    """Read a catalogue and judge each of its rows.

    Raises:
        CatalogueError: the whole of it cannot be read.
    """
    stamp = stamp_of(uri)
    counts: Counter[str] = Counter()
    items: set[str] = set()
    refused: list[RefusedRow] = []
    for line, item in rows_of(uri, catalogue_bytes(uri)):
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
        told = {name: row[name] for name in _COLUMNS if row.get(name) not in (None, "", [])}
        if "released_at" in told:
            told["released_at"] = _moment(told["released_at"])
        item = CatalogueItem.model_validate(told)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}; seen {ascii(row.get(str(first['loc'][0])))[:100]}"
    return f"item_id: {item.item_id!a} is there before; give each item one row" if item.item_id in known else item


def _moment(told: object) -> object:
    """Milliseconds since the epoch of a date or a time, UTC where no zone is named; what is neither stays as it is, to be refused."""
    if isinstance(told, str) and not told.strip().isdigit():
        try:
            told = datetime.fromisoformat(told.strip())
        except ValueError:
            return told
    if isinstance(told, date) and not isinstance(told, datetime):
        told = datetime(told.year, told.month, told.day, tzinfo=UTC)
    if isinstance(told, datetime):
        return int((told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp() * 1000)
    return told


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
                for name in _LISTS:
                    row[name] = [word.strip() for word in (row.get(name) or "").split("|") if word.strip()]
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
