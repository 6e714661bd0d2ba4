"""Files behind a storage URI: `file://` and `s3://` through one small interface.

Credentials, region and endpoint of `s3://` come from the usual `AWS_*` variables (`AWS_ENDPOINT_URL` included).
"""

import contextlib
import os
import uuid
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import obstore
import pyarrow as pa
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store
from pyarrow import fs

SCHEMES = ("file", "s3")
_PROBES = ".writable"
_CONNECT_S, _REQUEST_S, _ATTEMPTS = 5.0, 30.0, 3


class StorageError(Exception):
    """The store cannot be used as asked; the message names the URI and the mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A folder of a file system, local or S3."""

    uri: str
    files: fs.FileSystem
    root: str

    @property
    def local(self) -> bool:
        """Whether paths below the root can be opened and mapped as local files."""
        return self.uri.startswith("file://")

    def path(self, name: str) -> str:
        """Full path of `name` within the file system."""
        return f"{self.root}/{name}"

    def read(self, name: str) -> bytes:
        """All bytes of a file as one writer put it there, also while others replace it.

        Raises:
            FileNotFoundError: there is no such file.
        """
        if not self.local:
            # One request. Arrow asks for the size first, and cuts what has been put there since at that.
            try:
                return bytes(obstore.get(_whole(self.uri), name).bytes())
            except BaseError as error:
                raise OSError(f"{self.uri}/{name}: {error}") from error
        with self.files.open_input_stream(self.path(name), compression=None) as stream:
            return stream.read()

    def write(self, name: str, data: bytes) -> None:
        """Put a file in place, whole or not at all; an older one is replaced."""
        self.write_parts(name, (data,))

    def write_parts(self, name: str, parts: Iterable[bytes]) -> None:
        """The same for a file that comes in parts, of which only one is held at a time."""
        target = self.path(name)
        if not self.local:
            with self.files.open_output_stream(target, compression=None) as stream:
                for part in parts:
                    stream.write(part)
            return
        final = Path(target)
        final.parent.mkdir(parents=True, exist_ok=True)
        with _beside(final, parts) as partial:
            partial.replace(final)

    def create(self, name: str, data: bytes | pa.Buffer) -> None:
        """Put a file in place, whole and durable; of several writers of one name exactly one does.

        Raises:
            FileExistsError: there is one of that name.
        """
        if not self.local:
            try:
                obstore.put(_whole(self.uri), name, bytes(data), mode="create")
            except AlreadyExistsError as error:
                raise FileExistsError(name) from error
            except BaseError as error:
                raise OSError(f"{self.uri}/{name}: {error}") from error
            return
        final = Path(self.path(name))
        with _beside(final, (data,)) as partial:
            final.hardlink_to(partial)  # refuses a name that is taken, which a rename would not
        flush_folder(final.parent)

    def prove_writable(self) -> None:
        """Write a small file and remove it.

        Raises:
            StorageError: that did not go; the message says why, and the mend.
        """
        name = f"{_PROBES}/{uuid.uuid4().hex}"
        try:
            self.write(name, b"")
            self.files.delete_file(self.path(name))
        except OSError as error:
            mend = "make the folder writable for the job's user" if self.local else "make the bucket, or allow this user to put objects"
            raise StorageError(f"storageURI: {self.uri!r} cannot be written ({_brief(error)}); {mend}") from error

    def exists(self, name: str) -> bool:
        """Whether a file of that name is there."""
        return self.files.get_file_info(self.path(name)).type == fs.FileType.File

    def remove(self, name: str) -> None:
        """Remove a file; one that is gone is as good."""
        with contextlib.suppress(FileNotFoundError):
            self.files.delete_file(self.path(name))

    def names(self, folder: str) -> list[str]:
        """Names (relative to the root) of all files below a folder, sorted; none when it is not there."""
        selector = fs.FileSelector(self.path(folder), recursive=True, allow_not_found=True)
        found = self.files.get_file_info(selector)
        prefix = self.root + "/"
        return sorted(info.path.removeprefix(prefix) for info in found if info.type == fs.FileType.File)


@contextlib.contextmanager
def _beside(final: Path, parts: Iterable[bytes | pa.Buffer]) -> Generator[Path]:
    """A durable file beside the place that it is meant for, to be put there whole; nothing of it is left otherwise."""
    partial = final.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        with partial.open("xb") as stream:
            for part in parts:
                stream.write(part)
            stream.flush()
            os.fsync(stream.fileno())
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def flush_folder(folder: Path) -> None:
    """Make the names in a local folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _whole(uri: str) -> S3Store:
    """A client whose every call is one request: it reads what one writer wrote, and can put a file only where there is none."""
    return _client(uri, tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))))


@lru_cache(maxsize=16)
def _client(uri: str, settings: tuple[tuple[str, str], ...]) -> S3Store:
    """For a folder and the `AWS_*` variables of now, which the client reads by itself."""
    parsed = urlparse(uri)
    http = dict(settings).get("AWS_ENDPOINT_URL", "").startswith("http://")
    return S3Store(
        parsed.netloc,
        prefix=parsed.path.strip("/") or None,
        client_options={"allow_http": http, "timeout": timedelta(seconds=_REQUEST_S), "connect_timeout": timedelta(seconds=_CONNECT_S)},
        retry_config={"max_retries": _ATTEMPTS - 1, "retry_timeout": timedelta(seconds=_REQUEST_S)},
    )


def _brief(error: OSError) -> str:
    """The error without what a person cannot use: Arrow wraps S3's answers in paragraphs."""
    return " ".join(str(error).split())[:300]


def delta_options() -> dict[str, str]:
    """Storage options for deltalake: it reads `AWS_*` itself, but plain HTTP must be allowed by name."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
    return {"AWS_ALLOW_HTTP": "true"} if endpoint.startswith("http://") else {}


def open_store(uri: str) -> Store:
    """Open the store at a URI.

    Raises:
        StorageError: the scheme is not one of `SCHEMES`, or the path is missing.
    """
    parsed = urlparse(uri)
    if parsed.scheme == "file":
        if parsed.netloc or not parsed.path.startswith("/"):
            raise StorageError(f"storageURI: {uri!r} is not a local folder; write file:///absolute/path")
        return Store(uri=uri.rstrip("/"), files=fs.LocalFileSystem(), root=parsed.path.rstrip("/"))
    if parsed.scheme == "s3":
        if not parsed.netloc:
            raise StorageError(f"storageURI: {uri!r} names no bucket; write s3://bucket/prefix")
        endpoint = os.environ.get("AWS_ENDPOINT_URL")
        options: dict[str, Any] = {
            "region": os.environ.get("AWS_REGION", "us-east-1"),
            "connect_timeout": _CONNECT_S,
            "request_timeout": _REQUEST_S,
            "retry_strategy": fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
        }
        if endpoint:
            where = urlparse(endpoint)
            options |= {"endpoint_override": where.netloc, "scheme": where.scheme}
        return Store(uri=uri.rstrip("/"), files=fs.S3FileSystem(**options), root=(parsed.netloc + parsed.path).rstrip("/"))
    raise StorageError(f"storageURI: {uri!r} has scheme {parsed.scheme!r}; use one of {', '.join(SCHEMES)}")
