"""`recsys versions list | show | diff | report`: what versions there are, what one is made of, in what two differ, a page of it."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from ray_apps.algorithms import load_model
from ray_apps.algorithms.interactions import Histories
from ray_apps.cli.text import size, table, tell, tell_json
from ray_apps.reports.exposure import exposure
from ray_apps.reports.page import page
from ray_apps.stores.objects import StorageError, Store
from ray_apps.stores.registry import ArtefactRefused, open_version, read_card, version_names
from ray_apps.stores.snapshots import sequences
from ray_apps.training.rebuilding import Change, changes
from ray_apps.training.table import table as comparison
from recsys_schemas.v1alpha1.version import VersionStatus
from recsys_schemas.version_card import Evaluation, VersionCard


def card_of(store: Store, version: str) -> VersionCard:
    """The card of a version.

    Raises:
        StorageError: there is no such version, or its card cannot be read.
    """
    try:
        card = read_card(store, version)
    except ArtefactRefused as error:
        raise StorageError(str(error)) from error
    if card is None:
        known = version_names(store)
        there = f"it has {known[0]} to {known[-1]}" if known else "it has none; correct --storage, or wait for the first training run"
        raise StorageError(f"version {version!r}: not in {store.uri}; {there}")
    return card


def list_versions(store: Store, last: int, *, as_json: bool) -> int:
    """Print the newest versions, the newest first.

    Raises:
        StorageError: a card cannot be read.
    """
    names = version_names(store)
    found = [(name, _read(store, name)) for name in reversed(names[-last:])]
    cards = [card for _, card in found if card is not None]
    there = set(sequences(store))
    if as_json:
        tell_json([card.model_dump(mode="json") | {"snapshot_there": card.snapshot.sequence in there} for card in cards])
        return 0
    heads = ("VERSION", "MADE AT", "ALGORITHM", "SNAPSHOT", "ROWS", "NDCG@10", "SIZE", "PARENT", "DIGEST")
    tell(table(heads, (_row(card, there) for card in cards)))
    unfinished = [name for name, card in found if card is None]
    if unfinished:
        tell(f"\nwithout a card, so never finished or being made now: {', '.join(unfinished)}")
    if len(names) > len(found):
        tell(f"\n{len(names) - len(found)} older ones from {names[0]} on; --last {len(names)} shows all")
    return 0


def _read(store: Store, name: str) -> VersionCard | None:
    try:
        return read_card(store, name)
    except ArtefactRefused as error:
        raise StorageError(str(error)) from error


def _row(card: VersionCard, there: set[int]) -> tuple[object, ...]:
    ndcg = next((each.metrics["ndcg@10"] for each in card.evaluations if "ndcg@10" in each.metrics), None)
    told = f"{ndcg.value:.4f} [{ndcg.low:.4f}, {ndcg.high:.4f}]" if ndcg else None
    snapshot = f"{card.snapshot.sequence}{'' if card.snapshot.sequence in there else ' (gone)'}"
    made = card.created_at.isoformat(timespec="seconds")
    weight = size(sum(file.size_bytes for file in card.files.values()))
    return (card.version, made, card.algorithm, snapshot, card.snapshot.rows, told, weight, card.parent, card.digest[:19])


def show(store: Store, version: str, verdicts: VersionStatus | None, *, as_json: bool) -> int:
    """Print a card, whole; and what the operator decided about it, where that is handed in.

    Raises:
        StorageError: there is no such version.
    """
    card = card_of(store, version)
    if as_json:
        decided = verdicts.model_dump(mode="json", by_alias=True, exclude_none=True) if verdicts else None
        tell_json(card.model_dump(mode="json") | {"uri": store.uri, "status": decided})
        return 0
    tell(f"{card.version} of {card.model}: {card.digest}")
    tell(f"made at {card.created_at.isoformat(timespec='seconds')} {card.worker}".rstrip() + f"; parent: {card.parent or 'none'}\n")
    tell(comparison(card))
    _differences(card)
    _made_of(card)
    tell("")
    tell(table(("FILE", "SIZE", "SHA-256"), ((name, size(file.size_bytes), file.sha256) for name, file in sorted(card.files.items()))))
    tell("")
    _decided(verdicts, card)
    return 0


def _differences(card: VersionCard) -> None:
    """The candidate minus each other model, over all and by slice."""
    rows = [
        (each.name, where, metric, f"{e.value:+.4f} [{e.low:+.4f}, {e.high:+.4f}]", e.samples)
        for each in card.evaluations
        for where, found in {"all": each.difference, **each.slice_difference}.items()
        for metric, e in sorted(found.items())
    ]
    if rows:
        tell("")
        tell(table(("MINUS", "SLICE", "METRIC", "DIFFERENCE", "SAMPLES"), rows))
    for each in card.evaluations:
        for metric, why in sorted(each.abstained.items()):
            tell(f"{each.name}: {metric} abstains: {why}")


def _made_of(card: VersionCard) -> None:
    manifest = card.snapshot
    tell(f"\nsnapshot {manifest.sequence} of Kafka cluster {manifest.cluster_id}, committed at {manifest.committed_at.isoformat()}")
    tell(table(("TABLE", "VERSION", "ROWS"), ((each.event_type, each.version, each.rows) for each in manifest.tables)))
    tell(table(("TOPIC", "PARTITION", "NEXT OFFSET"), ((each.topic, each.partition, each.next_offset) for each in manifest.offsets)))
    tell("")
    tell(table(("MADE WITH", ""), [("algorithm", card.algorithm), ("seed", card.seed), *sorted(card.hyperparameters.items())]))
    workers = card.job.num_workers if card.job else "unknown"
    told = [("workers", workers), *sorted(card.libraries.items()), *sorted(card.machine.items())]
    tell(table(("WITH", ""), [*told, *((f"code of {part}", digest) for part, digest in sorted(card.code.items()))]))


def _decided(verdicts: VersionStatus | None, card: VersionCard) -> None:
    if verdicts is None:
        where = f"kubectl recsys versions show {card.model.rsplit('/', 1)[-1]} {card.version}"
        tell(f"gates     judged by the operator after the card was written: `{where}` shows bounds and verdicts too")
        return
    tell(f"phase     {verdicts.phase}: {verdicts.message}")
    tell(table(("GATE", "VERDICT", "WHY"), ((gate.name, gate.verdict, gate.message) for gate in verdicts.gates)))


_ASKED: dict[str, Callable[[VersionCard], object]] = {
    "algorithm": lambda card: card.algorithm,
    "seed": lambda card: card.seed,
    "snapshot": lambda card: card.snapshot.sequence,
    "rows": lambda card: card.snapshot.rows,
    "users": lambda card: card.users,
    "items": lambda card: card.items,
    "interactions": lambda card: card.interactions,
    "split": lambda card: card.split,
    "parent": lambda card: card.parent,
    "workers": lambda card: card.job.num_workers if card.job else None,
    "digest": lambda card: card.digest,
}


def differences(older: VersionCard, newer: VersionCard) -> list[Change]:
    """In what two cards differ: what was asked, data, surroundings, metrics of the candidate, and files."""
    found = changes("", {name: of(older) for name, of in _ASKED.items()}, {name: of(newer) for name, of in _ASKED.items()})
    pairs = (
        ("hyperparameter", older.hyperparameters, newer.hyperparameters),
        ("next offset of", _offsets(older), _offsets(newer)),
        ("library", older.libraries, newer.libraries),
        ("code of ray_apps", older.code, newer.code),
        ("machine", older.machine, newer.machine),
        ("metric", _metrics(older), _metrics(newer)),
        ("file", _files(older), _files(newer)),
    )
    return found + [change for what, then, now in pairs for change in changes(what, then, now)]


def _offsets(card: VersionCard) -> dict[str, int]:
    return {f"{each.topic}-{each.partition}": each.next_offset for each in card.snapshot.offsets}


def _metrics(card: VersionCard) -> dict[str, str]:
    candidate: Sequence[Evaluation] = [each for each in card.evaluations if each.role == "candidate"]
    return {name: f"{e.value:.4f} [{e.low:.4f}, {e.high:.4f}]" for each in candidate for name, e in each.metrics.items()}


def _files(card: VersionCard) -> dict[str, str]:
    return {name: f"{size(file.size_bytes)} {file.sha256[:12]}" for name, file in card.files.items()}


def diff(store: Store, older: str, newer: str, *, as_json: bool) -> int:
    """Print in what two versions differ.

    Raises:
        StorageError: one of them is not there.
    """
    found = differences(card_of(store, older), card_of(store, newer))
    if as_json:
        tell_json([{"what": each.what.strip(), "then": each.then, "now": each.now} for each in found])
    else:
        tell(table(("WHAT", older, newer), ((each.what.strip(), each.then, each.now) for each in found)) if found else "nothing differs")
    return 0


def report(store: Store, version: str, to: Path, *, as_json: bool) -> int:
    """Write a version's page. The one in the store is not taken, for the digest does not cover it.

    Raises:
        StorageError: there is no such version.
        ArtefactRefused: its files are not what the card says.
        OSError: the page cannot be written.
    """
    card = card_of(store, version)
    with tempfile.TemporaryDirectory(prefix="recsys-version-") as cache:
        opened = open_version(store, version, card.digest, Path(cache), load_model)
        histories = Histories(indptr=opened.history_indptr, indices=opened.history_indices, weights=opened.history_weights)
        text = page(card, exposure(opened.model.scores, histories, opened.popularity, opened.item_ids.__getitem__))
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(text, encoding="utf-8")
    tell_json({"report": str(to)}) if as_json else tell(f"{version}: {to}")
    return 0
