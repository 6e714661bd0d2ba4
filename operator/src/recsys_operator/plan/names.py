"""Every name that is derived, in one place: names are functions of what they name, never drawn."""

import hashlib
import json

from recsys_operator.plan.once import once
from recsys_operator.state.observed import ModelState, Observed
from recsys_schemas.train_job import IngestJob, ModelIdentity
from recsys_schemas.v1alpha1.topics import Topic

OPERATOR_TOKEN_KEY = "operator-token"  # noqa: S105 - the name of a key, not a token
DEAD_LETTERS = "DeadLetters"


def uid8(model: ModelState) -> str:
    """The first eight characters of the model's uid: tells a model from an earlier one of the same name."""
    return model.uid[:8]


def identity(model: ModelState) -> ModelIdentity:
    """The model as jobs know it."""
    return ModelIdentity(namespace=model.key.namespace, name=model.key.name, uid=model.uid)


def app_name(model: ModelState) -> str:
    """The Serve application: namespace and name, so that two namespaces may hold models of one name."""
    return f"{model.key.namespace}.{model.key.name}"


def route_prefix(model: ModelState) -> str:
    """Path of the API on the cluster's ingress."""
    return model.spec.serving.route_prefix or f"/{model.key.name}"


def token_secret(model: ModelState) -> str:
    """The Secret that the operator makes for the API's tokens."""
    return f"{model.key.name}-api"


def version_name(observed: Observed) -> str:
    """The next version: one above every version that has an object or a folder."""
    prefix = f"{observed.model.key.name}-"
    taken = [*observed.registered, *(version.name for version in observed.versions)]
    numbers = [int(name.removeprefix(prefix)) for name in taken if name.startswith(prefix) and name.removeprefix(prefix).isdigit()]
    return f"{prefix}{max(numbers, default=0) + 1:06d}"


@once
def ingest_prefix(model: ModelState, job: IngestJob) -> str:
    """Ids of ingest jobs with exactly these arguments start so; the attempt follows."""
    words = json.dumps(job.model_dump(mode="json"), sort_keys=True)
    return f"ingest-{model.key.name}-{uid8(model)}-{hashlib.sha256(words.encode()).hexdigest()[:8]}-"


def run_prefix(kind: str, model: ModelState, version: str) -> str:
    """Ids of a version's training or preflight runs start so; the attempt follows."""
    return f"{kind}-{version}-{uid8(model)}-"


def again_name(observed: Observed, version: str) -> str:
    """The next rollout of a version that has had one: each going back is a rollout of its own."""
    return f"{version}-again-{sum(walk.spec.candidate.name == version for walk in observed.rollouts)}"


def upkeep_prefix(model: ModelState) -> str:
    """Ids of upkeep jobs start so; the number of the run follows."""
    return f"upkeep-{model.key.name}-{uid8(model)}-"


def mirror_prefix(model: ModelState) -> str:
    """Ids of the mirror's jobs start so; the number of the run follows."""
    return f"mirror-{model.key.name}-{uid8(model)}-"


def topics_by_role(model: ModelState) -> dict[str, Topic]:
    """Role → topic; Watch and Rate may be missing, never both."""
    return {topic.role: topic for topic in model.spec.kafka.topics}
