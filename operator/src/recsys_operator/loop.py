"""Observe, plan, apply, write status: one pass over one model. The only reader of the clock."""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from recsys_operator import telemetry
from recsys_operator.failures import stalled_status, with_failure
from recsys_operator.plan.plan import plan
from recsys_operator.state.actions import Action, RemoveFinalizer
from recsys_operator.state.observed import Key, Observed
from recsys_operator.state.plan import Plan
from recsys_operator.world.apply import apply
from recsys_operator.world.errors import RefusedError, WorldError
from recsys_operator.world.objects import MODELS, Unreadable, dump
from recsys_operator.world.observe import observe
from recsys_operator.world.owned import write_status
from recsys_operator.world.world import World
from recsys_schemas.v1alpha1.model import ModelStatus

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
        forget_metrics(key)
        return None
    if isinstance(observed, Unreadable):
        await _tell_unreadable(world, observed, clock())
        return clock() + timedelta(seconds=UNREADABLE_S)
    try:
        decided = plan(observed)
    except Exception as error:
        LOG.exception("plan failed", extra={"model": str(key), "error": str(error)})
        message = f"the operator cannot decide ({type(error).__name__}: {error}): this is a bug in it; report it with the log"
        await _stall(world, observed, reason="InternalError", message=message)
        raise PassFailedError(message) from error
    failed = await _perform(world, observed, decided)
    if failed is None:
        await _write_status(world, observed, decided, decided.status)
        _measure(observed, decided)
        return decided.wake_at
    action, error = failed
    status = with_failure(decided.status, observed, action=action, error=error)
    await _write_status(world, observed, decided, status)
    raise PassFailedError(f"{action}: {error}") from error


async def _perform(world: World, observed: Observed, decided: Plan) -> tuple[str, WorldError] | None:
    """Perform the actions in order; the first that fails ends the pass, for later ones may rest on it."""
    for action in decided.actions:
        name = type(action).__name__
        began = time.monotonic()
        try:
            await apply(world, observed, action)
        except WorldError as error:
            outcome = "refused" if isinstance(error, RefusedError) else "unavailable"
            _tell(observed, action, outcome, began, error=str(error))
            return name, error
        _tell(observed, action, "done", began)
    return None


def _tell(observed: Observed, action: Action, outcome: str, began: float, **more: str) -> None:
    name = type(action).__name__
    telemetry.ACTIONS.labels(action=name, outcome=outcome).inc()
    words = {"model": str(observed.model.key), "action": name, "outcome": outcome, "seconds": round(time.monotonic() - began, 3)}
    what = getattr(action, "name", getattr(action, "id", getattr(action, "reason", getattr(action, "secret", ""))))
    level = logging.INFO if outcome == "done" else logging.WARNING
    LOG.log(level, "action", extra=words | ({"on": what} if what else {}) | more)


async def _write_status(world: World, observed: Observed, decided: Plan, status: ModelStatus) -> None:
    """Write the status if it changed; a model that we have just let go of has none any more."""
    released = any(isinstance(action, RemoveFinalizer) for action in decided.actions)
    if released or status == observed.model.status:
        return
    model = observed.model
    try:
        await write_status(world.kube, MODELS, model.key, status=dump(status), uid=model.uid)
    except RefusedError as error:
        LOG.exception("status refused", extra={"model": str(model.key), "error": str(error)})
        raise
    LOG.info("status", extra={"model": str(model.key), "phase": status.phase, "conditions": _said(status)})


def _said(status: ModelStatus) -> dict[str, str]:
    return {condition.type: f"{condition.status}/{condition.reason}" for condition in status.conditions}


async def _stall(world: World, observed: Observed, *, reason: str, message: str) -> None:
    model = observed.model
    raw = dump(model.status)
    status = stalled_status(raw, reason=reason, message=message, generation=model.generation, now=observed.now)
    if status != raw:
        await write_status(world.kube, MODELS, model.key, status=status, uid=model.uid)


async def _tell_unreadable(world: World, seen: Unreadable, now: datetime) -> None:
    status = stalled_status(seen.raw_status, reason="InvalidSpec", message=seen.message, generation=seen.generation, now=now)
    if status != seen.raw_status:
        LOG.warning("model cannot be read", extra={"model": str(seen.key), "error": seen.message})
        await write_status(world.kube, MODELS, seen.key, status=status, uid=seen.uid)


def _measure(observed: Observed, decided: Plan) -> None:
    key, status = observed.model.key, decided.status
    names = {"namespace": key.namespace, "model": key.name}
    ready = any(condition.type == "Ready" and condition.status == "True" for condition in status.conditions)
    telemetry.MODEL_READY.labels(**names).set(ready)
    for variant, arm in (("stable", status.champion), ("candidate", status.challenger)):
        telemetry.ARM_SHARE.labels(**names, variant=variant).set(arm.weight if arm else 0)
    if status.ingestion is not None:
        telemetry.INGEST_LAG.labels(**names).set(status.ingestion.lag_records)
        if (kept := status.ingestion.last_upkeep) is not None:
            telemetry.UPKEEP_TIME.labels(**names).set(kept.time.timestamp())
            telemetry.TABLE_FILES.labels(**names).set(kept.files)


def forget_metrics(key: Key) -> None:
    """A model that is gone leaves no series behind."""
    own = (telemetry.MODEL_READY, telemetry.INGEST_LAG, telemetry.UPKEEP_TIME, telemetry.TABLE_FILES)
    for metric, more in (*((each, [()]) for each in own), (telemetry.ARM_SHARE, [("stable",), ("candidate",)])):
        for labels in more:
            try:
                metric.remove(key.namespace, key.name, *labels)
            except KeyError:
                continue
