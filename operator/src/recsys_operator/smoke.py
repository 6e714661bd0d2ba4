"""`python -m recsys_operator.smoke`: what `helm test` runs: a model is applied, the operator sees to it, and it is deleted again.

The model is suspended, and names a Ray cluster and brokers that need not be there: what is tried is that the definitions are served, that
the operator leads, sees, and may write. 0 when that is so; else the last line says what is not, and where to look.
"""

import asyncio
import os
import sys
import time

from recsys_operator.settings import SettingsError, read_settings
from recsys_operator.world.errors import WorldError
from recsys_operator.world.kube import Json, Kube, load_configuration, open_kube
from recsys_operator.world.objects import KINDS, MODELS, folder, place
from recsys_schemas.v1alpha1 import API_VERSION

NAME = "recsys-smoke-test"
SEEN_S = 90.0
GONE_S = 120.0
"""Nothing was begun for it, so that nothing holds it; what an earlier release has left is held, and let go of after a minute."""
_AGAIN_S = 0.5


class NotSoundError(Exception):
    """Something that must be so is not; the message says where to look."""


def main() -> int:
    """Try it, and say how it went."""
    namespace = os.environ.get("RECSYS_SMOKE_NAMESPACE") or "default"
    try:
        read_settings()
        asyncio.run(_run(namespace))
    except (SettingsError, WorldError, NotSoundError) as error:
        sys.stderr.write(f"smoke test: {error}\n")
        return 1
    sys.stdout.write(f"smoke test: {namespace}/{NAME} was seen to, and is gone\n")
    return 0


async def _run(namespace: str) -> None:
    kube = open_kube(load_configuration())
    path = place(MODELS, namespace, NAME)
    try:
        await kube.delete(path)  # what a test that was broken off has left
        await _until(kube, path, gone=True, within=GONE_S)
        await kube.create(folder(MODELS, namespace), _model())
        await _until(kube, path, gone=False, within=SEEN_S)
        await kube.delete(path)
        await _until(kube, path, gone=True, within=GONE_S)
    finally:
        await kube.close()


def _model() -> Json:
    nowhere = {"ray": {"dashboardURL": "http://127.0.0.1:1"}, "kafka": {"bootstrapServers": ["127.0.0.1:1"]}}
    return {"apiVersion": API_VERSION, "kind": KINDS[MODELS], "metadata": {"name": NAME}, "spec": {"suspend": True, **nowhere}}


async def _until(kube: Kube, path: str, *, gone: bool, within: float) -> None:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        body = await kube.get(path)
        if gone and body is None:
            return
        if not gone and body is not None and body.get("status", {}).get("observedGeneration") == body["metadata"]["generation"]:
            return
        await asyncio.sleep(_AGAIN_S)
    what = "is still there" if gone else "has no status"
    raise NotSoundError(f"{path}: {what} after {within:.0f} s; does a replica lead (kubectl get lease), and what does its log say?")


if __name__ == "__main__":
    sys.exit(main())
