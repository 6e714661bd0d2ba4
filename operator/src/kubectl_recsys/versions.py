"""Versions of a model: a table of its objects, or the command `recsys` on its store, which can read their cards and files."""

import asyncio
import json
from collections.abc import Sequence

from kubectl_recsys.snapshots import find_tool, store_of
from kubectl_recsys.views import find_model, versions
from recsys_operator.world.kube import Kube
from recsys_operator.world.objects import VERSIONS, UnreadableError, dump, owner_uid, place, read_version
from recsys_schemas.v1alpha1.version import VersionStatus

WORDS = {
    "list": "the versions in the store: snapshot, NDCG@10, digest",
    "show": "the card of a version, with its gates: MODEL VERSION",
    "diff": "in what a version differs from an older one: MODEL OLDER NEWER",
    "report": "write a version's page for people: MODEL VERSION --to FILE",
    "reproduce": "make a version again from its snapshot, and compare the bytes: MODEL VERSION",
}


async def look(kube: Kube, namespace: str, first: str, more: Sequence[str]) -> int:
    """`kubectl recsys versions MODEL` prints a model's versions; `versions WORD MODEL ...` runs `recsys versions WORD` on its store.

    Raises:
        RefusedError: there is no such model, its store is not known yet, or the tool is not installed here.
    """
    if first not in WORDS or not more:
        return await versions(kube, namespace, first)
    name, *rest = more
    model = await find_model(kube, namespace, name)
    asked = ["versions", first, "--storage", store_of(model), *rest]
    tool = find_tool(asked)
    if first == "show" and rest:
        asked += await _status(kube, namespace, rest[0], model.uid)
    child = await asyncio.create_subprocess_exec(tool, *asked)
    return await child.wait()


async def _status(kube: Kube, namespace: str, version: str, uid: str) -> list[str]:
    """What the operator decided about a version, for the tool; nothing when its object is gone, or another model's."""
    body = None if version.startswith("-") else await kube.get(place(VERSIONS, namespace, version))
    if body is None or owner_uid(body) != uid:
        return []
    try:
        status = read_version(body).status
    except UnreadableError:
        return []
    return ["--status", _json(status)]


def _json(status: VersionStatus) -> str:
    return json.dumps(dump(status))
