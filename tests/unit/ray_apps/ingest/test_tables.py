"""Tables on a real folder: one writer at a time, offsets and rows in one commit, columns that only grow."""

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, Field
from deltalake.schema import PrimitiveType

from ray_apps.ingest.columns import table_schema
from ray_apps.ingest.files import write_rows
from ray_apps.ingest.tables import Covered, EventTable, FencedError, RefusedError
from ray_apps.stores.objects import Store, open_store
from ray_apps.stores.snapshots import latest_manifest, manifest_of, open_snapshot, open_table_version, read_state, write_manifest

WHO = "demo.movies"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"file://{tmp_path}/store")


def claim(store: Store, cluster: str = "kafka-a", held: int | None = None) -> EventTable:
    return EventTable.claim(store, "watch", consumer=WHO, topics=["watch"], dead_letter_topic="dead", cluster_id=cluster, held=held)


def rows(first: int, count: int) -> pa.RecordBatch:
    made = [
        {
            "event_id": f"e{offset}",
            "user_id": "u",
            "item_id": "i",
            "timestamp": 1,
            "fraction": 1.0,
            "request_id": None,
            "_topic": "watch",
            "_partition": 0,
            "_offset": offset,
            "_timestamp": 1000 + offset,
            "_payload_crc32": offset,
        }
        for offset in range(first, first + count)
    ]
    return pa.RecordBatch.from_pylist(made, schema=table_schema("watch"))


def publish(store: Store, table: EventTable, first: int, count: int, dead: int = 0) -> None:
    file = write_rows(store, "watch", [rows(first, count)], 1_700_000_000.0) if count else None
    table.publish(file, Covered(offsets={("watch", 0): first + count + dead, ("watch", 1): 0}, dead_letters=dead, newest_ms=1000 + first))


def test_a_new_table_covers_nothing(store: Store) -> None:
    table = claim(store)
    assert (table.state.rows, dict(table.state.offsets), table.state.dead_letters) == (0, {}, 0)


def test_rows_and_the_offsets_that_they_cover_become_visible_together(store: Store) -> None:
    table = claim(store)
    publish(store, table, 0, 5)
    again = claim(store).state
    assert again.rows == 5
    assert again.offsets == {("watch", 0): 5, ("watch", 1): 0}


def test_a_file_that_was_not_committed_is_not_in_the_table(store: Store) -> None:
    table = claim(store)
    publish(store, table, 0, 5)
    write_rows(store, "watch", [rows(5, 5)], 1_700_000_001.0)
    assert claim(store).state.rows == 5


def test_dead_letters_alone_move_the_offsets_and_are_counted(store: Store) -> None:
    table = claim(store)
    publish(store, table, 0, 0, dead=7)
    publish(store, table, 7, 2, dead=1)
    state = claim(store).state
    assert (state.rows, state.dead_letters, state.offsets["watch", 0]) == (2, 8, 10)


def test_an_older_writer_is_refused_once_another_one_claimed_the_table(store: Store) -> None:
    older = claim(store)
    publish(store, older, 0, 5)
    newer = claim(store)
    with pytest.raises(FencedError, match="writer 2 has taken over from writer 1"):
        publish(store, older, 5, 5)
    publish(store, newer, 5, 5)
    state = claim(store).state
    assert (state.rows, state.offsets["watch", 0]) == (10, 10)


def test_an_older_writer_stays_refused_after_it_looked_at_the_table_again(store: Store) -> None:
    older = claim(store)
    claim(store)
    with pytest.raises(FencedError):
        older.check_claim()
    with pytest.raises(FencedError):
        publish(store, older, 0, 5)
    assert claim(store).state.rows == 0


def test_a_writer_that_begins_again_replaces_its_own_claim_and_no_other(store: Store) -> None:
    first = claim(store)
    again = claim(store, held=first.writer)
    assert again.writer == first.writer + 1
    with pytest.raises(FencedError, match="writer 2 has taken over from writer 1"):
        claim(store, held=first.writer)
    publish(store, again, 0, 5)
    assert claim(store).state.rows == 5


def test_compaction_by_another_process_neither_fences_nor_loses(store: Store) -> None:
    table = claim(store)
    publish(store, table, 0, 5)
    publish(store, table, 5, 5)
    DeltaTable(f"{store.uri}/watch").optimize.compact()
    publish(store, table, 10, 5)
    state = claim(store).state
    assert (state.rows, state.offsets["watch", 0]) == (15, 15)


def test_the_state_kept_while_writing_is_the_state_that_a_reader_finds(store: Store) -> None:
    table = claim(store)
    for turn in range(3):
        publish(store, table, turn * 4, 3, dead=1)
    found = read_state(DeltaTable(f"{store.uri}/watch"), "watch", consumer=WHO, topics=["watch"], dead_letter_topic="dead")
    assert found == table.state


def test_a_table_of_another_kafka_cluster_is_refused(store: Store) -> None:
    claim(store)
    with pytest.raises(RefusedError, match=r"'kafka-a'.*'kafka-b'.*storageURI of its own"):
        claim(store, cluster="kafka-b")


def test_a_commit_moves_the_partitions_that_it_names_and_leaves_the_others_where_they_are(store: Store) -> None:
    table = claim(store)
    table.publish(None, Covered(offsets={("watch", 0): 4, ("watch", 3): 1}, dead_letters=5, newest_ms=1))
    table.publish(None, Covered(offsets={("watch", 1): 2}, dead_letters=2, newest_ms=1))
    assert claim(store).state.offsets == {("watch", 0): 4, ("watch", 1): 2, ("watch", 2): 0, ("watch", 3): 1}


def test_two_files_of_one_moment_get_two_names(store: Store) -> None:
    names = {write_rows(store, "watch", [rows(0, 2)], 1_700_000_000.0).path for _ in range(3)}
    assert names == {f"2023-11-14/170000000000000{index}_2_events.parquet" for index in range(3)}
    assert not [name for name in store.names("watch") if name.endswith(".partial")]


def test_a_column_that_the_event_gained_is_added_and_reads_as_null_in_older_rows(store: Store) -> None:
    narrow = pa.schema([column for column in table_schema("watch") if column.name != "request_id"])
    DeltaTable.create(f"{store.uri}/watch", narrow, configuration={"recsys.clusterId": "kafka-a"}, raise_if_key_not_exists=False)
    table = claim(store)
    publish(store, table, 0, 2)
    found = open_table_version(store, "watch", table.state.version).to_table()
    assert found["request_id"].to_pylist() == [None, None]


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pa.field("mood", pa.string()), r"watch\.mood: the table has this column and the schema has not"),
        (pa.field("fraction", pa.int64(), nullable=False), r"watch\.fraction: int64 in the table, double in the schema"),
    ],
)
def test_a_narrowing_is_refused_with_the_fields_name(store: Store, column: pa.Field, words: str) -> None:
    columns = [each for each in table_schema("watch") if each.name != column.name]
    DeltaTable.create(
        f"{store.uri}/watch",
        pa.schema([*columns, column]),
        configuration={"recsys.clusterId": "kafka-a"},
        raise_if_key_not_exists=False,
    )
    with pytest.raises(RefusedError, match=words):
        claim(store)


def test_a_column_added_by_hand_is_refused_until_the_schema_has_it(store: Store) -> None:
    claim(store)
    DeltaTable(f"{store.uri}/watch").alter.add_columns([Field("colour", PrimitiveType("string"))])
    with pytest.raises(RefusedError, match=r"watch\.colour"):
        claim(store)


def test_a_snapshot_opens_the_same_rows_after_later_commits(store: Store) -> None:
    table = claim(store)
    publish(store, table, 0, 5, dead=1)
    first = manifest_of("kafka-a", [table.state])
    write_manifest(store, first)
    publish(store, table, 6, 4)
    write_manifest(store, manifest_of("kafka-a", [table.state]))
    snapshot = open_snapshot(store, first.sequence)
    assert snapshot.manifest == first
    assert (first.rows, first.dead_letters) == (5, 1)
    assert snapshot.rows("watch")["_offset"].to_pylist() == [0, 1, 2, 3, 4]
    assert open_snapshot(store).rows("watch", ["event_id"]).num_rows == 9


def test_an_older_manifest_written_late_does_not_become_the_latest(store: Store) -> None:
    table = claim(store)
    publish(store, table, 0, 5)
    older = manifest_of("kafka-a", [table.state])
    publish(store, table, 5, 5)
    newer = manifest_of("kafka-a", [table.state])
    write_manifest(store, newer)
    write_manifest(store, older)
    assert latest_manifest(store) == newer


def test_a_manifest_is_the_same_whoever_derives_it(store: Store) -> None:
    table = claim(store)
    publish(store, table, 0, 5, dead=2)
    found = read_state(DeltaTable(f"{store.uri}/watch"), "watch", consumer=WHO, topics=["watch"], dead_letter_topic="dead")
    assert manifest_of("kafka-a", [found]).model_dump_json() == manifest_of("kafka-a", [table.state]).model_dump_json()


def test_a_long_log_gets_checkpoints_and_keeps_every_version(store: Store) -> None:
    table = claim(store)
    for turn in range(105):
        publish(store, table, turn, 0, dead=1)
    log = Path(store.path("watch/_delta_log"))
    assert list(log.glob("*.checkpoint.parquet"))
    assert len(list(log.glob("*.json"))) == table.state.version + 1
    assert claim(store).state.dead_letters == 105


def test_the_newest_records_are_counted_apart_so_that_a_bad_hour_passes(store: Store) -> None:
    table, offset = claim(store), 0

    def cover(records: int, bad: int, repeated: int = 0) -> tuple[int | None, int | None]:
        nonlocal offset
        file = write_rows(store, "watch", [rows(offset, records - bad)], 1_700_000_000.0) if records > bad else None
        offset += records + repeated
        table.publish(file, Covered(offsets={("watch", 0): offset}, dead_letters=bad + repeated, repeated=repeated, newest_ms=1))
        manifest = manifest_of(
            "kafka-a", [read_state(DeltaTable(f"{store.uri}/watch"), "watch", consumer=WHO, topics=["watch"], dead_letter_topic="dead")]
        )
        assert manifest == manifest_of("kafka-a", [table.state])
        return manifest.recent_records, manifest.recent_dead_letters

    assert cover(4_000, 4_000) == (4_000, 4_000)
    assert cover(7_000, 0, repeated=500) == (11_000, 4_000)
    assert cover(9_000, 0) == (20_000, 4_000)
    assert cover(1_500, 500) == (21_500, 4_500)
    assert cover(10, 0) == (10_510, 500)
    assert table.state.dead_letters == 5_000
