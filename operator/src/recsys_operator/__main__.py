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
from functools import partial

from kubernetes.client import Configuration

from recsys_operator import telemetry
from recsys_operator.apart import Apart, apart
from recsys_operator.handlers import listen
from recsys_operator.loop import reconcile, utc_now
from recsys_operator.scheduler import Scheduler
from recsys_operator.settings import Settings, SettingsError, read_settings
from recsys_operator.world.errors import WorldError
from recsys_operator.world.kube import Kube, load_configuration, open_kube
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
    # The lease has a thread and connections of its own: a renewal waits neither for what passes compute nor for what they ask.
    with apart("lease") as beside:
        kube = await beside.run(_opened(configuration))
        try:
            await _work(settings, configuration, beside, kube)
        finally:
            await beside.run(kube.close())
    LOG.info("stopped")
    return 0


async def _opened(configuration: Configuration) -> Kube:
    """A client for the loop that this runs on."""
    return open_kube(configuration)


async def _work(settings: Settings, configuration: Configuration, beside: Apart, kube: Kube) -> None:
    """Terms, one after another, until told to stop."""
    identity = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    probes = telemetry.Probes(ready=lambda: lease.reached)
    lease = Lease(kube=kube, namespace=settings.lease_namespace, name=settings.lease_name, identity=identity, alive=lambda: probes.alive)
    opened = open_world(
        configuration,
        leading=lambda: lease.held,
        storage_root=settings.storage_root,
        training_command=settings.training_command,
        ray_image=settings.ray_image,
    )
    async with opened as world:
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
                await _term(settings, world, lease, beside, stop)
        finally:
            beat.cancel()
            server.shutdown()


def _stop_on_signals(stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


async def _beat(probes: telemetry.Probes) -> None:
    while True:
        probes.turned_at = time.monotonic()
        await asyncio.sleep(_BEAT_S)


async def _term(settings: Settings, world: World, lease: Lease, beside: Apart, stop: asyncio.Event) -> None:
    """Wait for the lease, work while it is ours, and give it back."""
    LOG.info("waiting for the lease", extra={"lease": f"{lease.namespace}/{lease.name}"})
    if not await _first(stop, beside.run(lease.acquire())):
        return
    LOG.info("leading", extra={"lease": f"{lease.namespace}/{lease.name}"})
    telemetry.LEADER.set(1)
    scheduler = Scheduler(run=partial(reconcile, world, clock=utc_now), clock=utc_now)
    listener_stop, listening = asyncio.Event(), asyncio.Event()
    listener = asyncio.create_task(
        listen(world.kube, scheduler.wake, namespaces=settings.watch_namespaces, stop=listener_stop, ready=listening)
    )
    kept = beside.run(lease.keep())
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
        await beside.run(lease.release())
    if not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _BETWEEN_TERMS_S)


async def _take_signals_back(listening: asyncio.Event, stop: asyncio.Event) -> None:
    """Kopf takes the process's signals for itself when it starts; they are ours, for the lease must outlive the passes."""
    await listening.wait()
    _stop_on_signals(stop)


async def _first(stop: asyncio.Event, acquired: asyncio.Future[None]) -> bool:
    """Wait for either; whether it was the lease."""
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({stopped, acquired}, return_when=asyncio.FIRST_COMPLETED)
    ours = acquired.done() and not stopped.done()
    for late in (stopped, acquired):
        late.cancel()
    await asyncio.gather(stopped, acquired, return_exceptions=True)
    return ours


if __name__ == "__main__":
    sys.exit(main())
