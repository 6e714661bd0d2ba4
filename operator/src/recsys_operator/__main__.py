"""`python -m recsys_operator`: wait for the lease, then listen, decide and act until told to stop."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Coroutine
from functools import partial
from typing import Any

from recsys_operator import telemetry
from recsys_operator.handlers import listen
from recsys_operator.loop import reconcile, utc_now
from recsys_operator.scheduler import Scheduler
from recsys_operator.settings import Settings, SettingsError, read_settings
from recsys_operator.world.errors import WorldError
from recsys_operator.world.kube import load_configuration
from recsys_operator.world.leader import Lease
from recsys_operator.world.world import World, open_world

LOG = logging.getLogger("recsys_operator")

_BEAT_S = 1.0
_BETWEEN_TERMS_S = 2.0
_LISTENER_STOP_S = 5.0


def main() -> int:
    """Run until SIGTERM or SIGINT; 2 when a setting or the credentials cannot be used."""
    try:
        settings = read_settings()
        telemetry.set_up_logging(settings.log_level)
        return asyncio.run(_run(settings))
    except (SettingsError, WorldError) as error:
        sys.stderr.write(f"recsys_operator: {error}\n")
        return 2


async def _run(settings: Settings) -> int:
    configuration = load_configuration()
    opened = open_world(
        configuration, storage_root=settings.storage_root, training_command=settings.training_command, ray_image=settings.ray_image
    )
    async with opened as world:
        identity = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        lease = Lease(kube=world.kube, namespace=settings.lease_namespace, name=settings.lease_name, identity=identity)
        probes = telemetry.Probes(ready=lambda: lease.reached)
        try:
            server = telemetry.serve_http(settings.http_host, settings.http_port, probes)
        except OSError as error:
            raise SettingsError(f"RECSYS_HTTP_HOST, RECSYS_HTTP_PORT: {settings.http_host}:{settings.http_port}: {error}") from error
        stop = asyncio.Event()
        _stop_on_signals(stop)
        beat = asyncio.create_task(_beat(probes))
        LOG.info("started", extra={"identity": identity, "api": world.kube.host})
        try:
            while not stop.is_set():
                await _term(settings, world, lease, stop)
        finally:
            beat.cancel()
            server.shutdown()
    LOG.info("stopped")
    return 0


def _stop_on_signals(stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


async def _beat(probes: telemetry.Probes) -> None:
    while True:
        probes.turned_at = time.monotonic()
        await asyncio.sleep(_BEAT_S)


async def _term(settings: Settings, world: World, lease: Lease, stop: asyncio.Event) -> None:
    """Wait for the lease, work while it is ours, and give it back."""
    LOG.info("waiting for the lease", extra={"lease": f"{lease.namespace}/{lease.name}"})
    if not await _first(stop.wait(), lease.acquire()):
        return
    LOG.info("leading", extra={"lease": f"{lease.namespace}/{lease.name}"})
    telemetry.LEADER.set(1)
    scheduler = Scheduler(run=partial(reconcile, world, clock=utc_now), clock=utc_now)
    listener_stop, listening = asyncio.Event(), asyncio.Event()
    listener = asyncio.create_task(
        listen(world.kube, scheduler.wake, namespaces=settings.watch_namespaces, stop=listener_stop, ready=listening)
    )
    kept = asyncio.create_task(lease.keep())
    looking = asyncio.create_task(world.definitions.keep(world.kube, scheduler.wake_all))
    guard = asyncio.create_task(_take_signals_back(listening, stop))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({listener, kept, stopping}, return_when=asyncio.FIRST_COMPLETED)
    lost = kept.done()
    if lost:
        LOG.error("lease lost: stopping all work at once")
    elif listener.done():
        LOG.error("the listener ended by itself", exc_info=listener.exception())
    # With the lease lost another may be at work already; else what is under way may end, with the lease renewed meanwhile.
    await scheduler.stop(within=0.0 if lost else 10.0)
    await world.courier.stop()
    telemetry.LEADER.set(0)
    telemetry.forget_all()
    listener_stop.set()
    await asyncio.wait({listener}, timeout=_LISTENER_STOP_S)
    tasks = (listener, kept, looking, guard, stopping)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if not lost:
        await lease.release()
    if not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _BETWEEN_TERMS_S)


async def _take_signals_back(listening: asyncio.Event, stop: asyncio.Event) -> None:
    """Kopf takes the process's signals for itself when it starts; they are ours, for the lease must outlive the passes."""
    await listening.wait()
    _stop_on_signals(stop)


async def _first(stopped: Coroutine[Any, Any, object], acquired: Coroutine[Any, Any, object]) -> bool:
    """Wait for either; whether it was the lease."""
    tasks = [asyncio.create_task(each) for each in (stopped, acquired)]
    done, late = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    return tasks[1] in done and tasks[0] not in done


if __name__ == "__main__":
    sys.exit(main())
