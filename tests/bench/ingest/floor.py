"""The floor: reading, native decoding and Parquet, without a single check. `python -m bench.ingest.floor SERVERS TOPIC EVENTS FOLDER`.

It keeps no order, no offsets and no dead letters, looks at no key, bound or repeat, flushes nothing and commits nothing: values that do not
end as an object are dropped, so that the decoder does not stop at them.
"""

import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.json as pj
import pyarrow.parquet as pq

from bench.ingest.bare import polls, reader
from bench.ingest.measured import Cost, Measured
from bench.ingest.ours import ROLL_RECORDS
from bench.ingest.topics import bad_of
from ray_apps.ingest.columns import event_columns
from ray_apps.ingest.files import encoding
from recsys_schemas.event_fields import EVENTS

_BLOCK_BYTES = 64 << 20


def read(servers: str, topic: str, events: int, folder: Path) -> None:
    """Read a topic to its end into Parquet files."""
    consumer, began = reader(servers, topic), time.monotonic()
    parse = pj.ParseOptions(explicit_schema=event_columns(EVENTS["watch"]), unexpected_field_behavior="error")
    whole = pj.ReadOptions(block_size=_BLOCK_BYTES)
    tables: list[pa.Table] = []
    rows = 0
    for some in polls(consumer, events):
        text = b"\n".join([value for value in (message.value() for message in some) if value is not None and value.endswith(b"}")])
        if text:
            tables.append(pj.read_json(pa.BufferReader(text), whole, parse))
        if sum(table.num_rows for table in tables) >= ROLL_RECORDS:
            rows += _write(tables, folder)
    rows += _write(tables, folder)
    sys.stdout.write(f"{time.monotonic() - began} {rows}\n")
    consumer.close()


def _write(tables: list[pa.Table], folder: Path) -> int:
    if not tables:
        return 0
    table = pa.concat_tables(tables)
    pq.write_table(table, folder / f"{time.monotonic_ns()}.parquet", **encoding(table.column_names))
    tables.clear()
    return table.num_rows


def catch_up(servers: str, topic: str, events: int, folder: Path) -> Cost:
    """Read the whole topic in a process of its own."""
    with Measured([sys.executable, "-m", "bench.ingest.floor", servers, topic, str(events), folder], folder / "floor.log") as child:
        cost = child.end(0.0)
        seconds, rows = child.log.read_text().split()
    if int(rows) != events - bad_of(events):
        raise RuntimeError(f"the floor wrote {rows} rows of {events - bad_of(events)}")
    return Cost(seconds=float(seconds), cpu_s=cost.cpu_s, peak_mib=cost.peak_mib)


if __name__ == "__main__":
    read(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
