"""The plan of one pass: each concern judges its state in one word and acts on it; here they are put together."""

from datetime import timedelta

from recsys_operator.plan import (
    acting,
    cluster,
    definitions,
    freshness,
    ingest,
    mirror,
    raising,
    rollback,
    rollout,
    serving,
    shares,
    status,
    telling,
    topics,
    training,
    upkeep,
)
from recsys_operator.plan.audit import recording
from recsys_operator.plan.due import DAY
from recsys_operator.plan.names import app_name, uid8
from recsys_operator.state.actions import (
    Action,
    AddFinalizer,
    AppendRecord,
    DeleteVersion,
    DeployApp,
    KeepCluster,
    Notify,
    PublishEvent,
    RemoveApp,
    RemoveFinalizer,
    RunOwnJob,
    StopJob,
    SubmitJob,
    ThrottleReplication,
    WriteRolloutStatus,
    WriteVersionStatus,
)
from recsys_operator.state.observed import Observed, RolloutState, Unavailable, VersionState
from recsys_operator.state.plan import Part, Plan
from recsys_schemas.v1alpha1.rollout import Pinned, RolloutPhase
from recsys_schemas.v1alpha1.version import VersionPhase

SOON = timedelta(seconds=0.25)
"""After something was done: what it brings about is looked for at once."""
BUSY = timedelta(seconds=1)
"""While something is under way."""
IDLE = timedelta(seconds=5)
"""While nothing is."""
ASLEEP = timedelta(seconds=60)
"""While the model is suspended: nothing is done for it, and a change of it is told at once."""
LET_GO = timedelta(seconds=60)
"""A deletion waits so long for an engine that does not answer; then the model goes, and a warning says what may be left."""


TAKEN_BACK = SubmitJob | RunOwnJob | DeployApp | ThrottleReplication | KeepCluster
"""What a model does outside itself that must be undone when it goes. Before the first of it the model is held; until then nothing
is in the way of its deletion, not even an operator that is away."""


def plan(observed: Observed) -> Plan:
    """Decide one pass: a pure function of what was seen."""
    if observed.model.deleting_since is not None:
        return _farewell(observed)
    seen = topics.judge(observed)
    parts = [topics.act(seen, observed), ingest.act(ingest.judge(observed, seen), observed)]
    parts.append(training.act(training.judge(observed, seen), observed, seen))
    word = rollout.judge(observed, seen)
    walk = recording.keeping(observed, seen, word, acting.act(word, observed))
    written = next((action.status for action in walk.actions if isinstance(action, WriteRolloutStatus)), None)
    parts.append(rollback.act(rollback.judge(observed), observed))
    app = serving.judge(observed, seen, written)
    parts += [walk, serving.act(app, observed, written), freshness.part(observed)]
    parts += [Part(actions=(*_phases(observed), *_prune(observed))), upkeep.act(upkeep.judge(observed), observed)]
    parts += [telling.part(observed), recording.part(observed), mirror.act(mirror.judge(observed), observed), _raise(observed)]
    parts.append(definitions.part(observed))
    # Last: where the cluster cannot be written, all else has been done.
    parts.append(cluster.act(cluster.judge(observed), observed))
    actions = tuple(action for part in parts for action in part.actions)
    written_now = {action.name for action in actions if isinstance(action, WriteVersionStatus | DeleteVersion)}
    actions += upkeep.lost(observed, written_now)
    actions = recording.trimmed(observed, cluster.with_own_jobs(observed, actions))
    if not observed.model.has_finalizer and any(isinstance(action, TAKEN_BACK) for action in actions):
        actions = (AddFinalizer(), *actions)
    facts = [fact for part in parts for fact in part.facts]
    busy = any(part.busy for part in parts)
    asleep = observed.model.spec.suspend and observed.model.generation == observed.model.status.observed_generation
    wait = SOON if _moved(observed, actions) else BUSY if busy else ASLEEP if asleep else IDLE
    return Plan(actions=actions, status=status.compose(observed, facts, serving.retry(app, observed)), wake_at=observed.now + wait)


def _raise(observed: Observed) -> Part:
    """Last of all, for no other action rests on it: replicas that the brokers refuse to add hold nothing else up."""
    now = raising.step(observed)
    return Part(actions=now.actions, busy=now.raising != raising.remembered(observed))


def _moved(observed: Observed, actions: tuple[Action, ...]) -> bool:
    """Whether a pass does more than to tell, and to write down the newest evidence of a step that goes on."""
    standing = {(walk.name, walk.status.phase, walk.status.weight) for walk in observed.rollouts}
    for action in actions:
        match action:
            case PublishEvent() | Notify() | AppendRecord():
                continue
            case WriteRolloutStatus():
                if (action.name, action.status.phase, action.status.weight) not in standing:
                    return True
            case _:
                return True
    return False


def _phases(observed: Observed) -> tuple[Action, ...]:
    """A version that has a rollout takes its phase from it."""
    champion = shares.champion(observed)
    versions = {version.name: version for version in observed.versions}
    actions: list[Action] = []
    newest = {pin.name: walk for walk in observed.rollouts for pin in walk.spec.tried}
    for name, walk in newest.items():
        version = versions.get(name)
        if version is None:
            continue
        phase = _phase_of(name, walk, champion)
        if version.status.phase is not phase:
            written = version.status.model_copy(update={"phase": phase, "message": walk.status.message[:900]})
            actions.append(WriteVersionStatus(name=version.name, status=written))
    return tuple(actions)


def _phase_of(name: str, walk: RolloutState, champion: Pinned | None) -> VersionPhase:
    """What the newest rollout in which a version took part makes of it."""
    if name in walk.left:
        return VersionPhase.ROLLED_BACK
    match walk.status.phase:
        case RolloutPhase.SUCCESSFUL | RolloutPhase.HOLDING:
            return VersionPhase.CHAMPION if champion == walk.lead and walk.lead.name == name else VersionPhase.RETIRED
        case RolloutPhase.ROLLED_BACK | RolloutPhase.ABORTED:
            return VersionPhase.ROLLED_BACK if walk.lead.name == name else VersionPhase.RETIRED
        case RolloutPhase.SUPERSEDED | RolloutPhase.INCONCLUSIVE:
            return VersionPhase.RETIRED
        case _:
            return VersionPhase.CANDIDATE


_OVER = frozenset({VersionPhase.RETIRED, VersionPhase.REJECTED, VersionPhase.ROLLED_BACK, VersionPhase.FAILED})


def _prune(observed: Observed) -> tuple[Action, ...]:
    """Objects of ended versions beyond the limit go, oldest first; the newest of all stays, for triggers count from it.

    So do the one that served before, those whose decisions the audit topic does not have yet, and those of the last 24 hours while the
    runs of a day are bounded: they are what is counted.
    """
    needed = shares.retained(observed) | recording.unwritten(observed)
    over: list[VersionState] = [each for each in observed.versions[:-1] if each.status.phase in _OVER and each.name not in needed]
    surplus = over[: max(0, len(over) - observed.model.spec.revision_history_limit)]
    counted = observed.model.spec.training.max_runs_per_day is not None
    return tuple(DeleteVersion(name=each.name) for each in surplus if not counted or observed.now >= each.created_at + DAY)


def _farewell(observed: Observed) -> Plan:
    """Stop what runs for the model, take its application and its throttles out, then let it go. Topics, snapshots and versions stay."""
    model = observed.model
    assert model.deleting_since is not None
    late = observed.now >= model.deleting_since + LET_GO
    actions: list[Action] = []
    if not isinstance(observed.ray, Unavailable):
        actions += [StopJob(id=job.id) for job in observed.ray.jobs.values() if uid8(model) in job.id and not job.word.ended]
        app = observed.ray.apps.get(app_name(model))
        if app is not None and app.arguments is not None and app.arguments.uid == model.uid:
            actions.append(RemoveApp(name=app_name(model)))
    reachable = not isinstance(observed.ray, Unavailable)
    if not actions and (late or reachable or cluster.is_alone(observed)):
        actions += cluster.farewell(observed)
    gone = not actions and (late or reachable or cluster.is_alone(observed))
    throttles = raising.leave(observed)
    if throttles and not late:
        actions += throttles
    if gone and (throttles == () or late):
        actions.append(RemoveFinalizer())
    return Plan(actions=tuple(actions), status=model.status, wake_at=observed.now + BUSY)
