"""`recsys versions reproduce`: make a version again by its card alone, and compare it byte for byte."""

import tempfile
from dataclasses import asdict
from pathlib import Path

from ray_apps.cli.text import table, tell, tell_json
from ray_apps.cli.versions import card_of
from ray_apps.stores.objects import Store, open_store
from ray_apps.training.rebuilding import Rebuilt, rebuild


def reproduce(store: Store, version: str, keep: Path | None, *, metrics: bool, as_json: bool) -> int:
    """Rebuild a version from its snapshot; 1 when it comes out otherwise.

    Args:
        store: Where version and snapshot are.
        version: Its name.
        keep: Folder in which the arrays stay; else they go.
        metrics: Measure again too, and compare.
        as_json: For programs.

    Raises:
        StorageError: version or snapshot are not there.
        TrainingRefused: the snapshot has too little, or the algorithm is not known here.
    """
    card = card_of(store, version)
    with tempfile.TemporaryDirectory(prefix="recsys-rebuilt-") as folder:
        scratch = open_store(f"file://{keep.resolve() if keep else folder}")
        rebuilt = rebuild(card, store, scratch, champions=Path(folder, "champions") if metrics else None)
    good = rebuilt.same and not rebuilt.metrics
    if as_json:
        tell_json(_facts(rebuilt) | {"good": good})
    else:
        _tell(rebuilt)
    return 0 if good else 1


def _facts(rebuilt: Rebuilt) -> dict[str, object]:
    return {
        "version": rebuilt.card.version,
        "digest": rebuilt.card.digest,
        "rebuilt_digest": rebuilt.digest,
        "same": rebuilt.same,
        "changed_files": list(rebuilt.changed),
        "surroundings": [asdict(each) for each in rebuilt.surroundings],
        "metrics": None if rebuilt.metrics is None else [asdict(each) for each in rebuilt.metrics],
    }


def _tell(rebuilt: Rebuilt) -> None:
    card = rebuilt.card
    tell(f"{card.version}, made again from snapshot {card.snapshot.sequence}: {card.algorithm}, seed {card.seed}")
    tell(f"card      {card.digest}\nrebuilt   {rebuilt.digest}")
    if rebuilt.surroundings:
        verdict = "the bytes are the same all the same" if rebuilt.same else "any of these may be why the bytes are others"
        tell(f"warning   made with other libraries, code or kernels than are here; {verdict}")
        tell(table(("WHAT", "BY THE CARD", "HERE"), ((each.what, each.then, each.now) for each in rebuilt.surroundings)))
    if rebuilt.metrics is not None:
        tell(f"metrics   {'equal' if not rebuilt.metrics else f'{len(rebuilt.metrics)} came out otherwise'}")
        if rebuilt.metrics:
            tell(table(("METRIC", "BY THE CARD", "HERE"), ((each.what, each.then, each.now) for each in rebuilt.metrics)))
    if rebuilt.same:
        tell("the same, byte for byte" if not rebuilt.metrics else "the same arrays, but NOT THE SAME METRICS")
        return
    tell(table(("FILE", "BY THE CARD", "HERE"), ((name, _sum(rebuilt, name, card=True), _sum(rebuilt, name)) for name in rebuilt.changed)))
    tell(_blame(rebuilt))
    tell("NOT THE SAME")


def _sum(rebuilt: Rebuilt, name: str, *, card: bool = False) -> str | None:
    file = (rebuilt.card.files if card else rebuilt.files).get(name)
    return file.sha256[:16] if file else None


def _blame(rebuilt: Rebuilt) -> str:
    """Where to look for the cause, in words."""
    if rebuilt.data_differ:
        return "what was read from the snapshot differs, not only what was learnt from it: compare the code of training and stores"
    if rebuilt.surroundings:
        return "the data are the same, what was learnt is not: install what the card names, and try again"
    words = "the data, libraries, code and kernels are the same: the card's seed, algorithm or hyperparameters are not those it was made"
    return f"{words} with, or its files were changed together with it"
