"""Copies of catalogues that no version was made of any more go."""

import logging
import re
from datetime import datetime, timedelta

from pyarrow import fs

from ray_apps.stores.objects import Store
from ray_apps.stores.registry import ArtefactRefused, read_card, version_names
from recsys_schemas.catalogue import CATALOGUE_COPIES

LONGEST_RUN = timedelta(days=8)
"""A run that has written its copy may last so long before its card names it: a day more than spec.training.activeDeadlineSeconds allows."""
_COPY = re.compile(r"[0-9a-f]{64}\.(csv|parquet)")

logger = logging.getLogger(__name__)


def remove_catalogues(store: Store, now: datetime) -> int:
    """Remove the copies that no card names and that were written more than LONGEST_RUN ago; returns how many went.

    While a card cannot be read none goes: it may name one.

    Raises:
        OSError: the store cannot be read or written.
    """
    selector = fs.FileSelector(store.path(CATALOGUE_COPIES), recursive=False, allow_not_found=True)
    infos = [info for info in store.files.get_file_info(selector) if info.type == fs.FileType.File and _COPY.fullmatch(info.base_name)]
    limit_ns = int((now - LONGEST_RUN).timestamp()) * 1_000_000_000
    old = {f"{CATALOGUE_COPIES}/{info.base_name}" for info in infos if info.mtime_ns and info.mtime_ns < limit_ns}
    if not old:
        return 0
    try:
        cards = [read_card(store, name) for name in version_names(store)]
    except ArtefactRefused as error:
        logger.warning("catalogues left alone", extra={"error": str(error)})
        return 0
    gone = sorted(old - {card.catalogue.kept for card in cards if card and card.catalogue and card.catalogue.kept})
    for name in gone:
        store.remove(name)
        logger.info("catalogue removed", extra={"copy": name})
    return len(gone)
