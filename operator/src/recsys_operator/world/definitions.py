"""Our kinds as the API server knows them: they must be there before anything is listened to, and may be older than this operator.

What the API server serves is read from its OpenAPI documents, which every account may read, not from the definitions, which few may.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from recsys_operator.world.errors import WorldError
from recsys_operator.world.kube import Json, Kube
from recsys_operator.world.objects import KINDS
from recsys_schemas import kinds
from recsys_schemas.v1alpha1 import API_VERSION, GROUP, VERSION

LOG = logging.getLogger(__name__)

_AGAIN_S = 2.0
_REMIND_EACH = 15
_LOOK_EACH_S = 20.0
_INDEX = "/openapi/v3"
_DOCUMENT = f"apis/{GROUP}/{VERSION}"

Tree = Mapping[str, "Tree | None"]
"""Fields by name, each with its own; None: anything may stand there. `*` stands for the keys of a map."""


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


@dataclass(slots=True)
class Definitions:
    """What the API server knows of our kinds; nothing is said of them before the first look."""

    served: Mapping[str, Tree] = field(default_factory=dict[str, Tree])
    """Plural of a kind → its fields."""
    outdated: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Name of each definition that is older than this operator → the fields that it lacks."""
    _read: str = ""
    """Where the document was that this was read from: its address carries a digest."""

    async def keep(self, kube: Kube, changed: Callable[[], object]) -> None:
        """Look again and again; tell when definitions have become too old or have been mended."""
        while True:
            before = self.outdated
            await self.look(kube)
            if self.outdated != before:
                changed()
            await asyncio.sleep(_LOOK_EACH_S if self.served else _AGAIN_S)

    async def look(self, kube: Kube) -> None:
        """Read what is served, if it has changed; what cannot be read stays as it was."""
        try:
            index = await kube.get(_INDEX) or {}
            where = index.get("paths", {}).get(_DOCUMENT, {}).get("serverRelativeURL", "")
            if not where or where == self._read:
                return
            served = read_served(await kube.get(where) or {})
        except (WorldError, AttributeError, KeyError, TypeError) as error:  # no answer, or one of another shape
            LOG.debug("definitions not read", extra={"error": str(error)})
            return
        self.served, self._read = served, where
        before, self.outdated = self.outdated, outdated(self.served)
        if self.outdated:
            mend = "apply the definitions of this operator's chart"
            LOG.warning("definitions are older than this operator", extra={"lacking": self.outdated, "mend": mend})
        elif before:
            LOG.info("definitions know all that this operator knows")

    def fitted(self, plural: str, status: Json) -> Json:
        """A status without what its definition does not know: the API server would refuse the whole of it."""
        tree = self.served.get(plural)
        known = None if tree is None else tree.get("status")
        return status if f"{plural}.{GROUP}" not in self.outdated or known is None else _within(status, known)


def read_served(document: Json) -> dict[str, Tree]:
    """The fields of our kinds in an OpenAPI document of the API server."""
    found: dict[str, Tree] = {}
    plurals = {kind: plural for plural, kind in KINDS.items()}
    for schema in document.get("components", {}).get("schemas", {}).values():
        for named in schema.get("x-kubernetes-group-version-kind", ()):
            if (named["group"], named["version"]) == (GROUP, VERSION) and named["kind"] in plurals:
                found[plurals[named["kind"]]] = tree(schema) or {}
    return found


def tree(schema: Json) -> Tree | None:
    """The fields that a schema names; those of a list are those of its items."""
    if "items" in schema:
        return tree(schema["items"])
    if "properties" in schema:
        return {name: tree(inner) for name, inner in schema["properties"].items()}
    values = schema.get("additionalProperties")
    return {"*": tree(values)} if isinstance(values, dict) else None


@cache
def _ours() -> Mapping[str, Tree]:
    return {kind.plural: tree(kinds.open_api(kind)) or {} for kind in kinds.KINDS}


def outdated(served: Mapping[str, Tree]) -> dict[str, tuple[str, ...]]:
    """Definitions that lack fields which this operator knows; a kind that is not served at all is waited for elsewhere."""
    lacking = {plural: tuple(_lacking(fields, served[plural])) for plural, fields in _ours().items() if plural in served}
    return {f"{plural}.{GROUP}": fields for plural, fields in lacking.items() if fields}


def _lacking(ours: Tree, theirs: Tree, path: str = "") -> Iterator[str]:
    for name, inner in ours.items():
        at = f"{path}.{name}" if path else name
        if name not in theirs:
            yield at
            continue
        other = theirs[name]
        if inner is not None and other is not None:
            yield from _lacking(inner, other, at)


def _within(value: Any, known: Tree) -> Any:
    if isinstance(value, list):
        return [_within(each, known) for each in value]
    if not isinstance(value, dict):
        return value
    fields = value if "*" in known else value.keys() & known.keys()
    kept: Json = {}
    for name in value:
        if name in fields:
            inner = known.get("*") if "*" in known else known[name]
            kept[name] = value[name] if inner is None else _within(value[name], inner)
    return kept
