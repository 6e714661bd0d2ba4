"""A card in MLflow's words: params, metrics and tags, with names and lengths that it takes."""

import math
import re
from collections.abc import Iterator

from recsys_schemas.mirror import MirroredVersion
from recsys_schemas.version_card import Estimate, VersionCard

VERSION_TAG, DIGEST_TAG, MODEL_TAG = "recsys.version", "recsys.digest", "recsys.model"
"""By these a run is known again: whatever was killed when, it is looked for before one is made."""
_LONGEST_VALUE = 5000
_LONGEST_PARAM = 6000
_LONGEST_NAME = 250
_REFUSED = re.compile(r"[^A-Za-z0-9_. /-]")


def name_of(words: str) -> str:
    """A name that MLflow takes: `ndcg@10` becomes `ndcg_at_10`.

    >>> name_of("ndcg@10"), name_of("group:country=AT")
    ('ndcg_at_10', 'group_country_AT')
    """
    plain = _REFUSED.sub("_", words.replace("@", "_at_")).replace("..", "_").strip("/ ")
    return plain[:_LONGEST_NAME] or "_"


def metrics_of(card: VersionCard) -> list[dict[str, str | float | int]]:
    """Each metric with both ends of its interval, of every model and slice, at the time of the card."""
    at = int(card.created_at.timestamp() * 1000)
    found = {name: value for name, value in _numbers(card) if math.isfinite(value)}
    return [{"key": name, "value": value, "timestamp": at, "step": 0} for name, value in found.items()]


def _numbers(card: VersionCard) -> Iterator[tuple[str, float]]:
    for each in card.evaluations:
        own = "" if each.role == "candidate" else f"{each.role}/{each.name}/"
        for metric, e in each.metrics.items():
            yield from _interval(f"{own}{metric}", e)
        for metric, e in each.difference.items():
            yield from _interval(f"difference/{each.name}/{metric}", e)
        for part, metrics in each.slices.items():
            for metric, e in metrics.items():
                yield from _interval(f"{own}slice/{part}/{metric}", e)
        yield name_of(f"{own}train_seconds"), each.train_seconds
        yield name_of(f"{own}inference_ms_per_user"), each.inference_ms_per_user
        yield name_of(f"{own}size_bytes"), float(each.size_bytes)


def _interval(name: str, e: Estimate) -> Iterator[tuple[str, float]]:
    plain = name_of(name)
    yield plain, e.value
    yield f"{plain}.low", e.low
    yield f"{plain}.high", e.high


def params_of(card: VersionCard) -> dict[str, str]:
    """What the version was made with. MLflow never lets a param change, and a card never does."""
    facts: dict[str, object] = {"algorithm": card.algorithm, "seed": card.seed, "split": card.split}
    facts |= {f"hyperparameters.{name}": value for name, value in card.hyperparameters.items()}
    facts |= {"users": card.users, "items": card.items, "interactions": card.interactions, "test_users": card.test_users}
    facts |= {f"library.{name}": version for name, version in card.libraries.items()}
    return {name_of(name): str(value)[:_LONGEST_PARAM] for name, value in facts.items()}


def tags_of(card: VersionCard, shown: MirroredVersion, storage_uri: str, folder: str) -> dict[str, str]:
    """What the version is and became, and where its files are."""
    tags = {
        VERSION_TAG: card.version,
        DIGEST_TAG: card.digest,
        MODEL_TAG: card.model,
        "recsys.snapshot": str(card.snapshot.sequence),
        "recsys.parent": card.parent or "",
        "recsys.phase": shown.phase,
        "recsys.uri": f"{storage_uri}/{folder}",
        "mlflow.note.content": f"{card.version} of {card.model}: {card.algorithm} on snapshot {card.snapshot.sequence}. {shown.phase}.",
    }
    tags |= {name_of(f"recsys.code.{part}"): digest for part, digest in card.code.items()}
    tags |= {name_of(f"recsys.gate.{gate}"): verdict for gate, verdict in shown.gates.items()}
    return {name: value[:_LONGEST_VALUE] for name, value in tags.items()}
