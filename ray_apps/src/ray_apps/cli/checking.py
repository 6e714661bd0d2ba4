"""`recsys snapshots verify`: is a snapshot what it says, file by file, and is it the topic's records, each once?"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import sha256

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ray_apps.cli.text import table, tell, tell_json
from ray_apps.ingest.verify import Verification, verify
from ray_apps.stores.objects import Store
from ray_apps.stores.snapshots import OFFSET, PARTITION, TOPIC, TableFile, files_of, read_manifest
from recsys_schemas.snapshot import SnapshotManifest
from recsys_schemas.train_job import IngestJob

_READERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSeen:
    """One file as it was found."""

    path: str
    size: int
    rows: int
    sha256: str
    """Of its bytes; empty when it could not be read."""
    trouble: str
    """What is wrong with it; empty when nothing is."""
    beyond: int
    """Rows at offsets that the snapshot does not cover."""


def check(store: Store, sequence: int | None, job: IngestJob | None, *, as_json: bool) -> int:
    """Read every file of a snapshot and, with a job, compare it with the topics; 1 when something is not as it should be.

    Raises:
        StorageError: there is no such snapshot.
        KafkaException: a topic cannot be read.
    """
    manifest = read_manifest(store, sequence)
    seen = list(look(store, manifest))
    wrong = [file for file in seen if file.trouble]
    counted = sum(file.rows for file in seen) == manifest.all_rows
    compared = verify(store, job, manifest.sequence) if job else None
    good = not wrong and counted and (compared is None or compared.exact)
    if as_json:
        facts = {"sequence": manifest.sequence, "good": good, "rows": manifest.all_rows, "files": [asdict(file) for file in seen]}
        tell_json(facts | {"topics": asdict(compared) | {"exact": compared.exact} if compared else None})
        return 0 if good else 1
    tell(f"snapshot {manifest.sequence} of {store.uri}")
    tell(f"files     {len(seen)} read to the end, {len(wrong)} not as they should be")
    tell(f"rows      {sum(file.rows for file in seen)} in the files, {manifest.all_rows} by the manifest")
    if wrong:
        tell(table(("FILE", "TROUBLE"), ((file.path, file.trouble) for file in wrong)))
    _tell_topics(compared)
    tell("exact" if good and compared else "as the manifest says" if good else "NOT EXACT")
    return 0 if good else 1


def _tell_topics(compared: Verification | None) -> None:
    if compared is None:
        tell("topics    not compared: name the brokers' job with --job, or ask `kubectl recsys snapshots verify MODEL`")
        return
    parts = ("missing", "repeated", "altered", "unknown", "miscounted")
    faults = ", ".join(f"{getattr(compared, name)} {name}" for name in parts)
    tell(f"topics    {compared.records} committed records covered: {compared.rows} rows and {compared.dead_letters} dead letters; {faults}")
    tell(f"          {compared.uncovered} records not covered yet; {compared.expired} older than what the topics keep")


def look(store: Store, manifest: SnapshotManifest) -> Iterator[FileSeen]:
    """Read each file of a snapshot whole: size and rows as the log says, page checksums, offsets that the snapshot covers."""
    upto = {(each.topic, each.partition): each.next_offset for each in manifest.offsets}
    files = [file for each in manifest.tables for file in files_of(store, each)]
    with ThreadPoolExecutor(_READERS) as readers:
        yield from readers.map(lambda file: _look(store, file, upto), files)


def _look(store: Store, file: TableFile, upto: dict[tuple[str, int], int]) -> FileSeen:
    try:
        data = store.read(file.path)
        found = pq.read_table(pa.BufferReader(data), page_checksum_verification=True)
    except FileNotFoundError:
        return FileSeen(path=file.path, size=0, rows=0, sha256="", trouble="missing", beyond=0)
    except (OSError, pa.ArrowException) as error:
        return FileSeen(
            path=file.path, size=0, rows=0, sha256="", trouble=f"cannot be read: {' '.join(str(error).split())[:200]}", beyond=0
        )
    beyond = _beyond(found, upto)
    faults = [
        *([f"{len(data)} bytes, {file.size} by the log"] if len(data) != file.size else []),
        *([f"{found.num_rows} rows, {file.rows} by the log"] if found.num_rows != file.rows else []),
        *([f"{beyond} rows at offsets that the snapshot does not cover"] if beyond else []),
    ]
    return FileSeen(
        path=file.path, size=len(data), rows=found.num_rows, sha256=sha256(data).hexdigest(), trouble="; ".join(faults), beyond=beyond
    )


def _beyond(found: pa.Table, upto: dict[tuple[str, int], int]) -> int:
    most = found.group_by([TOPIC, PARTITION]).aggregate([(OFFSET, "max")]).to_pylist()
    late = [each for each in most if each[f"{OFFSET}_max"] >= upto.get((each[TOPIC], each[PARTITION]), 0)]
    count = 0
    for each in late:
        chosen = pc.and_(pc.equal(found[TOPIC], each[TOPIC]), pc.equal(found[PARTITION], each[PARTITION]))
        count += int(pc.sum(pc.and_(chosen, pc.greater_equal(found[OFFSET], upto.get((each[TOPIC], each[PARTITION]), 0)))).as_py() or 0)
    return count
