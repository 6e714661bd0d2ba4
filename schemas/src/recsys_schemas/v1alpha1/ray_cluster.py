"""Ray: a cluster that is there, or one that KubeRay keeps for the models that name it."""

from typing import Annotated, Literal

from pydantic import Field

from recsys_schemas.v1alpha1.resource import Resource, cel, list_map
from recsys_schemas.v1alpha1.security import Name

# Printable ASCII is spelt out: what \s means differs between the API server (Go: ASCII) and pydantic (Rust: Unicode).
URL = r"^https?://[!-.0-~]+(/[!-~]*)?$"
RAY_VERSION = "2.60.0"
LABEL = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
IMAGE = r"^[a-z0-9]([-a-zA-Z0-9._:/@]*[a-zA-Z0-9])?$"
Label = Annotated[str, Field(min_length=1, max_length=40, pattern=LABEL)]
Quantity = Annotated[str, Field(min_length=1, max_length=20, pattern=QUANTITY)]


class SecretKey(Resource):
    """One key of a Secret in the model's namespace."""

    name: Name
    """Name of the Secret."""
    key: Annotated[str, Field(min_length=1, max_length=253)] = "token"
    """Key within its data."""


class PodSize(Resource):
    """What a pod of the Ray cluster asks for."""

    cpu: Quantity = "1"
    """CPUs that it asks for; it may use more where nobody else does."""
    ray_cpus: Annotated[int | None, Field(ge=0, le=1024)] = None
    """CPUs that Ray counts there: a replica of the API takes one, a training worker what spec.training.resourcesPerWorker says. Default:
    cpu, rounded up."""
    memory: Quantity = "4Gi"
    """Memory: what it asks for, and its limit."""
    gpus: Annotated[int, Field(ge=0, le=16)] = 0
    """NVIDIA GPUs (nvidia.com/gpu); the image must be the variant for them."""


class Workers(Resource):
    """A group of workers, all alike."""

    name: Label
    """Its name."""
    replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    """How many; changed in place."""
    size: PodSize = Field(default_factory=PodSize)
    """What each asks for."""


class SharedFolder(Resource):
    """A folder that all pods of the cluster see, for snapshots and versions under file://."""

    claim: Name
    """A PersistentVolumeClaim in this namespace; with more than one node it must be ReadWriteMany."""
    mount_path: Annotated[str, Field(max_length=256, pattern=r"^/[-A-Za-z0-9._/]+$")] = "/var/lib/recsys"
    """Where: the same path as in the operator's pods."""


class FaultTolerance(Resource):
    """What the head knows is kept in Redis too, so that its end is not the cluster's."""

    redis_address: Annotated[str, Field(max_length=260, pattern=r"^[A-Za-z0-9._-]+:[1-9][0-9]{0,4}$")]
    """host:port."""
    password_secret_ref: SecretKey | None = None
    """The password. Default: none is asked for."""


class OwnJob(Resource):
    """Training on a cluster of its own, started for the run and ended after it."""

    queue: Annotated[str | None, Field(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")] = None
    """A LocalQueue of Kueue: the run waits until it is admitted. Default: it starts at once."""
    workers: Annotated[int, Field(ge=0, le=64)] = 0
    """Workers beside its head; with spec.training.numWorkers above 1 there should be as many."""
    size: PodSize = Field(default_factory=PodSize)
    """What each of its pods asks for."""


class Cluster(Resource):
    """A Ray cluster that KubeRay keeps: one RayService for all models of this namespace that give this name.

    The first of them says how it is; another that says otherwise is told so, and joins when it says the same or only the name.
    """

    name: Label
    """Of the RayService."""
    image: Annotated[str | None, Field(max_length=512, pattern=IMAGE)] = None
    """Image of the Ray apps. Default: the one that the operator was installed with. Another image, or another rayVersion, begins a second
    cluster that takes over when it is ready."""
    ray_version: Annotated[str, Field(max_length=32, pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")] = RAY_VERSION
    """Version of Ray in that image."""
    image_pull_secrets: Annotated[list[Name], Field(max_length=8, json_schema_extra={"x-kubernetes-list-type": "set"})] = []
    """Secrets with the registry's credentials."""
    service_account_name: Name | None = None
    """Of the pods, for instance for a cloud's object store; no token of Kubernetes is mounted. Default: the namespace's default."""
    head: PodSize = Field(default_factory=PodSize)
    """What the head asks for. Small models may be served and trained on it alone."""
    worker_groups: Annotated[list[Workers], Field(max_length=8, json_schema_extra=list_map("name"))] = []
    """Workers, for instance one group to serve and one with GPUs to train. Default: the head does all."""
    storage: SharedFolder | None = None
    """A folder for file://. Default: none; then storage is s3://."""
    credentials_secret: Name | None = None
    """A Secret whose keys become environment variables of all pods: AWS_ACCESS_KEY_ID and the like. Default: none."""
    fault_tolerance: FaultTolerance | None = None
    """Keep what the head knows in Redis. Default: when the head ends, KubeRay makes it anew, and it is told everything again."""
    upgrade: Literal["NewCluster", "None"] = "NewCluster"
    """What a change of image, version or pods does. NewCluster: a second cluster is made beside the first and takes over when it serves
    (both are paid for meanwhile). None: nothing, until this is NewCluster again."""
    training: OwnJob | None = None
    """Train each version in a RayJob with a cluster of its own. Default: on this cluster, which is warm."""


class Ray(Resource):
    """The Ray cluster that ingests, trains and serves: one that is there, or one that KubeRay keeps."""

    model_config = Resource.model_config | {
        "json_schema_extra": cel(
            (
                "[has(self.dashboardURL), has(self.cluster)].exists_one(x, x)",
                "exactly one of dashboardURL, cluster: name a Ray cluster that is there, or let KubeRay keep one",
                "'ray: exactly one of dashboardURL, cluster, seen ' + (has(self.cluster) ? 'both: remove one' : 'none: set one')",
            )
        )
    }

    dashboard_url: Annotated[str | None, Field(max_length=512, pattern=URL)] = None
    """The dashboard of a cluster that is there, such as http://127.0.0.1:8265; jobs and Serve applications go through its REST APIs."""
    serving_url: Annotated[str | None, Field(max_length=512, pattern=URL)] = None
    """Where its Serve ingress answers. Default: the dashboard's host, at the port that Serve reports; of a kept cluster its Service."""
    token_secret_ref: SecretKey = Field(default_factory=lambda: SecretKey(name="ray-auth"))
    """The token of the cluster's APIs. Default: key `token` of the Secret `ray-auth`. Not used of a kept cluster, whose token is made."""
    cluster: Cluster | None = None
    """A cluster that KubeRay keeps."""


class KeptCluster(Resource):
    """The cluster that KubeRay keeps for this model."""

    name: str
    """Of the RayService."""
    ray_cluster: str = ""
    """The RayCluster in use; another takes over with an upgrade."""
    dashboard_url: str = ""
    """Its dashboard, within Kubernetes."""
