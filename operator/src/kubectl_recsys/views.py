"""What is there, for people: a model, its versions, and why a rollout went as it did."""

from collections.abc import Sequence

from kubectl_recsys.table import table
from recsys_operator.state.observed import ModelState, VersionState
from recsys_operator.world.errors import RefusedError
from recsys_operator.world.kube import Json, Kube
from recsys_operator.world.objects import (
    KINDS,
    MODELS,
    ROLLOUTS,
    UID_LABEL,
    VERSIONS,
    UnreadableError,
    folder,
    oldest_first,
    place,
    read_model,
    read_rollout,
    read_version,
)
from recsys_schemas.v1alpha1.version import GateVerdict


async def find(kube: Kube, plural: str, namespace: str, name: str) -> Json:
    """One object.

    Raises:
        RefusedError: there is none of that name.
    """
    body = await kube.get(place(plural, namespace, name))
    if body is None:
        raise RefusedError(f"no {KINDS[plural]} {name!r} in namespace {namespace}; see `kubectl get {plural} --all-namespaces`")
    return body


async def find_model(kube: Kube, namespace: str, name: str) -> ModelState:
    """One model; errors as `find`, and RefusedError when its object fits no schema known here."""
    body = await find(kube, MODELS, namespace, name)
    try:
        # Only the operator knows its storage root, and nothing here reads from it.
        return read_model(body, "file:///")
    except UnreadableError as error:
        raise RefusedError(str(error)) from error


async def status(kube: Kube, namespace: str, name: str) -> int:
    """Print a model's status; 1 unless it is Ready."""
    model = await find_model(kube, namespace, name)
    seen = model.status
    print(f"{model.key}: {seen.phase} (generation {model.generation}, status of generation {seen.observed_generation})")
    beside = (("beside it", arm) for arm in seen.arms)
    for role, arm in (("champion", seen.champion), ("challenger", seen.challenger), *beside):
        if arm is not None:
            print(f"{role}: {arm.version} to {arm.weight} % of users, {arm.digest}")
    if seen.ingestion is not None:
        taken = seen.ingestion
        at = f"{taken.last_snapshot_time:%Y-%m-%dT%H:%M:%SZ}"
        print(f"ingestion: {taken.rows} rows in snapshot {taken.sequence} of {at}, {taken.dead_letters} put aside")
        worst = taken.furthest_behind
        most = f" ({worst.topic}-{worst.partition} most, since {worst.since:%Y-%m-%dT%H:%M:%SZ})" if worst else ""
        print(f"lag: {taken.lag_records} records, {taken.lag_seconds} s{most}; consumers: {taken.consumers}")
        if taken.last_upkeep is not None:
            print(f"upkeep: {taken.last_upkeep.time:%Y-%m-%dT%H:%M:%SZ}, {taken.last_upkeep.message}")
    if seen.serving is not None:
        print(f"serving: {seen.serving.ready_replicas} of {seen.serving.replicas} replicas, {seen.serving.url}")
    print()
    print(table(("CONDITION", "STATUS", "REASON", "MESSAGE"), ((c.type, c.status, c.reason, c.message) for c in seen.conditions)))
    return 0 if any(c.type == "Ready" and c.status == "True" for c in seen.conditions) else 1


async def versions(kube: Kube, namespace: str, name: str) -> int:
    """Print a model's versions, the newest first."""
    model = await find_model(kube, namespace, name)
    bodies = await kube.items(folder(VERSIONS, namespace), labels={UID_LABEL: model.uid})
    found = [read_version(body) for body in reversed(oldest_first(bodies, model.uid))]
    heads = ("VERSION", "PHASE", "ALGORITHM", "ROWS", "NDCG@10", "GATES", "WHY", "MESSAGE")
    print(table(heads, (_row(version) for version in found)))
    return 0


def _row(version: VersionState) -> tuple[object, ...]:
    ndcg = next((f"{m.value} [{m.low}, {m.high}]" for m in version.status.metrics if m.metric == "ndcg@10"), None)
    gates = _gates(version.status.gates)
    spec, seen = version.spec, version.status
    return (version.name, seen.phase, spec.algorithm, spec.snapshot.rows, ndcg, gates, spec.cause.detail, seen.message or None)


def _gates(found: Sequence[GateVerdict]) -> str | None:
    """Those that stop it or only report, by name; how many of the others there are."""
    words = [f"{gate.name} {gate.verdict}" for gate in found if gate.verdict not in ("Passed", "Abstained")]
    counts = {word: sum(gate.verdict == word for gate in found) for word in ("Passed", "Abstained")}
    return ", ".join([*words, *(f"{count} {word}" for word, count in counts.items() if count)]) or None


async def explain(kube: Kube, namespace: str, name: str) -> int:
    """Print where a rollout stands and every verdict so far."""
    body = await find(kube, ROLLOUTS, namespace, name)
    try:
        walk = read_rollout(body)
    except UnreadableError as error:
        raise RefusedError(str(error)) from error
    spec, seen = walk.spec, walk.status
    against = f"against {spec.stable.name}" if spec.stable else "with nothing before it"
    verified = "reported by every replica" if seen.verified else "not yet reported by every replica"
    tried = ", ".join(pin.name for pin in spec.tried)
    print(f"{namespace}/{name}: {seen.phase}: {tried} {against}, at {seen.weight} % of users ({verified})")
    if seen.message:
        print(seen.message)
    if seen.winner is not None:
        print(f"taken: {seen.winner.name}")
    for gone in seen.left:
        print(f"left the test: {gone.name}, {gone.since:%Y-%m-%dT%H:%M:%SZ}")
    beside = ((arm.name, arm.totals) for arm in seen.evidence.arms)
    arms = (("stable", seen.evidence.stable), ("candidate", seen.evidence.candidate), *beside)
    print()
    print(
        table(
            ("ARM", "REQUESTS", "ERRORS", "IMPRESSIONS", "REWARDS"), ((n, a.requests, a.errors, a.impressions, a.rewards) for n, a in arms)
        )
    )
    print()
    rows = ((each.time.isoformat(timespec="seconds"), each.step, each.verdict, each.by or None, each.words) for each in seen.decisions)
    print(table(("TIME", "STEP", "VERDICT", "ASKED BY", "WHY"), rows))
    return 0
