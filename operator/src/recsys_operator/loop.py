"""Observe, plan, apply, write status: one pass over one model. The only reader of the clock."""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from recsys_operator import telemetry
from recsys_operator.failures import stalled_status, with_failure
from recsys_operator.figures import figures, unread
from recsys_operator.plan.ingest import RESTARTED
from recsys_operator.plan.plan import plan
from recsys_operator.state.actions import Action, PublishEvent, RemoveFinalizer
from recsys_operator.state.observed import Key, Observed, Standing
from recsys_operator.state.plan import Plan
from recsys_operator.world.apply import apply
from recsys_operator.world.errors import RefusedError, WorldError
from recsys_operator.world.kube import Json
from recsys_operator.world.objects import MODELS, Unreadable, dump
from recsys_operator.world.observe import observe
from recsys_operator.world.owned import write_status
from recsys_operator.world.world import World
from recsys_schemas.v1alpha1.model_status import ModelStatus

LOG = logging.getLogger(__name__)

Clock: TypeAlias = Callable[[], datetime]

UNREADABLE_S = 60.0


class PassFailedError(Exception):
    """The pass did not do all that it planned; the status says so. Try again after a while."""


def utc_now() -> datetime:
    """The clock of the process."""
    return datetime.now(UTC)


async def reconcile(world: World, key: Key, clock: Clock) -> datetime | None:
    """Bring one model one pass nearer to its spec; return when to look again, None when the model is gone.

    Raises:
        PassFailedError: an action failed; the status tells which and why.
        WorldError: the Kubernetes API itself could not be read or written.
    """
    observed = await observe(world, key, now=clock())
    if observed is None:
        telemetry.forget(key)
        return None
    if isinstance(observed, Unreadable):
        telemetry.MODELS.replace(key, unread(key))
        await _tell_unreadable(world, observed, clock())
        return clock() + timedelta(seconds=UNREADABLE_S)
    try:
        decided = plan(observed)
    except Exception as error:
        LOG.exception("plan failed", extra={"model": str(key), "error": str(error)})
        message = f"the operator cannot decide ({type(error).__name__}: {error}): this is a bug in it; report it with the log"
        telemetry.MODELS.replace(key, unread(key))
        await _stall(world, observed, reason="InternalError", message=message)
        raise PassFailedError(message) from error
    failed, stands = await _perform(world, observed, decided)
    _measure(observed, decided)
    if failed is None:
        await _write_status(world, observed, decided, decided.status, stands)
        return decided.wake_at
    action, error = failed
    status = with_failure(decided.status, observed, action=action, error=error)
    # What was to be told may not have been: it is told again, and known by its name.
    status = status.model_copy(update={"told": observed.model.status.told})
    await _write_status(world, observed, decided, status, stands)
    raise PassFailedError(f"{action}: {error}") from error


async def _perform(world: World, observed: Observed, decided: Plan) -> tuple[tuple[str, WorldError] | None, Standing | None]:
    """Perform the actions in order; the first that fails ends the pass, for later ones may rest on it.

    Returns:
        What failed and why, and how the model's object stands now.
    """
    stands = observed.model.standing
    for action in decided.actions:
        name = type(action).__name__
        began = time.monotonic()
        try:
            stands = await apply(world, observed, action) or stands
        except WorldError as error:
            outcome = "refused" if isinstance(error, RefusedError) else "unavailable"
            _tell(observed, action, outcome, began, error=str(error))
            return (name, error), stands
        _tell(observed, action, "done", began)
    return None, stands


def _tell(observed: Observed, action: Action, outcome: str, began: float, **more: str) -> None:
    name = type(action).__name__
    telemetry.ACTIONS.labels(action=name, outcome=outcome).inc()
    if isinstance(action, PublishEvent) and action.reason == RESTARTED and outcome == "done":
        telemetry.INGEST_RESTARTS.labels(observed.model.key.namespace, observed.model.key.name).inc()
    words = {"model": str(observed.model.key), "action": name, "outcome": outcome, "seconds": round(time.monotonic() - began, 3)}
    what = getattr(action, "name", getattr(action, "id", getattr(action, "reason", getattr(action, "secret", ""))))
    level = logging.INFO if outcome == "done" else logging.WARNING
    LOG.log(level, "action", extra=words | ({"on": what} if what else {}) | more)


async def _write_status(world: World, observed: Observed, decided: Plan, status: ModelStatus, stands: Standing | None) -> None:
    """Write the status if it changed; a model that we have just let go of has none any more."""
    released = any(isinstance(action, RemoveFinalizer) for action in decided.actions)
    model = observed.model
    if released or status == model.status:
        return
    written = world.definitions.fitted(MODELS, dump(status))
    if observed.outdated and written == dump(model.status):
        return
    try:
        await _write(world, model.key, written, uid=model.uid, seen=stands)
    except RefusedError as error:
        LOG.exception("status refused", extra={"model": str(model.key), "error": str(error)})
        raise
    LOG.info("status", extra={"model": str(model.key), "phase": status.phase, "conditions": _said(status)})


async def _write(world: World, key: Key, status: Json, *, uid: str, seen: Standing | None = None) -> None:
    world.must_lead()
    await write_status(world.kube, MODELS, key, status=status, uid=uid, seen=seen)


def _said(status: ModelStatus) -> dict[str, str]:
    return {condition.type: f"{condition.status}/{condition.reason}" for condition in status.conditions}


async def _stall(world: World, observed: Observed, *, reason: str, message: str) -> None:
    model = observed.model
    raw = dump(model.status)
    status = stalled_status(raw, reason=reason, message=message, generation=model.generation, now=observed.now)
    if status != raw:
        await _write(world, model.key, status, uid=model.uid)


async def _tell_unreadable(world: World, seen: Unreadable, now: datetime) -> None:
    status = stalled_status(seen.raw_status, reason="InvalidSpec", message=seen.message, generation=seen.generation, now=now)
    if status != seen.raw_status:
        LOG.warning("model cannot be read", extra={"model": str(seen.key), "error": seen.message})
        await _write(world, seen.key, status, uid=seen.uid)


def _measure(observed: Observed, decided: Plan) -> None:
    """Tell Prometheus, also when an action failed: what cannot be mended must show most of all."""
    key = observed.model.key
    if any(isinstance(action, RemoveFinalizer) for action in decided.actions):
        return telemetry.forget(key)
    telemetry.INGEST_RESTARTS.labels(key.namespace, key.name)  # from 0 on, so that the first restart is a rise
    return telemetry.MODELS.replace(key, figures(observed, decided.status))
