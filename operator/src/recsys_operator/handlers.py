"""kopf as the source of events, and nothing more: whatever happens to one of our objects only asks for a pass over its model."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, cast

import kopf

from recsys_operator.news import News
from recsys_operator.state.observed import Key
from recsys_operator.world.definitions import wait_for_definitions
from recsys_operator.world.kube import Kube
from recsys_operator.world.objects import MODEL_LABEL, MODELS, ROLLOUTS, VERSIONS
from recsys_schemas.v1alpha1 import GROUP, VERSION


def registry(wake: Callable[[Key], None]) -> kopf.OperatorRegistry:
    """Handlers of the three kinds. They only listen: kopf writes neither annotations nor finalizers for such handlers."""
    handlers, news = kopf.OperatorRegistry(), News()

    @kopf.on.login(registry=handlers)
    def login(**kwargs: Any) -> Any:  # pyright: ignore[reportUnusedFunction]
        return kopf.login_via_client(**kwargs)

    @kopf.on.event(GROUP, VERSION, MODELS, registry=handlers)
    async def model(namespace: str | None, name: str | None, event: kopf.RawEvent, **_: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        if news.is_news(event["type"], event["object"]):
            wake(Key(namespace=namespace or "", name=name or ""))

    @kopf.on.event(GROUP, VERSION, VERSIONS, registry=handlers)
    @kopf.on.event(GROUP, VERSION, ROLLOUTS, registry=handlers)
    async def child(namespace: str | None, labels: kopf.Labels, event: kopf.RawEvent, **_: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        if news.is_news(event["type"], event["object"]) and MODEL_LABEL in labels:
            wake(Key(namespace=namespace or "", name=labels[MODEL_LABEL]))

    return handlers


class _NoMemory(kopf.DiffBaseStorage):
    """kopf copies and compares each object for handlers of changes; there are none, and with thousands of models that is felt."""

    def build(self, *, body: kopf.Body, extra_fields: Iterable[kopf.FieldSpec] | None = None) -> kopf.BodyEssence:  # noqa: ARG002
        """Nothing of an object is compared."""
        return cast("kopf.BodyEssence", {})

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:  # noqa: ARG002
        """Nothing is known of it."""
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Nothing is written to it."""


def settings() -> kopf.OperatorSettings:
    """Settings under which kopf only listens, and opens a watch anew that has gone silent."""
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False
    chosen.peering.standalone = True
    # Watching definitions and namespaces would need rights on the whole cluster; `listen` has waited for ours.
    chosen.scanning.disabled = True
    chosen.persistence.diffbase_storage = _NoMemory()
    # A listing comes in parts, and the task of an object goes when its events are told: what thousands take is never there at once.
    chosen.watching.chunk_size = 500
    chosen.queueing.idle_timeout = 0.1
    chosen.process.ultimate_exiting_timeout = None
    chosen.watching.server_timeout = 240
    chosen.watching.client_timeout = 270
    chosen.watching.connect_timeout = 10
    chosen.watching.inactivity_timeout = 75
    chosen.networking.request_timeout = 30
    chosen.networking.connect_timeout = 10
    return chosen


async def listen(
    kube: Kube, wake: Callable[[Key], None], *, namespaces: tuple[str, ...], stop: asyncio.Event, ready: asyncio.Event
) -> None:
    """Listen until `stop` is set."""
    await wait_for_definitions(kube)
    await kopf.operator(
        registry=registry(wake),
        settings=settings(),
        clusterwide=not namespaces,
        namespaces=namespaces,
        standalone=True,
        # There are no peers to tell it to; left out, kopf asks for the user's name, and a container's user may have none.
        identity=cast("Any", "recsys-operator"),
        stop_flag=stop,
        ready_flag=ready,
    )
