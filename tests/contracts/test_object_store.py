"""The S3 server of the demo and the tests gives what tables and artefacts need of an object store."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, CommitProperties, Transaction
from obstore.exceptions import AlreadyExistsError, PermissionDeniedError, PreconditionError
from obstore.store import S3Store

from ray_apps.stores.objects import StorageError, Store, delta_options, open_store
from recsys_dev import objects
from recsys_dev.errors import Unmet
from recsys_dev.objects import ObjectStore
from recsys_operator.world import registry
from recsys_operator.world.errors import RefusedError, UnavailableError
from recsys_operator.world.registry import Registry

EVENTS = pa.table({"user": pa.array(range(100)), "item": ["movie"] * 100})


@pytest.fixture
def bucket(s3: ObjectStore, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A bucket of this test's own, with the environment that every program reads."""
    for name, value in s3.env().items():
        monkeypatch.setenv(name, value)
    name = request.node.name.removeprefix("test_").replace("_", "-")[:50].strip("-")
    return s3.make_bucket(name)


def client(s3: ObjectStore, bucket: str, *, secret: str | None = None) -> S3Store:
    return S3Store.from_url(
        bucket,
        endpoint=s3.endpoint_url,
        access_key_id=s3.access_key,
        secret_access_key=secret or s3.secret_key,
        region=s3.region,
        client_options={"allow_http": True},
        virtual_hosted_style_request=False,
    )


def commit(table: DeltaTable, store: Store, name: str, offset: int) -> None:
    """Publish a file of our own with the offset it reaches, as ingest does."""
    pq.write_table(EVENTS, store.path(f"watch/{name}"), filesystem=store.files)
    size = store.files.get_file_info(store.path(f"watch/{name}")).size
    added = AddAction(path=name, size=size, partition_values={}, modification_time=int(time.time() * 1000), data_change=True, stats="{}")
    properties = CommitProperties(app_transactions=[Transaction("snap/watch-0", offset)])
    table.create_write_transaction(actions=[added], mode="append", schema=table.schema(), commit_properties=properties)


def by_arrow(store: Store, name: str) -> bytes:
    """The twin: asks for the size first. What it tears is cut short, or refused for a checksum that is another's."""
    try:
        with store.files.open_input_stream(store.path(name), compression=None) as stream:
            return stream.read()
    except OSError as error:
        return str(error).encode()


@pytest.mark.parametrize(("read", "torn"), [(Store.read, False), (by_arrow, True)])
def test_a_file_that_is_replaced_while_it_is_read_is_read_as_one_writer_wrote_it(
    bucket: str, read: Callable[[Store, str], bytes], torn: bool
):
    store, written = open_store(f"{bucket}/replaced"), [b"short", b"a longer one" * 100]
    store.write("latest", written[0])
    stop, seen = threading.Event(), set[bytes]()

    def replace() -> None:
        while not stop.is_set():
            for data in reversed(written):
                store.write("latest", data)

    with ThreadPoolExecutor(2) as pool:
        writer = pool.submit(replace)
        try:
            deadline = time.monotonic() + (300 if torn else 3)
            while time.monotonic() < deadline and not (torn and seen - set(written)):
                seen.add(read(store, "latest"))
        finally:
            stop.set()
        writer.result(timeout=120)
    assert bool(seen - set(written)) is torn, seen


def test_what_is_not_there_is_told_as_that(bucket: str):
    with pytest.raises(FileNotFoundError):
        open_store(f"{bucket}/folder").read("nothing")
    with pytest.raises(FileNotFoundError):
        open_store("s3://no-such-bucket-at-all/folder").read("nothing")


def test_a_file_is_made_by_exactly_one_of_many_writers(s3: ObjectStore, bucket: str):
    store = client(s3, bucket)

    def made(number: int) -> bool:
        try:
            obstore.put(store, f"log/{number // 8}.json", str(number).encode(), mode="create")
        except AlreadyExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as writers:
        won = list(writers.map(made, range(80)))
    assert [sum(won[first : first + 8]) for first in range(0, 80, 8)] == [1] * 10


def test_a_file_is_replaced_only_by_who_saw_its_last_content(s3: ObjectStore, bucket: str):
    store = client(s3, bucket)
    seen = obstore.put(store, "latest.json", b"one")
    assert seen["e_tag"] is not None
    obstore.put(store, "latest.json", b"two", mode={"e_tag": seen["e_tag"]})
    with pytest.raises(PreconditionError):
        obstore.put(store, "latest.json", b"three", mode={"e_tag": seen["e_tag"]})
    assert bytes(obstore.get(store, "latest.json").bytes()) == b"two"


def test_a_wrong_secret_reads_and_writes_nothing(s3: ObjectStore, bucket: str):
    obstore.put(client(s3, bucket), "card.json", b"{}")
    stranger = client(s3, bucket, secret="wrong")
    with pytest.raises(PermissionDeniedError):
        obstore.get(stranger, "card.json")
    with pytest.raises(PermissionDeniedError):
        obstore.put(stranger, "card.json", b"other")


def test_of_two_table_writers_from_one_version_the_second_is_refused(bucket: str):
    store, options = open_store(bucket), delta_options()
    write_deltalake(f"{bucket}/watch", EVENTS, storage_options=options)
    first, second = (DeltaTable(f"{bucket}/watch", storage_options=options) for _ in range(2))
    commit(first, store, "first.parquet", 100)
    with pytest.raises(CommitFailedError, match="Concurrent transaction failed"):
        commit(second, store, "second.parquet", 100)
    table = DeltaTable(f"{bucket}/watch", storage_options=options)
    assert table.transaction_version("snap/watch-0") == 100
    assert table.to_pyarrow_table().num_rows == 2 * EVENTS.num_rows


def test_the_stores_of_the_ray_apps_keep_artefacts_there(bucket: str):
    store = open_store(f"{bucket}/movies")
    store.write("versions/movies-000001/card.json", b"{}")
    assert store.read("versions/movies-000001/card.json") == b"{}"
    assert store.names("versions") == ["versions/movies-000001/card.json"]
    assert not store.exists("versions/movies-000002/card.json")


def test_a_program_that_used_s3_ends_with_status_zero(s3: ObjectStore, bucket: str):
    code = f"from ray_apps.stores.objects import open_store; open_store({bucket!r}).write('a.txt', b'a')"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **s3.env()}, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_stopped_server_starts_again_with_its_objects_and_secret(tmp_path: Path):
    first = objects.start(tmp_path)
    try:
        obstore.put(client(first, first.make_bucket("kept")), "a.txt", b"a")
    finally:
        first.stop()
    assert not first.alive()
    again = objects.start(tmp_path)
    try:
        assert again == first
        assert bytes(obstore.get(client(again, "s3://kept"), "a.txt").bytes()) == b"a"
    finally:
        again.stop()


def test_an_endpoint_without_a_credential_is_told_in_words(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000/")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "theirs")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    with pytest.raises(Unmet, match="AWS_SECRET_ACCESS_KEY"):
        objects.existing()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    found = objects.existing()
    assert found == ObjectStore(endpoint_url="http://127.0.0.1:9000", access_key="theirs", secret_key="secret")


def test_a_store_that_can_be_written_says_so_and_keeps_nothing(bucket: str):
    store = open_store(bucket)
    store.prove_writable()
    assert store.names("") == []


def test_a_bucket_that_is_not_there_and_a_wrong_secret_are_told_with_the_mend(bucket: str, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(StorageError, match=r"^storageURI: 's3://no-such-bucket' cannot be written \(.*; make the bucket, or allow"):
        open_store("s3://no-such-bucket").prove_writable()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StorageError, match=r"cannot be written \(.*; make the bucket, or allow this user to put objects"):
        open_store(bucket).prove_writable()


def test_to_the_operator_a_bucket_that_is_not_there_and_a_wrong_secret_are_told_alike_each_time(
    bucket: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(registry, "CALL_S", 60.0)  # a server on a busy machine is late

    def look(uri: str) -> str:
        told: list[str] = []
        for _ in range(2):
            with pytest.raises((UnavailableError, RefusedError)) as error:
                asyncio.run(Registry().versions(uri))
            told.append(str(error.value))
        assert told[0] == told[1], "a status is written when it changes: a time in it would change it at each pass"
        return told[0]

    missing = look("s3://no-such-bucket/movies")
    assert missing.startswith("spec.data.snapshot.storageURI s3://no-such-bucket/movies: versions/ cannot be read: ")
    assert missing.endswith("NoSuchBucket: The specified bucket does not exist.; make the bucket")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    wrong = look(f"{bucket}/movies")
    assert "SignatureDoesNotMatch" in wrong
    assert wrong.endswith("give the operator the right to read it")
