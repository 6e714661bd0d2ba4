"""The store of snapshots and versions: what ingest, training and preflight have left for the operator to read.

`file://` and `s3://`; credentials, region and endpoint of `s3://` come from the usual `AWS_*` variables.
"""

import asyncio
import os
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore, S3Store
from pydantic import ValidationError

from recsys_operator.world.errors import RefusedError, UnavailableError
from recsys_schemas.artifact import Artifact
from recsys_schemas.catalogue import CATALOGUE_REPORT, CatalogueReport
from recsys_schemas.mirror import MIRROR_REPORT, MirrorReport
from recsys_schemas.snapshot import LATEST_MANIFEST, SnapshotManifest
from recsys_schemas.store_faults import brief, mend
from recsys_schemas.upkeep import UPKEEP_REPORT, UpkeepReport
from recsys_schemas.version_card import CARD_FILE, PREFLIGHT_FILE, PreflightReport, RunProgress, VersionCard, progress_file, version_folder

CALL_S = 10.0
_CACHED = 1024
_CONCURRENT = 8

_T = TypeVar("_T", bound=Artifact)


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What the runs of a version have left."""

    card: VersionCard | None = None
    preflight: PreflightReport | None = None
    progress: RunProgress | None = None


@dataclass(slots=True)
class Registry:
    """Reads stores by URI. Cards and reports are written once, so each is read once."""

    cache: OrderedDict[tuple[str, str], Artifact] = field(default_factory=OrderedDict[tuple[str, str], Artifact])

    async def manifest(self, uri: str) -> SnapshotManifest | None:
        """The newest snapshot; None while there is none.

        Raises:
            UnavailableError: the store does not answer.
            RefusedError: it denies us, or holds something that is no manifest.
        """
        return await _read(uri, LATEST_MANIFEST, SnapshotManifest)

    async def upkeep(self, uri: str) -> UpkeepReport | None:
        """What the last run of upkeep has left; None before the first. Errors as `manifest`."""
        return await _read(uri, UPKEEP_REPORT, UpkeepReport)

    async def mirror(self, uri: str) -> MirrorReport | None:
        """What the last run of the mirror has left; errors as `manifest`."""
        return await _read(uri, MIRROR_REPORT, MirrorReport)

    async def catalogue(self, uri: str) -> CatalogueReport | None:
        """What ingest said of the catalogue last; errors as `manifest`."""
        return await _read(uri, CATALOGUE_REPORT, CatalogueReport)

    async def versions(self, uri: str) -> tuple[str, ...]:
        """Names of all versions that have a folder, sorted; errors as `manifest`."""
        store = _open(uri)
        if store is None:
            return ()
        try:
            async with asyncio.timeout(CALL_S):
                found = await obstore.list_with_delimiter_async(store, prefix="versions")
        except FileNotFoundError:
            return ()
        except (BaseError, OSError, TimeoutError) as error:
            raise _failure(uri, "versions/", error) from error
        return tuple(sorted(prefix.rstrip("/").rsplit("/", 1)[-1] for prefix in found["common_prefixes"]))

    async def left(
        self, places: Iterable[tuple[str, str]], *, running: Collection[str] = (), anew: str | None = None
    ) -> Mapping[str, Left]:
        """Name → what that version's runs have left, for pairs of (URI, name); errors as `manifest`.

        Args:
            places: Where to look.
            running: Versions whose runs are asked how far they are.
            anew: A version that is tried again, or whose files may be gone: what is remembered of it does not count.
        """
        gate = asyncio.Semaphore(_CONCURRENT)

        async def one(uri: str, name: str) -> tuple[str, Left]:
            async with gate:
                if name == anew:
                    for file in (CARD_FILE, PREFLIGHT_FILE):
                        self.cache.pop((uri, f"{version_folder(name)}/{file}"), None)
                card = await self._cached(uri, f"{version_folder(name)}/{CARD_FILE}", VersionCard)
                report = await self._cached(uri, f"{version_folder(name)}/{PREFLIGHT_FILE}", PreflightReport) if card else None
                progress = await _read(uri, progress_file(name), RunProgress) if card is None and name in running else None
                return name, Left(card=card, preflight=report, progress=progress)

        return dict(await asyncio.gather(*(one(uri, name) for uri, name in places)))

    async def _cached(self, uri: str, path: str, kind: type[_T]) -> _T | None:
        known = self.cache.get((uri, path))
        if isinstance(known, kind):
            self.cache.move_to_end((uri, path))
            return known
        found = await _read(uri, path, kind)
        if found is not None:
            self.cache[uri, path] = found
            if len(self.cache) > _CACHED:
                self.cache.popitem(last=False)
        return found


def _open(uri: str) -> LocalStore | S3Store | None:
    """The store at a URI; None for a local folder that is not there yet.

    Raises:
        RefusedError: no store can be there.
    """
    parts = urlsplit(uri)
    match parts.scheme:
        case "file":
            root = Path(unquote(parts.path))
            return LocalStore(root) if _is_folder(uri, root) else None
        case "s3":
            http = os.environ.get("AWS_ENDPOINT_URL", os.environ.get("AWS_ENDPOINT", "")).startswith("http://")
            return S3Store(
                parts.netloc,
                prefix=parts.path.strip("/") or None,
                client_options={"allow_http": http, "timeout": timedelta(seconds=CALL_S), "connect_timeout": timedelta(seconds=3)},
                retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=CALL_S)},
            )
        case scheme:
            raise RefusedError(f"storageURI: {uri!r} has scheme {scheme!r}; use file:// or s3://")


def _is_folder(uri: str, root: Path) -> bool:
    """Whether a local folder is there; one that is not can be made later, unless a file is in its place or above it."""
    # os.path says False where a folder above may not be entered; pathlib raises there.
    nearest = next(path for path in (root, *root.parents) if os.path.exists(path))  # noqa: PTH110
    if not os.path.isdir(nearest):  # noqa: PTH112
        words = f"spec.data.snapshot.storageURI: {uri} cannot be a folder, for {nearest} is a file"
        raise RefusedError(f"{words}; make another model with another storageURI, or move the file away")
    return nearest == root


async def _read(uri: str, path: str, kind: type[_T]) -> _T | None:
    try:
        store = _open(uri)
        if store is None:
            return None
        async with asyncio.timeout(CALL_S):
            answer = await obstore.get_async(store, path)
            data = bytes(await answer.bytes_async())
    except FileNotFoundError:
        return None
    except (BaseError, OSError, TimeoutError) as error:
        raise _failure(uri, path, error) from error
    try:
        return kind.model_validate_json(data, extra="ignore")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        words = f"{uri}/{path}: {where}: {first['msg']}: not a {kind.__name__} that this operator knows"
        raise RefusedError(f"{words}; run the operator and the Ray apps of one release") from error


def _failure(uri: str, path: str, error: Exception) -> UnavailableError | RefusedError:
    words = brief(str(error).split("\n\nDebug", 1)[0]) or type(error).__name__
    message = f"spec.data.snapshot.storageURI {uri}: {path} cannot be read: {words}"
    # A list that is denied comes as no error of its own kind.
    if isinstance(error, PermissionDeniedError | UnauthenticatedError | PermissionError) or "403 Forbidden" in words:
        return RefusedError(f"{message}; give the operator the right to read it")
    return UnavailableError(f"{message}; {mend(words, uri)}")
