"""What a person may ask of a running rollout: one patch of `spec.control`, judged by the API server's own rights."""

from dataclasses import dataclass

from kubectl_recsys.views import find
from recsys_operator.world.errors import RefusedError
from recsys_operator.world.kube import Json, Kube
from recsys_operator.world.objects import MODELS, ROLLOUTS, VERSIONS, place
from recsys_schemas.v1alpha1.rollout import RolloutPhase

_OVER = frozenset(phase for phase in RolloutPhase if phase.ended)


@dataclass(frozen=True, slots=True, kw_only=True)
class Steer:
    """One word and the change that it makes."""

    control: Json
    help: str


STEERS = {
    "pause": Steer(control={"paused": True}, help="hold the present share; a failing candidate is still rolled back"),
    "resume": Steer(control={"paused": False}, help="go on after a pause"),
    "promote": Steer(
        control={"promote": "Full", "paused": False}, help="skip the steps that are left; a failing candidate is still rolled back"
    ),
    "abort": Steer(control={"abort": True}, help="roll back now"),
}


async def go_back(kube: Kube, namespace: str, name: str, version: str | None) -> int:
    """Patch a model's `spec.rollout.rollbackTo`; None removes it.

    Raises:
        RefusedError: there is no such model or version, or the user may not.
    """
    await find(kube, MODELS, namespace, name)
    if version is not None:
        await find(kube, VERSIONS, namespace, version)
    if await kube.merge(place(MODELS, namespace, name), {"spec": {"rollout": {"rollbackTo": version}}}) is None:
        raise RefusedError(f"model {namespace}/{name} is gone")
    words = f"back to {version} asked; it stays pinned until `kubectl recsys unpin {name}`" if version else "nothing is pinned any more"
    print(f"recommendermodel.recsys.dev/{name}: {words}; see `kubectl recsys status {name}`")
    return 0


async def steer(kube: Kube, namespace: str, name: str, word: str) -> int:
    """Patch a rollout's control.

    Raises:
        RefusedError: there is no such rollout, it has ended, or the user may not.
    """
    body = await find(kube, ROLLOUTS, namespace, name)
    phase = body.get("status", {}).get("phase", "")
    if phase in _OVER:
        raise RefusedError(f"rollout {namespace}/{name} has ended ({phase}): there is nothing to {word}")
    if await kube.merge(place(ROLLOUTS, namespace, name), {"spec": {"control": STEERS[word].control}}) is None:
        raise RefusedError(f"rollout {namespace}/{name} is gone")
    print(f"recommenderrollout.recsys.dev/{name}: {word} asked; see `kubectl recsys explain {name}`")
    return 0
