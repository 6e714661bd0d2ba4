"""The Open Inference Protocol's health and metadata: what a platform asks of any model server before it knows what the model is for.

Source: https://github.com/kserve/open-inference-protocol, the HTTP/REST part; `infer` is not there, for a recommendation is no tensor.
"""

from ray_apps.serving.problems import ProblemError
from ray_apps.serving.replica import Replica
from recsys_schemas.serving_api import ModelMetadata, ServerMetadata

API_VERSION = "1"


def server() -> bytes:
    """GET /v2: ServerMetadata as JSON."""
    return ServerMetadata(name="recsys", version=API_VERSION, extensions=[]).model_dump_json().encode()


def model(replica: Replica, named: str) -> bytes:
    """GET /v2/models/{name}[/versions/{version}]: ModelMetadata as JSON.

    Raises:
        ProblemError: 404 for another model's name, or a version that is not mapped here.
    """
    name, _, version = named.partition("/versions/")
    ready = replica.arms.ready()
    if name != replica.arguments.name:
        raise ProblemError(404, "Not Found", f"name: {name!r} is not here; this is {replica.arguments.name!r}", field="name")
    if version and version not in ready:
        detail = f"version: {version!r} is not mapped here; there are: {', '.join(ready) or 'none'}"
        raise ProblemError(404, "Not Found", detail, field="version")
    serving = replica.arms.serving
    arm = None if serving is None else serving.arms.get(version, serving.stable)
    platform = "none" if arm is None else arm.version.card.algorithm
    told = ModelMetadata(name=name, versions=sorted(ready), platform=f"recsys_{platform.lower()}", inputs=[], outputs=[])
    return told.model_dump_json().encode()
