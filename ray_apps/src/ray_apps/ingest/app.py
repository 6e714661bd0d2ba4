"""The long-running Ray job: one named actor consumes, and the driver watches it.

A killed actor process is started again by Ray, a killed driver takes its actor with it and is submitted again by the operator.
Either way the next consumer takes up from the tables, and an older one that still runs is fenced.
"""

import signal
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from ray.exceptions import GetTimeoutError, RayError

import ray
from ray_apps.ingest.actors import CPUS, Consuming
from ray_apps.ingest.consumer import EXIT_FENCED, EXIT_REFUSED, check, json_log
from ray_apps.ingest.supervising import Ending, Health, Patience, Word, judge
from ray_apps.ingest.tables import RefusedError
from ray_apps.ingest.work import Log
from recsys_schemas.train_job import IngestJob

EXIT_GIVEN_UP, EXIT_TROUBLED = 4, 5
RAY_NAMESPACE = "recsys"
_ASK_EVERY_S = 2.0
_ANSWER_S = 10.0
_STOP_S = 25.0
_EXITS = {Ending.STOPPED: 0, Ending.REFUSED: EXIT_REFUSED, Ending.FENCED: EXIT_FENCED}


@dataclass(slots=True, kw_only=True)
class _Watch:
    """What the driver remembers of its actor."""

    actor: Any
    """Ray's handle: its types know no remote methods."""
    answered_at: float
    restarts: list[float] = field(default_factory=list)


def run(job: IngestJob, *, patience: Patience | None = None) -> int:
    """Keep one consumer of a job up until it ends; returns the exit status.

    0: asked to stop. 2: a person must look. 3: another writer has taken over. 4: the actor could not be kept up.
    5: its sessions fail one after another; the last words say why.
    """
    log = json_log(job)
    try:
        check(job)
    except RefusedError as error:
        log("refused", error=str(error))
        return EXIT_REFUSED
    ray.init(namespace=RAY_NAMESPACE, ignore_reinit_error=True)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):  # after Ray, which sets handlers of its own
        signal.signal(number, lambda _number, _frame: stopping.set())
    watch = _Watch(actor=start_actor(job), answered_at=time.monotonic())
    while not stopping.wait(_ASK_EVERY_S):
        status = _look(watch, patience or Patience(), log)
        if status is not None:
            return status
    return _stop(watch.actor, log)


def actor_name(job: IngestJob) -> str:
    """Name of a model's consumer in Ray's namespace `recsys`."""
    return f"ingest.{job.model.namespace}.{job.model.name}"


def start_actor(job: IngestJob) -> Any:
    """Start the consumer's actor; one of that name that an older driver left is ended first."""
    # A lane waits inside `offer` until its batch is visible; `health` and `stop` must get through meanwhile.
    made = ray.remote(Consuming).options(
        name=actor_name(job),
        namespace=RAY_NAMESPACE,
        num_cpus=CPUS,
        max_restarts=-1,
        max_task_retries=-1,
        max_concurrency=job.consumers + 4,
    )
    deadline = time.monotonic() + 60.0
    while True:
        try:
            return made.remote(job.model_dump_json())
        except ValueError:  # the name is taken
            if time.monotonic() > deadline:
                raise
            _end_older(actor_name(job))


def _end_older(name: str) -> None:
    try:
        ray.kill(ray.get_actor(name, namespace=RAY_NAMESPACE))
    except ValueError:
        return  # it is gone
    time.sleep(0.2)  # Ray frees the name a moment later and has no event for it


def _ask(actor: Any) -> Health | None:
    try:
        return ray.get(actor.health.remote(), timeout=_ANSWER_S)
    except (GetTimeoutError, RayError):
        return None


def _look(watch: _Watch, patience: Patience, log: Log) -> int | None:
    """Ask the actor once and act on its answer; returns the exit status when it is over."""
    health = _ask(watch.actor)
    now = time.monotonic()
    word = judge(health, now=now, answered_at=watch.answered_at, restarts=watch.restarts, patience=patience)
    if health is not None:
        watch.answered_at = now
    words = health.words if health else f"no answer for {now - watch.answered_at:.0f} s"
    match word:
        case Word.WELL:
            return None
        case Word.ENDED:
            ending = health.ending if health and health.ending else Ending.STOPPED
            log(ending.value.lower(), error=words)
            return _EXITS[ending]
        case Word.TROUBLED:
            log("troubled", error=health.trouble if health else words)
            return EXIT_TROUBLED
        case Word.RESTART:
            log("restarting the actor", health=str(health), error=words)
            watch.restarts.append(now)
            watch.answered_at = now
            ray.kill(watch.actor, no_restart=False)
            return None
        case Word.GIVE_UP:
            log("given up", restarts=len(watch.restarts), error=words, mend="look at the actor's log; the operator submits the job again")
            return EXIT_GIVEN_UP


def _stop(actor: Any, log: Log) -> int:
    """Let the actor commit what it has read; what it cannot commit in time is read again by the next one."""
    deadline = time.monotonic() + _STOP_S
    actor.stop.remote()
    while time.monotonic() < deadline:
        health = _ask(actor)
        if health is None or health.ending is not None:
            break
        time.sleep(0.2)
    log("stopped")
    return 0
