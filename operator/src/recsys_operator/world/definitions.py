"""Our kinds must be known to the API server before anything can be listened to."""

import asyncio
import logging

from recsys_operator.world.errors import WorldError
from recsys_operator.world.kube import Kube
from recsys_operator.world.objects import KINDS
from recsys_schemas.v1alpha1 import API_VERSION, GROUP, VERSION

LOG = logging.getLogger(__name__)

_AGAIN_S = 2.0
_REMIND_EACH = 15


async def wait_for_definitions(kube: Kube) -> None:
    """Wait until the API server knows all our kinds, and say what is missing meanwhile."""
    looks = 0
    while missing := await _missing(kube):
        if looks % _REMIND_EACH == 0:
            mend = "apply the chart's CustomResourceDefinitions"
            LOG.warning("kinds are missing", extra={"missing": missing, "api_version": API_VERSION, "mend": mend})
        looks += 1
        await asyncio.sleep(_AGAIN_S)


async def _missing(kube: Kube) -> list[str]:
    try:
        found = await kube.get(f"/apis/{GROUP}/{VERSION}") or {}
    except WorldError as error:
        return [str(error)]
    known = {resource["name"] for resource in found.get("resources", [])}
    return sorted(KINDS.keys() - known)
