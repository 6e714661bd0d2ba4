"""The registry: versions written once, the card last, and opened only when every byte is what the card says.

A version is a folder `versions/<version>` below the storage URI: its arrays as `.npy` files, then `card.json`. Serving maps the arrays
read-only, so that replicas on one node share them.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pyarrow import fs
from pydantic import ValidationError

from ray_apps.stores.artefacts import ArtefactRefused, check_names, digesting, map_verified, npy_parts
from ray_apps.stores.content import Content, content_of_arrays
from ray_apps.stores.copies import local_copy
from ray_apps.stores.facets import Facets, facets_of_arrays
from ray_apps.stores.identifiers import Identifiers, Positions, packed
from ray_apps.stores.objects import Store
from recsys_schemas.version_card import (
    CARD_FILE,
    PREFLIGHT_FILE,
    REPORT_FILE,
    VERSIONS_FOLDER,
    FileDigest,
    VersionCard,
    digest_of,
    version_folder,
)

__all__ = [
    "ArtefactRefused",
    "LoadedVersion",
    "VersionContents",
    "open_version",
    "read_card",
    "version_names",
    "write_arrays",
    "write_card",
]

MODEL_PREFIX = "model."
OWN_FILES = (
    "item_offsets",
    "item_bytes",
    "user_offsets",
    "user_bytes",
    "history_indptr",
    "history_indices",
    "history_weights",
    "popularity",
)
"""Arrays of every version; the algorithm's own carry the prefix `model.`."""
RECENT = "recent"
"""The array from which those are answered of whom no deed is known; versions of before have none."""
BESIDE_THE_ARRAYS = frozenset({CARD_FILE, PREFLIGHT_FILE, REPORT_FILE})
"""What may stand in a version's folder and is never mapped."""
MOST_CARD_BYTES = 16 * 1024 * 1024
_VERSION_NAME = re.compile(r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")
_NOBODY = (np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32))

Arrays = Mapping[str, NDArray[np.generic]]


class Scorer(Protocol):
    """What serving needs of a model."""

    def scores(self, history: NDArray[np.int32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores of all items, shape (n_items,), for a user who liked `history` with `weights`, both of shape (liked,)."""
        ...


ModelLoader = Callable[[str, Arrays, int], Scorer]
"""(algorithm, its arrays, number of items) → the model; `algorithms.load_model` is one. Raises ValueError when they do not fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionContents:
    """What is written: ids sorted by UTF-8 bytes, histories as sparse rows of `user_ids`, counts per item, the model's own arrays."""

    item_ids: list[str]
    user_ids: list[str]
    history_indptr: NDArray[np.int64]
    history_indices: NDArray[np.int32]
    history_weights: NDArray[np.float32]
    popularity: NDArray[np.int64]
    model: Arrays
    content: Content | None = None
    """What a catalogue says of the items; None without one."""
    recent: NDArray[np.float64] | None = None
    """How many like each item these days; None: `popularity` must do."""
    facets: Facets | None = None
    """What may be asked of the items by name; None without a catalogue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedVersion:
    """A verified version, mapped read-only. Safe to read from several threads."""

    card: VersionCard
    item_ids: Identifiers
    """Item ids by index: `item_ids[7]`, `item_ids.many([7, 3])`, `len(item_ids)`."""
    user_ids: Identifiers
    popularity: NDArray[np.int64]
    """Users who liked each item, shape (n_items,)."""
    model: Scorer
    history_indptr: NDArray[np.int64]
    history_indices: NDArray[np.int32]
    history_weights: NDArray[np.float32]
    content: Content | None = None
    """What a catalogue says of the items: what a new user likes by name is scored with it. None for a version without a catalogue."""
    recent: NDArray[np.float64] | None = None
    """How many like each item these days, at the end of training, shape (n_items,). None where `popularity` must do."""
    facets: Facets | None = None
    """What may be asked of the items by name. None for a version without a catalogue."""

    @property
    def item_index(self) -> Mapping[str, int]:
        """Item id → index."""
        return Positions(self.item_ids)

    def user_index(self, user_id: str) -> int | None:
        """Row of a user's history; None for a user that was not in training."""
        return self.user_ids.position(user_id)

    def history(self, user_id: str) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Items (ascending indices) that a user liked and how strongly, both of shape (liked,); empty for an unknown user."""
        row = self.user_index(user_id)
        if row is None:
            return _NOBODY
        low, high = int(self.history_indptr[row]), int(self.history_indptr[row + 1])
        return self.history_indices[low:high], self.history_weights[low:high]


def _named(contents: VersionContents) -> dict[str, NDArray[np.generic]]:
    item_offsets, item_bytes = packed(contents.item_ids)
    user_offsets, user_bytes = packed(contents.user_ids)
    own = (
        item_offsets,
        item_bytes,
        user_offsets,
        user_bytes,
        contents.history_indptr.astype(np.int64),
        contents.history_indices.astype(np.int32, copy=False),
        contents.history_weights.astype(np.float32, copy=False),
        contents.popularity.astype(np.int64),
    )
    model = {f"{MODEL_PREFIX}{name}": array for name, array in contents.model.items()}
    described = (contents.content.arrays() if contents.content else {}) | (contents.facets.arrays() if contents.facets else {})
    if contents.recent is not None:
        described |= {RECENT: contents.recent.astype(np.float64)}
    return dict(zip(OWN_FILES, own, strict=True)) | model | described


def _folder(version: str) -> str:
    if not _VERSION_NAME.fullmatch(version):
        raise ArtefactRefused(f"version: {version!r} is no version name; use a Kubernetes name such as movies-000042")
    return version_folder(version)


def write_arrays(store: Store, version: str, contents: VersionContents) -> dict[str, FileDigest]:
    """Write a version's arrays, each whole or not at all; without a card the version does not exist yet.

    The same contents give the same bytes, so a run that was killed half-way may simply be repeated.

    Raises:
        ArtefactRefused: the version's name is none.
    """
    folder = _folder(version)
    digests: dict[str, FileDigest] = {}
    for name, array in sorted(_named(contents).items()):
        store.write_parts(f"{folder}/{name}.npy", digesting(npy_parts(array), partial(digests.__setitem__, f"{name}.npy")))
    return digests


def write_card(store: Store, card: VersionCard) -> None:
    """Write the card: from now on the version exists.

    Raises:
        ArtefactRefused: the version's name is none, or the card's digest is not that of its files.
    """
    if card.digest != _digest(card):
        raise ArtefactRefused(f"{card.version}: digest {card.digest} is not that of its files, {_digest(card)}")
    store.write(f"{_folder(card.version)}/{CARD_FILE}", card.model_dump_json(indent=2).encode())


def read_card(store: Store, version: str) -> VersionCard | None:
    """The card of a version; None when the version does not exist.

    Raises:
        ArtefactRefused: the card cannot be read as one, or belongs to another version.
    """
    name = f"{_folder(version)}/{CARD_FILE}"
    if not _plain_card(store, version, name):
        return None
    try:
        card = VersionCard.model_validate_json(store.read(name))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise ArtefactRefused(f"{version}: {CARD_FILE} is no version card: {error.errors()[0]['msg']}") from error
    if card.version != version:
        raise ArtefactRefused(f"{version}: {CARD_FILE} is that of {card.version}")
    return card


def _plain_card(store: Store, version: str, name: str) -> bool:
    """Whether there is a card; a pipe would be read for ever, a link leads elsewhere, and what is too long is no card."""
    info = store.files.get_file_info(store.path(name))
    if info.type == fs.FileType.NotFound and not (store.local and os.path.islink(store.path(name))):  # noqa: PTH114 - a path of the store
        return False
    if info.type != fs.FileType.File or (store.local and os.path.islink(store.path(name))):  # noqa: PTH114
        raise ArtefactRefused(f"{version}: {CARD_FILE} is no plain file")
    if info.size > MOST_CARD_BYTES:
        raise ArtefactRefused(f"{version}: {CARD_FILE} has {info.size} bytes; no card has more than {MOST_CARD_BYTES}")
    return True


def version_names(store: Store) -> list[str]:
    """Names of all versions that have a folder, sorted; one without a card was never finished."""
    selector = fs.FileSelector(store.path(VERSIONS_FOLDER), recursive=False, allow_not_found=True)
    found = (info.base_name for info in store.files.get_file_info(selector) if info.type == fs.FileType.Directory)
    return sorted(name for name in found if _VERSION_NAME.fullmatch(name))


def _digest(card: VersionCard) -> str:
    return digest_of({name: file.sha256 for name, file in card.files.items()})


def open_version(store: Store, version: str, digest: str, cache_dir: Path, load: ModelLoader) -> LoadedVersion:
    """Verify a version and map it. Nothing is mapped before every file has the hash that the pinned digest covers.

    Args:
        store: Where versions are kept.
        version: Its name.
        digest: The digest that was pinned, from the rollout.
        cache_dir: Files of a store that is not local are copied here, into a folder named by the digest, and stay for the next process.
        load: Makes the model of its arrays.

    Raises:
        ArtefactRefused: a file is missing, unknown, a link, changed or no plain array, or the digest is another.
    """
    card = read_card(store, version)
    if card is None:
        raise ArtefactRefused(f"{version}: there is no {CARD_FILE} in {store.uri}/{_folder(version)}; the version does not exist")
    if not digest == card.digest == _digest(card):
        raise ArtefactRefused(f"{version}: digest {digest} was pinned, the card says {card.digest}, its files give {_digest(card)}")
    try:
        check_names(card.files, _present(store, version))
        folder = Path(store.path(_folder(version))) if store.local else local_copy(store, _folder(version), card, cache_dir)
        return _assembled(card, _mapped(folder, card), load)
    except (ArtefactRefused, ValueError) as error:
        raise ArtefactRefused(f"{version}: {error}") from error


def _mapped(folder: Path, card: VersionCard) -> Arrays:
    if folder.is_symlink():
        raise ArtefactRefused(f"{folder.name}: the folder is a symbolic link")
    files = dict(sorted(card.files.items()))
    arrays = map_verified({folder / name: file for name, file in files.items()})
    return {name.removesuffix(".npy"): array for name, array in zip(files, arrays, strict=True)}


def _present(store: Store, version: str) -> set[str]:
    """What a version's folder has that is meant to be arrays; what begins with a dot was never finished."""
    prefix = f"{_folder(version)}/"
    if store.local:
        # Links, pipes and folders too, none of which is followed.
        names = {entry.name for entry in os.scandir(store.path(_folder(version)))}
    else:
        names = {name.removeprefix(prefix) for name in store.names(_folder(version))}
    return {name for name in names if not name.startswith(".")} - BESIDE_THE_ARRAYS


def _assembled(card: VersionCard, arrays: Arrays, load: ModelLoader) -> LoadedVersion:
    missing = [name for name in OWN_FILES if name not in arrays]
    if missing:
        raise ArtefactRefused(f"{missing[0]}.npy: every version has it, this one does not")
    items = _identifiers(arrays, "item")
    users = _identifiers(arrays, "user")
    indptr = np.asarray(arrays["history_indptr"], dtype=np.int64)
    indices = np.asarray(arrays["history_indices"], dtype=np.int32)
    sizes = {
        **({RECENT: len(items)} if RECENT in arrays else {}),
        "popularity": len(items),
        "history_indptr": len(users) + 1,
        "history_indices": int(indptr[-1]),
        "history_weights": indices.size,
    }
    for name, size in sizes.items():
        if arrays[name].shape != (size,):
            raise ArtefactRefused(f"{name}.npy: shape {arrays[name].shape}; ({size},) was expected")
    if indices.size and not 0 <= indices.min() <= indices.max() < len(items):
        raise ArtefactRefused(f"history_indices.npy: points outside the {len(items)} items")
    own = {name.removeprefix(MODEL_PREFIX): array for name, array in arrays.items() if name.startswith(MODEL_PREFIX)}
    return LoadedVersion(
        card=card,
        item_ids=items,
        user_ids=users,
        popularity=np.asarray(arrays["popularity"], dtype=np.int64),
        model=load(card.algorithm, own, len(items)),
        history_indptr=indptr,
        history_indices=indices,
        history_weights=np.asarray(arrays["history_weights"], dtype=np.float32),
        content=content_of_arrays(arrays, len(items)),
        recent=_recent(arrays),
        facets=facets_of_arrays(arrays, len(items)),
    )


def _recent(arrays: Arrays) -> NDArray[np.float64] | None:
    if RECENT not in arrays:
        return None
    recent = np.asarray(arrays[RECENT], dtype=np.float64)
    if not (np.isfinite(recent).all() and (recent >= 0).all()):
        raise ArtefactRefused(f"{RECENT}.npy: finite numbers of at least 0 were expected, found {recent.min()} to {recent.max()}")
    return recent


def _identifiers(arrays: Arrays, kind: str) -> Identifiers:
    offsets = np.asarray(arrays[f"{kind}_offsets"], dtype=np.int64)
    return Identifiers(offsets=offsets, data=np.asarray(arrays[f"{kind}_bytes"], dtype=np.uint8))
