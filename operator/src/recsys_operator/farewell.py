"""`python -m recsys_operator.farewell`: run when the chart has been uninstalled; lets go of every model, so that no deletion waits in vain.

Models, their topics, snapshots, versions and what serves stay as they are. An operator that is installed again takes them up again.
"""

import asyncio
import logging
import sys

from recsys_operator import telemetry
from recsys_operator.settings import Settings, SettingsError, read_settings
from recsys_operator.state.observed import Key
from recsys_operator.world.errors import WorldError
from recsys_operator.world.kube import Json, Kube, load_configuration, open_kube
from recsys_operator.world.objects import FINALIZER, MODELS, folder
from recsys_operator.world.owned import let_go
from recsys_schemas.v1alpha1 import GROUP, VERSION

LOG = logging.getLogger("recsys_operator.farewell")


def main() -> int:
    """Let go of all models in the namespaces that were watched; 1 when one could not be, 2 when nothing could be tried."""
    try:
        settings = read_settings()
        telemetry.set_up_logging(settings.log_level)
        return asyncio.run(_run(settings))
    except (SettingsError, WorldError) as error:
        sys.stderr.write(f"recsys_operator.farewell: {error}\n")
        return 2


async def _run(settings: Settings) -> int:
    kube = open_kube(load_configuration())
    try:
        held = [body for body in await _models(kube, settings) if FINALIZER in body["metadata"].get("finalizers", [])]
        failed = 0
        for body in held:
            metadata = body["metadata"]
            key = Key(namespace=metadata["namespace"], name=metadata["name"])
            try:
                await let_go(kube, key, metadata["uid"])
            except WorldError as error:
                failed += 1
                LOG.warning("model not let go", extra={"model": str(key), "error": str(error)})
            else:
                LOG.info("model let go", extra={"model": str(key)})
        LOG.info("farewell", extra={"let_go": len(held) - failed, "failed": failed})
        return 1 if failed else 0
    finally:
        await kube.close()


async def _models(kube: Kube, settings: Settings) -> list[Json]:
    paths = [folder(MODELS, namespace) for namespace in settings.watch_namespaces] or [f"/apis/{GROUP}/{VERSION}/{MODELS}"]
    return [body for path in paths for body in await kube.items(path, labels={})]


if __name__ == "__main__":
    sys.exit(main())
