"""Files of versions that nothing needs any more go: those that the operator does not name, older than the newest that it names."""

import logging
import re
from collections.abc import Collection

from ray_apps.stores.objects import Store
from ray_apps.stores.registry import ArtefactRefused, read_card, version_names
from recsys_schemas.train_job import ModelIdentity
from recsys_schemas.version_card import CARD_FILE, version_folder

logger = logging.getLogger(__name__)


def remove_versions(store: Store, model: ModelIdentity, keep: Collection[str]) -> int:
    """Remove the files of this model's versions that are not in `keep`; returns how many went.

    Only those numbered below the newest one that is kept: numbers grow, so a version that was made after the list was is above all of it.
    A version that says nothing of its model, or another thing, is left alone: a store may be shared, and a model made again has no claim
    on its namesake's versions. The card goes last, so a run that was killed half-way is gone on with.

    Raises:
        OSError: the store cannot be read or written.
    """
    pattern = re.compile(rf"{re.escape(model.name)}-[0-9]{{6,}}")
    mine = {name for name in keep if pattern.fullmatch(name)}
    if not mine:
        return 0
    newest = max(_number(name) for name in mine)
    gone = 0
    for name in version_names(store):
        if pattern.fullmatch(name) and name not in keep and _number(name) < newest and _is_of(store, name, model):
            _remove(store, name)
            logger.info("version removed", extra={"version": name})
            gone += 1
    return gone


def _number(name: str) -> int:
    return int(name.rpartition("-")[2])


def _is_of(store: Store, name: str, model: ModelIdentity) -> bool:
    try:
        card = read_card(store, name)
    except ArtefactRefused as error:
        logger.warning("version left alone", extra={"version": name, "error": str(error)})
        return False
    return card is not None and card.job is not None and card.job.model == model


def _remove(store: Store, name: str) -> None:
    folder = version_folder(name)
    card = f"{folder}/{CARD_FILE}"
    for path in store.names(folder):
        if path != card:
            store.remove(path)
    store.remove(card)
    if store.local:
        store.files.delete_dir(store.path(folder))
