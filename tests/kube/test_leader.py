"""The lease outlives what the operator computes, and not its hanging: on a real API server, with a process that stands still."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kube.operator_world import Place, configuration, define
from recsys_dev.kubernetes import Cluster
from recsys_operator.apart import apart
from recsys_operator.loop import reconcile, utc_now
from recsys_operator.world.errors import UnavailableError
from recsys_operator.world.kube import Kube, open_kube
from recsys_operator.world.leader import DEADLINE_S, DURATION_S, Lease
from recsys_operator.world.world import World

STILL_S = DEADLINE_S + 1.0
"""A pass that computes for so long, with nothing in between."""
LATE_S = 60.0


def lease(kube: Kube, place: Place, name: str, *, identity: str = "ours", alive: Callable[[], bool] = lambda: True) -> Lease:
    return Lease(kube=kube, namespace=place.namespace, name=name, identity=identity, alive=alive)


def holder(place: Place, name: str) -> str:
    return place.get("lease", name)["spec"].get("holderIdentity", "")


async def opened(cluster: Cluster) -> Kube:
    return open_kube(configuration(cluster.kubeconfig))


TRIES = 5
"""A machine on which nothing at all ran for so long has taken the lease from everybody, by right: it is tried again."""


def test_a_lease_apart_outlives_what_passes_compute_and_one_renewed_between_them_does_not(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    place = Place(cluster=cluster, namespace=namespace, storage=tmp_path)

    async def story() -> bool:
        with apart("lease") as beside:
            own, shared = await beside.run(opened(cluster)), await opened(cluster)
            ours, twin = lease(own, place, "apart"), lease(shared, place, "among-passes")
            try:
                await beside.run(ours.acquire())
                await twin.acquire()
                kept, lost = beside.run(ours.keep()), asyncio.create_task(twin.keep())
                await asyncio.sleep(0)
                time.sleep(STILL_S)  # noqa: ASYNC251 - a pass that computes
                assert not twin.held, "it was not renewed for longer than it lasts"
                await asyncio.wait_for(lost, LATE_S)
                held = ours.held
                kept.cancel()
                await beside.run(ours.release())
                assert not ours.held
                return held
            finally:
                await beside.run(own.close())
                await shared.close()

    assert any(asyncio.run(story()) for _ in range(TRIES))
    assert holder(place, "apart") == "", "it was given back"


def test_who_hangs_is_not_the_leader_for_ever(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    place = Place(cluster=cluster, namespace=namespace, storage=tmp_path)

    async def story() -> None:
        kube, turns = await opened(cluster), iter((True, False))
        try:
            hangs, other = lease(kube, place, "one", alive=lambda: next(turns)), lease(kube, place, "one", identity="other")
            await hangs.acquire()
            assert holder(place, "one") == hangs.identity
            await asyncio.wait_for(hangs.keep(), LATE_S)
            assert not hangs.held
            await asyncio.wait_for(other.acquire(), DURATION_S + LATE_S)
        finally:
            await kube.close()

    asyncio.run(story())
    assert holder(place, "one") == "other"


@pytest.mark.parametrize("leading", [True, False])
def test_who_does_not_lead_any_more_writes_no_status(cluster: Cluster, namespace: str, tmp_path: Path, leading: bool) -> None:
    define(cluster)
    place = Place(cluster=cluster, namespace=namespace, storage=tmp_path)
    key = place.model().key

    async def one_pass(world: World) -> None:
        await reconcile(world, key, utc_now)

    if leading:
        place.world(one_pass)
    else:
        with pytest.raises(UnavailableError, match="the lease has run out"):
            place.world(one_pass, leading=False)
    assert ("status" in place.get("rm", key.name)) is leading
