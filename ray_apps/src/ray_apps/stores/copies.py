"""Local copies of versions that lie in a store that is not local, so that they can be mapped."""

import contextlib
import shutil
import tempfile
from pathlib import Path

from ray_apps.stores.artefacts import ArtefactRefused, digest_of_file
from ray_apps.stores.objects import Store
from recsys_schemas.version_card import VersionCard

KEPT_COPIES = 16
"""Local copies kept; older ones are removed."""


def local_copy(store: Store, folder: str, card: VersionCard, cache_dir: Path) -> Path:
    """A local copy, named by its digest and put in place as a whole; another process may have made it first.

    Raises:
        ArtefactRefused: a file of the store has another size than the card says.
    """
    target = cache_dir / card.digest.removeprefix("sha256:")
    cache_dir.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        if all((target / name).is_file() and digest_of_file(target / name) == file for name, file in card.files.items()):
            return target
        shutil.rmtree(target)
    partial = Path(tempfile.mkdtemp(prefix=".copy-", dir=cache_dir))
    try:
        for name, file in sorted(card.files.items()):
            found = store.files.get_file_info(store.path(f"{folder}/{name}")).size
            if found != file.size_bytes:  # before it is read: it might fill the memory
                raise ArtefactRefused(f"{name}: {found} bytes; the card says {file.size_bytes}")
            (partial / name).write_bytes(store.read(f"{folder}/{name}"))
        with contextlib.suppress(OSError):  # another process put the same copy there first
            partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _drop_old(cache_dir)
    return target


def _drop_old(cache_dir: Path) -> None:
    """Keep the newest copies only; what a process has mapped stays readable to it."""
    copies = sorted((path for path in cache_dir.iterdir() if not path.name.startswith(".")), key=lambda path: path.stat().st_mtime)
    for path in copies[:-KEPT_COPIES]:
        shutil.rmtree(path, ignore_errors=True)
