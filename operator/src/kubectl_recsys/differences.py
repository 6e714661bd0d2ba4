"""`kubectl recsys diff`: in what two versions and their rollouts differ: what was asked, trained, measured and shown."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from kubectl_recsys.table import table
from recsys_operator.state.observed import RolloutState, VersionState
from recsys_operator.world.errors import RefusedError
from recsys_operator.world.kube import Json, Kube
from recsys_operator.world.objects import ROLLOUTS, VERSIONS, UnreadableError, dump, place, read_rollout, read_version

_NAMED_BY = ("name", "metric", "baseline")
"""What a list's entries are told apart by; entries with none of these are compared as one value."""
_LONGEST = 60

T = TypeVar("T")
Rows = list[tuple[str, str | None, str | None]]


async def differences(kube: Kube, namespace: str, older: str, newer: str) -> int:
    """Print in what two versions, or two rollouts with their candidates, differ; 0 when in nothing, else 1.

    Args:
        kube: the API server.
        namespace: of both.
        older: name of a version or of a rollout; what first went out under a version's name has the same.
        newer: the other one.

    Raises:
        RefusedError: there is nothing of one of these names, or it fits no schema known here.
    """
    walks = [await _read(kube, ROLLOUTS, namespace, name, read_rollout) for name in (older, newer)]
    versions = [
        await _read(kube, VERSIONS, namespace, walk.spec.candidate.name if walk else name, read_version)
        for walk, name in zip(walks, (older, newer), strict=True)
    ]
    for name, walk, version in zip((older, newer), walks, versions, strict=True):
        if walk is None and version is None:
            raise RefusedError(f"no version and no rollout {name!r} in namespace {namespace}; see `kubectl get rmv,rro -n {namespace}`")
    models = {(each.spec.model_ref.name, each.spec.model_ref.uid) for each in (*walks, *versions) if each is not None}
    if len(models) > 1:
        raise RefusedError(
            f"{older} and {newer} belong to {len(models)} models ({', '.join(sorted(name for name, _ in models))}): compare two of one"
        )
    parts = {
        "VERSION": differing(*(version_facts(each) for each in versions)),
        "MEASURED": measured(*versions),
        "ROLLOUT": differing(*(rollout_facts(each) for each in walks)),
        "EVIDENCE": differing(*(evidence_facts(each) for each in walks)),
    }
    told = [table((part, older, newer), rows) for part, rows in parts.items() if rows]
    print("\n\n".join(told) if told else f"{older} and {newer} differ in nothing but their names and times")
    if told and all(versions):
        name = next(iter(models))[0]
        print(f"\nin what their cards and files differ: kubectl recsys versions diff {name} {' '.join(_names(versions))}")
    return 1 if told else 0


def _names(versions: Iterable[VersionState | None]) -> list[str]:
    return [each.name for each in versions if each is not None]


async def _read(kube: Kube, plural: str, namespace: str, name: str, read: Callable[[Json], T]) -> T | None:
    body = await kube.get(place(plural, namespace, name))
    try:
        return read(body) if body is not None else None
    except UnreadableError as error:
        raise RefusedError(str(error)) from error


def version_facts(version: VersionState | None) -> dict[str, str]:
    """What was asked of a version and what came of it, by dotted path; times and the measured numbers are left out."""
    if version is None:
        return {}
    spec, seen = dump(version.spec), dump(version.status)
    for volatile in ("startedAt", "progress", "metrics", "report", "message"):
        seen.pop(volatile, None)
    seen["gates"] = [{"name": each["name"], "verdict": each["verdict"]} for each in seen.get("gates", [])]
    spec.pop("modelRef", None)
    return flat({"spec": spec, "status": seen})


def rollout_facts(walk: RolloutState | None) -> dict[str, str]:
    """How a version was given out: strategy, steps, what a step must earn, who steered, how it ended and why."""
    if walk is None:
        return {}
    spec = dump(walk.spec)
    spec.pop("modelRef", None)
    seen = {"phase": str(walk.status.phase), "weight": walk.status.weight, "decisions": [each.verdict for each in walk.status.decisions]}
    took = _minutes(walk)
    ended = {"last words": walk.status.decisions[-1].words} if walk.status.decisions else {}
    return flat({"spec": spec, "status": seen | ended | ({"took": took} if took else {})})


def _minutes(walk: RolloutState) -> str:
    if walk.status.started_at is None or walk.status.ended_at is None:
        return ""
    return f"{(walk.status.ended_at - walk.status.started_at).total_seconds() / 60:.1f} min"


def evidence_facts(walk: RolloutState | None) -> dict[str, str]:
    """What the users' answers showed: the counts of both arms, and each metric's verdict with its numbers."""
    if walk is None:
        return {}
    evidence = walk.status.evidence
    shown = {each.metric: f"{each.verdict}: {each.words}" for each in evidence.shown}
    arms = {
        arm: f"{seen.requests} requests, {seen.errors} errors, {seen.impressions} answers, {seen.rewards} rewarded"
        for arm, seen in (("stable", evidence.stable), ("candidate", evidence.candidate))
    }
    more = {name: dump(seen) for name, seen in (("shadow", evidence.shadow), ("preference", evidence.preference)) if seen}
    return flat(arms | shown | more)


def measured(older: VersionState | None, newer: VersionState | None) -> Rows:
    """The numbers of both cards, each with its interval; what lies outside the other's is marked."""
    both = [{f"{m.model} {m.metric}": m for m in each.status.metrics} if each else {} for each in (older, newer)]
    rows: Rows = []
    for name in dict.fromkeys([*both[0], *both[1]]):
        pair = [found.get(name) for found in both]
        words = [f"{each.value} [{each.low}, {each.high}]" if each else None for each in pair]
        if words[0] == words[1]:
            continue
        old, new = pair
        if old is not None and new is not None and words[1] is not None:
            apart = "above" if float(new.low) > float(old.high) else "below" if float(new.high) < float(old.low) else ""
            words[1] += f" {apart}" if apart else ""
        rows.append((name, words[0], words[1]))
    return rows


def differing(older: Mapping[str, str], newer: Mapping[str, str]) -> Rows:
    """The paths whose values differ, in their order.

    >>> differing({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"})
    [('b', '2', '3'), ('c', None, '4')]
    """
    paths = dict.fromkeys([*older, *newer])
    return [(path, _short(older.get(path)), _short(newer.get(path))) for path in paths if older.get(path) != newer.get(path)]


def _short(words: str | None) -> str | None:
    return words if words is None or len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…"


def flat(value: object, path: str = "") -> dict[str, str]:
    """A document by dotted path.

    >>> flat({"steps": [{"setWeight": 5}, {"setWeight": 50}], "gates": [{"name": "size", "verdict": "Passed"}]})
    {'steps[0].setWeight': '5', 'steps[1].setWeight': '50', 'gates[size].verdict': 'Passed'}
    """
    if isinstance(value, Mapping):
        found: dict[str, str] = {}
        for name, each in value.items():
            found |= flat(each, f"{path}.{name}" if path else str(name))
        return found
    if isinstance(value, list | tuple):
        if not all(isinstance(each, Mapping) for each in value):
            return {path: ", ".join(map(str, value))}
        found = {}
        for number, each in enumerate(value):
            key = next((each[name] for name in _NAMED_BY if name in each), number)
            found |= flat({name: one for name, one in each.items() if one != key}, f"{path}[{key}]")
        return found
    return {path: str(value)}
