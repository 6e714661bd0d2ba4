"""What an API server publishes of its kinds (OpenAPI v3), as the JSON Schemas that kubeconform reads: nothing is fetched from elsewhere.

A field that a kind does not have is an error there, as it is for `kubectl --validate=strict`.
"""

import json
from pathlib import Path
from typing import Any

from recsys_dev import processes
from recsys_dev.kubernetes import Cluster, CommandFailedError

Json = dict[str, Any]
LOCATION = "{{.Group}}/{{.ResourceAPIVersion}}/{{.ResourceKind}}.json"
"""Where the schema of a kind lies within the folder, in kubeconform's words; the group of `v1` is `v1` to it."""
PUBLISHED_DEADLINE_S = 60.0
_ALL = "all.json"


def write(cluster: Cluster, folder: Path, *, new: tuple[str, ...] = ()) -> str:
    """Write the schemas of every kind that the API server publishes; return the location that kubeconform is told.

    Args:
        cluster: whose API server is asked.
        folder: an empty one.
        new: kinds, as `group/version/kind` in small letters, that are waited for: definitions are published a moment after they are
            established.
    """

    def written() -> bool:
        _write_all(cluster, folder)
        return all((folder / f"{kind}.json").exists() for kind in new)

    processes.wait_until(written, what=f"schemas of {', '.join(new) or 'kinds'}", deadline_s=PUBLISHED_DEADLINE_S)
    return str(folder / LOCATION)


def _write_all(cluster: Cluster, folder: Path) -> None:
    published: Json = json.loads(cluster.kubectl("get", "--raw", "/openapi/v3"))["paths"]
    for path, place in published.items():
        match path.split("/"):
            case ["api", version]:
                group = ""
            case ["apis", group, version]:
                pass
            case _:
                continue
        try:
            body: Json = json.loads(cluster.kubectl("get", "--raw", place["serverRelativeURL"]))
        except CommandFailedError as failed:
            if "NotFound" in failed.stderr:  # a definition that went meanwhile
                continue
            raise
        _write_group(body["components"]["schemas"], group, version, folder / (group or version) / version)


def _write_group(schemas: Json, group: str, version: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder.joinpath(_ALL).write_text(json.dumps({"components": {"schemas": {name: closed(each) for name, each in schemas.items()}}}))
    for name, schema in schemas.items():
        for kind in schema.get("x-kubernetes-group-version-kind", []):
            if (kind["group"], kind["version"]) == (group, version):
                folder.joinpath(f"{kind['kind'].lower()}.json").write_text(json.dumps({"$ref": f"{_ALL}#/components/schemas/{name}"}))


def closed(schema: Json) -> Json:
    """The same schema, in which a field that is not named is an error, and what may be null may be."""
    found = dict(schema)
    if "properties" in schema:
        found["properties"] = {name: closed(each) for name, each in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            found.setdefault("additionalProperties", False)
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), dict):
            found[word] = closed(schema[word])
    if schema.get("nullable") and "type" in schema:
        found["type"] = [schema["type"], "null"]
    return found
