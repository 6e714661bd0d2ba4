"""What a person may ask of a running rollout: one patch of `spec.control`, signed, and judged by the API server's own rights."""

from collections.abc import Callable
from dataclasses import dataclass

from kubectl_recsys.views import find
from recsys_operator.world.errors import RefusedError
from recsys_operator.world.kube import Json, Kube
from recsys_operator.world.objects import MODELS, ROLLOUTS, VERSIONS, place
from recsys_schemas.v1alpha1.rollout import RolloutPhase

_OVER = frozenset(phase for phase in RolloutPhase if phase.ended)
_REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


@dataclass(frozen=True, slots=True, kw_only=True)
class Steer:
    """One word, and the change that it makes to a rollout as it is now."""

    control: Callable[[Json], Json]
    help: str


def _next(rollout: Json) -> Json:
    """Leave the present step: its index goes along, so that asking twice skips nothing."""
    return {"promote": "Next", "step": int(rollout.get("status", {}).get("step", 0)), "paused": False}


def _approve(rollout: Json) -> Json:
    waits = rollout.get("status", {}).get("paused")
    if waits != "Approval":
        name, phase = rollout["metadata"]["name"], rollout.get("status", {}).get("phase", "Pending")
        stands = f"{phase}, {waits}" if waits else phase
        raise RefusedError(f"rollout {name} waits for no approval ({stands}); see `kubectl recsys explain {name}`")
    return _next(rollout)


STEERS = {
    "pause": Steer(control=lambda _: {"paused": True}, help="hold the present share; a failing candidate is still rolled back"),
    "resume": Steer(control=lambda _: {"paused": False}, help="go on after a pause"),
    "promote --next": Steer(control=_next, help="leave the present step"),
    "promote --full": Steer(
        control=lambda _: {"promote": "Full", "step": None, "arm": None, "paused": False}, help="skip the steps that are left"
    ),
    "approve": Steer(control=_approve, help="let a rollout go on that waits for an approval"),
    "abort": Steer(control=lambda _: {"abort": True}, help="roll back now"),
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


async def steer(kube: Kube, namespace: str, name: str, word: str, said: Json | None = None) -> int:
    """Patch a rollout's control, signed with the user's own name; `said` are further fields, such as the reason.

    Raises:
        RefusedError: there is no such rollout, it has ended, or the user may not.
    """
    body = await find(kube, ROLLOUTS, namespace, name)
    phase = body.get("status", {}).get("phase", "")
    if phase in _OVER:
        raise RefusedError(f"rollout {namespace}/{name} has ended ({phase}): there is nothing to {word.partition(' ')[0]}")
    signed = STEERS[word].control(body) | {"requestedBy": await whoami(kube), "reason": ""} | (said or {})
    if await kube.merge(place(ROLLOUTS, namespace, name), {"spec": {"control": signed}}) is None:
        raise RefusedError(f"rollout {namespace}/{name} is gone")
    print(f"recommenderrollout.recsys.dev/{name}: {word} asked; see `kubectl recsys explain {name}`")
    return 0


async def whoami(kube: Kube) -> str:
    """The user's name, as the API server knows it."""
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = await kube.create(_REVIEWS, review)
    return str(answer["status"]["userInfo"].get("username", ""))
