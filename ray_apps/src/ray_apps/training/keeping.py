"""What a fit leaves after each epoch, so that a worker's death costs an epoch and not the run: a Ray Train checkpoint of .npy files.

Each worker writes its own blocks of the items' vectors, `fit-<n>.items-<block>.npy`, and all the same `fit-<n>.json`; Ray Train merges
the folders. Vectors of the items are all that going on takes: users' are solved from them. Fits that ended stay in later checkpoints.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ray_apps.algorithms.ials_blocks import Progress, Side
from ray_apps.algorithms.ials_rows import Factors

logger = logging.getLogger(__name__)


class KeptRefusedError(ValueError):
    """What was kept does not fit the fit that asks for it, or is damaged; the message says how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Of which fit it is, and how far it was."""

    fingerprint: str
    epochs: int


def fingerprint(values: Mapping[str, float], seed: int, both: tuple[Side, Side], start: Factors | None) -> str:
    """What a fit is made of, as a digest: another fit's vectors are never gone on from."""
    made = hashlib.sha256(json.dumps([dict(sorted(values.items())), seed]).encode())
    for side in both:
        made.update(side.lengths.tobytes())
    made.update(b"" if start is None else np.ascontiguousarray(start).tobytes())
    return made.hexdigest()


def write(folder: Path, fit: int, mark: Mark, items: Mapping[int, Factors]) -> None:
    """Write one worker's part of a fit's state."""
    for block, vectors in items.items():
        np.save(folder / f"fit-{fit}.items-{block:04d}.npy", vectors, allow_pickle=False)
    (folder / f"fit-{fit}.json").write_text(json.dumps(asdict(mark)))


def read(folder: Path, fit: int, wanted: str, items: Side, factors: int) -> Progress | None:
    """What a fit left, of the blocks that this worker has now; None when the checkpoint says nothing of the fit.

    Raises:
        KeptRefusedError: it is another fit's, or a part is missing or damaged.
    """
    path = folder / f"fit-{fit}.json"
    blocks = sorted(folder.glob(f"fit-{fit}.items-*.npy"))
    if not path.exists() and not blocks:
        return None
    mark = _mark(path)
    if mark.fingerprint != wanted:
        raise KeptRefusedError(f"{path.name}: it is of another fit (other data, hyperparameters, seed or start)")
    if len(blocks) != items.blocks:
        raise KeptRefusedError(f"fit-{fit}: {len(blocks)} of {items.blocks} blocks of items are there")
    return Progress(epochs=mark.epochs, items={block: _vectors(blocks[block], len(rows), factors) for block, rows in items.own.items()})


def _mark(path: Path) -> Mark:
    try:
        seen = json.loads(path.read_text())
        mark = Mark(fingerprint=str(seen["fingerprint"]), epochs=int(seen["epochs"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KeptRefusedError(f"{path.name}: it does not say which epoch was kept ({type(error).__name__}: {error})") from error
    if mark.epochs < 1:
        raise KeptRefusedError(f"{path.name}: epochs {mark.epochs}; nothing is kept before the first")
    return mark


def _vectors(path: Path, rows: int, factors: int) -> Factors:
    try:
        vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise KeptRefusedError(f"{path.name}: {error}") from error
    if vectors.dtype != np.float32 or vectors.shape != (rows, factors) or not np.isfinite(vectors).all():
        raise KeptRefusedError(f"{path.name}: {vectors.dtype} of shape {vectors.shape}; finite float32 of ({rows}, {factors}) was expected")
    return vectors
