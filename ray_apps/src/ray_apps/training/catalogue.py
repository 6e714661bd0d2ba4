"""The catalogue as a run reads it: its items, and a copy of its very bytes beside the snapshots, so that a card alone can be repeated."""

import hashlib
import logging
from dataclasses import dataclass, field

from ray_apps.algorithms.content import ContentNeeded
from ray_apps.stores.catalogue import CatalogueError, catalogue_bytes, rows_of
from ray_apps.stores.objects import Store
from ray_apps.training.refusals import Refusal, TrainingRefused
from recsys_schemas.catalogue import CATALOGUE_COPIES, CatalogueItem, CatalogueSource, CatalogueUsed

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """The items of a catalogue, and what the card says of it."""

    items: list[CatalogueItem] = field(default_factory=list[CatalogueItem])
    used: CatalogueUsed


def read_described(store: Store, asked: CatalogueSource | None) -> Described | None:
    """Read a catalogue and keep a copy of it; None when none is asked for.

    One that cannot be read is told in `used.problem` and in the log, and has no items: an old catalogue is no reason to serve old tastes.
    When certain bytes are asked for, nothing else will do.

    Raises:
        TrainingRefused: the bytes that were asked for are not there.
        StorageError, OSError: the copy cannot be written.
    """
    if asked is None:
        return None
    try:
        data = catalogue_bytes(asked.uri)
        digest = hashlib.sha256(data).hexdigest()
        if asked.sha256 not in (None, digest):
            raise CatalogueError(f"catalogue: {asked.uri!r} has SHA-256 {digest}, asked is {asked.sha256}; give the copy of those bytes")  # noqa: TRY301
        rows = [row for _, row in rows_of(asked.uri, data)]
    except CatalogueError as error:
        if asked.sha256 is not None:
            raise TrainingRefused(Refusal.STORAGE, str(error)) from error
        logger.warning("CatalogueUnreadable", extra={"uri": asked.uri, "error": str(error)})
        return Described(used=CatalogueUsed(uri=asked.uri, problem=str(error)))
    items = [row for row in rows if isinstance(row, CatalogueItem)]
    used = CatalogueUsed(
        uri=asked.uri, sha256=digest, kept=_kept(store, asked.uri, digest, data), items=len(items), refused=len(rows) - len(items)
    )
    if not items:
        problem = f"spec.data.catalogue.uri: {asked.uri!r} has no row that is an item; give each item a row with its item_id"
        logger.warning("CatalogueUnreadable", extra={"uri": asked.uri, "error": problem})
        return Described(used=used.model_copy(update={"problem": problem}))
    return Described(items=items, used=used)


def source_of(store: Store, used: CatalogueUsed | None) -> CatalogueSource | None:
    """What a job names to learn from the very bytes that a card's catalogue had; None when it had none."""
    if used is None or used.kept is None:
        return None
    return CatalogueSource(uri=f"{store.uri}/{used.kept}", sha256=used.sha256)


def without_content(error: ContentNeeded, used: CatalogueUsed | None) -> TrainingRefused:
    """Why an algorithm that needs a catalogue could not be fitted: there is none, or it could not be read."""
    if used is None:
        return TrainingRefused(Refusal.BAD_JOB, str(error))
    return TrainingRefused(Refusal.STORAGE, f"{str(error).partition(';')[0]}: {used.problem}")


def _kept(store: Store, uri: str, digest: str, data: bytes) -> str:
    """The copy's path. It is written even where it is there: it may be damaged, or so old that upkeep is about to remove it."""
    name = f"{CATALOGUE_COPIES}/{digest}.{uri.rpartition('.')[2]}"
    store.write(name, data)
    return name
