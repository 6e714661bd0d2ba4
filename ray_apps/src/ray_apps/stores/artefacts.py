"""Arrays as files that can be trusted: plain `.npy` without pickle, opened once, verified, and only then mapped."""

import contextlib
import hashlib
import io
import math
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys_schemas.version_card import FileDigest

FILE_NAME = re.compile(r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?\.npy$")
"""The only names that an array may have: no folder, no leading dot, nothing that a path could hide in."""
MAX_HEADER_BYTES = 10_000


class ArtefactRefused(Exception):  # noqa: N818 — it says what was done about the error
    """A version cannot be trusted or used; the message names the version, the file and what is wrong with it."""


PART = 1 << 22
"""Numbers of an array that are written in one go."""


def npy_parts(array: NDArray[np.generic]) -> Iterator[bytes]:
    """An array in NumPy's own format, a part at a time: the same array gives the same bytes.

    Raises:
        ValueError: its type would need pickle.
    """
    if array.dtype.hasobject:
        raise ValueError(f"an array of {array.dtype} would need pickle; numbers were expected")
    whole = np.ascontiguousarray(array).reshape(array.shape)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(whole))
    yield header.getvalue()
    flat = whole.reshape(-1)
    for start in range(0, flat.size, PART):
        yield flat[start : start + PART].tobytes()


def digesting(parts: Iterable[bytes], tell: Callable[[FileDigest], None]) -> Iterator[bytes]:
    """The same parts; `tell` is given SHA-256 and size of all of them when the last has passed."""
    found, size = hashlib.sha256(), 0
    for part in parts:
        found.update(part)
        size += len(part)
        yield part
    tell(FileDigest(sha256=found.hexdigest(), size_bytes=size))


def digest_of_file(path: Path) -> FileDigest:
    """SHA-256 and size of a file, read in pieces."""
    with path.open("rb") as file:
        return FileDigest(sha256=hashlib.file_digest(file, "sha256").hexdigest(), size_bytes=path.stat().st_size)


def map_verified(files: Mapping[Path, FileDigest]) -> list[NDArray[np.generic]]:
    """Open all files, hash them all, read all headers, and only then map them read-only, in their order.

    What is mapped is what was hashed: the open files, which nobody can exchange under their names in between.

    Raises:
        ArtefactRefused: one is missing, a link, not a plain file, of another size or hash, or no plain array; then none was mapped.
    """
    with contextlib.ExitStack() as opened:
        found = [(opened.enter_context(_opened(path)), path.name, expected) for path, expected in files.items()]
        for file, name, expected in found:
            _verify(file, name, expected)
        plain = [_header(file, name, expected.size_bytes) for file, name, expected in found]
        return [_mapped(each) for each in plain]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plain:
    """A verified file whose header is that of a plain array."""

    file: io.BufferedReader
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    offset: int


def _opened(path: Path) -> io.BufferedReader:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        what = "a symbolic link" if path.is_symlink() else error.strerror
        raise ArtefactRefused(f"{path.name}: cannot be opened ({what}); a plain file was expected") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ArtefactRefused(f"{path.name}: is no plain file")
    return os.fdopen(descriptor, "rb")


def _verify(file: io.BufferedReader, name: str, expected: FileDigest) -> None:
    size = os.fstat(file.fileno()).st_size
    if size != expected.size_bytes:
        raise ArtefactRefused(f"{name}: {size} bytes; the card says {expected.size_bytes}")
    found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected.sha256:
        raise ArtefactRefused(f"{name}: SHA-256 {found}; the card says {expected.sha256}")


def _header(file: io.BufferedReader, name: str, size: int) -> _Plain:
    file.seek(0)
    try:
        version = np.lib.format.read_magic(file)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file, max_header_size=MAX_HEADER_BYTES)
    except (ValueError, TypeError, SyntaxError) as error:  # what numpy lets through of a header that is no dictionary
        raise ArtefactRefused(f"{name}: is no plain array ({error})") from error
    # In Python's numbers: numpy's would wrap around for a shape that was made to.
    needed = file.tell() + dtype.itemsize * math.prod(shape)
    if version != (1, 0) or dtype.kind not in "iuf" or fortran or any(length < 0 for length in shape) or needed != size:
        raise ArtefactRefused(f"{name}: is no plain array ({dtype} of shape {shape} in {size} bytes)")
    return _Plain(file=file, dtype=dtype, shape=shape, offset=file.tell())


def _mapped(plain: _Plain) -> NDArray[np.generic]:
    # As a plain view: slices of np.memmap itself cost several times as much.
    return np.asarray(np.memmap(plain.file, dtype=plain.dtype, mode="r", offset=plain.offset, shape=plain.shape))


def check_names(files: Mapping[str, FileDigest], present: set[str]) -> None:
    """Refuse names that are no array names, and folders that hold other arrays than the card says.

    Raises:
        ArtefactRefused: a name is not allowed, missing or unknown.
    """
    for name in sorted(files):
        if not FILE_NAME.fullmatch(name):
            raise ArtefactRefused(f"{name!r}: is not a name that a version's array may have")
    for name in sorted(set(files) - present):
        raise ArtefactRefused(f"{name}: the card names it, but it is missing")
    for name in sorted(present - set(files)):
        raise ArtefactRefused(f"{name}: is there, but the card does not name it")
