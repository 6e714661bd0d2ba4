"""The peer: what a dozen lines of kopf make of the same resources, a timer and a patch.

python -m bench.operators.plain_kopf
"""

import logging
from typing import Any

import kopf

logging.getLogger().setLevel(logging.WARNING)


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.posting.enabled = False
    settings.scanning.disabled = True


@kopf.on.create("bench.recsys.dev", "v1", "plainmodels")
@kopf.on.update("bench.recsys.dev", "v1", "plainmodels")
@kopf.on.resume("bench.recsys.dev", "v1", "plainmodels")
def reconcile(meta: kopf.Meta, patch: kopf.Patch, **_: Any) -> None:
    patch.status["observedGeneration"] = meta["generation"]


@kopf.on.timer("bench.recsys.dev", "v1", "plainmodels", interval=60)
def look(meta: kopf.Meta, patch: kopf.Patch, **_: Any) -> None:
    patch.status["observedGeneration"] = meta["generation"]


if __name__ == "__main__":
    kopf.run(clusterwide=True, standalone=True)
