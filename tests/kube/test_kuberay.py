"""Kept Ray clusters on a real API server, with KubeRay's real definitions and its real controller; no pod runs here."""

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from kube.https_server import answering
from kube.operator_world import Place, define
from recsys_dev import cache, pki, processes
from recsys_dev.kubernetes import Cluster
from recsys_dev.node_addons import install_kuberay_definitions
from recsys_dev.node_programs import KUBERAY
from recsys_dev.ports import LOOPBACK, free_ports
from recsys_dev.processes import Command
from recsys_operator.plan import cluster as keeping
from recsys_operator.plan.cluster import Keeping
from recsys_operator.state.actions import KeepCluster, ReleaseCluster, RunOwnJob
from recsys_operator.state.observed import ClusterState, JobWord, Observed, Unavailable
from recsys_operator.world import ray_jobs
from recsys_operator.world.apply import apply
from recsys_operator.world.errors import RefusedError, UnavailableError
from recsys_operator.world.kuberay import Keeper
from recsys_schemas.train_job import TrainJob

IMAGE = "recsys-ray-apps:1"
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"


@pytest.fixture(scope="module")
def defined(cluster: Cluster) -> Cluster:
    define(cluster)
    return cluster


@pytest.fixture(scope="module")
def rayed(defined: Cluster) -> Iterator[Cluster]:
    """The session's API server, while KubeRay works on it."""
    install_kuberay_definitions(defined)
    program = cache.ensure([KUBERAY], print) / KUBERAY.name
    metrics, probes = free_ports(2)
    argv = [
        program,
        "--enable-leader-election=false",
        f"--metrics-addr={LOOPBACK}:{metrics}",
        f"--health-probe-bind-address={LOOPBACK}:{probes}",
    ]
    child = processes.start(defined.run_dir, "kuberay", Command(argv=argv, env={"KUBECONFIG": str(defined.kubeconfig)}))
    health = f"http://{LOOPBACK}:{probes}/readyz"
    try:
        processes.wait_until(lambda: _answers(health), what="KubeRay", deadline_s=120, children=[child])
        yield defined
    finally:
        processes.stop(child)
        # Other tests of this API server know no KubeRay.
        defined.kubectl("delete", "-f", str(_definitions(defined)), "--wait=false", "--ignore-not-found")


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).is_success
    except httpx.TransportError:
        return False


def _definitions(cluster: Cluster) -> Path:
    file = cluster.run_dir / "ray-definitions.json"
    file.write_text(
        cluster.kubectl("get", "crd", *(f"ray{each}.ray.io" for each in ("clusters", "cronjobs", "jobs", "services")), "-o", "json")
    )
    return file


@pytest.fixture
def here(rayed: Cluster, namespace: str, tmp_path: Path) -> Place:
    rayed.kubectl("label", "namespace", namespace, RESTRICTED)
    return Place(cluster=rayed, namespace=namespace, storage=tmp_path / "storage")


def asked(**cluster: Any) -> dict[str, Any]:
    return {"ray": {"cluster": {"name": "shared", "image": IMAGE} | cluster}}


def act(here: Place, name: str = "movies") -> Observed:
    """One pass of the concern: look, judge, do."""
    seen = here.observed(name)
    for action in keeping.act(keeping.judge(seen), seen).actions:
        here.world(lambda world, action=action: apply(world, seen, action))
    return here.observed(name)


def state(seen: Observed) -> ClusterState:
    assert isinstance(seen.cluster, ClusterState), seen.cluster
    return seen.cluster


def until(look: Callable[[], bool], what: str) -> None:
    processes.wait_until(look, what=what, deadline_s=120)


def pods(here: Place) -> list[dict[str, Any]]:
    return json.loads(here.kubectl("get", "pods", "-o", "json"))["items"]


def test_without_kuberay_its_absence_is_told_with_the_mend_and_everything_else_goes_on(defined: Cluster, namespace: str, tmp_path: Path):
    here = Place(cluster=defined, namespace=namespace, storage=tmp_path)
    here.model(**asked())
    seen = here.observed()
    assert isinstance(seen.cluster, Unavailable)
    assert seen.cluster.refused
    assert "KubeRay is not installed" in seen.cluster.message
    assert "install KubeRay 1.6 or later" in seen.cluster.message
    assert isinstance(seen.topics, Unavailable)  # looked at all the same: nothing listens at its address
    assert "spec.kafka" in seen.topics.message


def test_kuberay_makes_a_cluster_of_what_is_written_in_a_restricted_namespace(here: Place):
    here.model(**asked(workerGroups=[{"name": "serve", "replicas": 1}]))
    assert keeping.judge(here.observed()) is Keeping.DIFFERENT
    seen = act(here)
    assert state(seen).token_there
    until(lambda: len(pods(here)) == 2, "a head and a worker, admitted")
    until(lambda: state(here.observed()).ray_cluster != "", "a RayCluster in the status")
    assert keeping.judge(here.observed()) is Keeping.STARTING
    images = {each["image"] for pod in pods(here) for each in pod["spec"]["containers"]}
    assert images == {IMAGE}
    token = {each["name"]: each.get("valueFrom") for each in pods(here)[0]["spec"]["containers"][0]["env"]}["RAY_AUTH_TOKEN"]
    assert token == {"secretKeyRef": {"name": "shared-ray-token", "key": "auth_token"}}


def test_a_second_pass_writes_nothing(here: Place):
    here.model(**asked())
    act(here)
    before = here.get("rayservice", "shared")["metadata"]["generation"], here.get("secret", "shared-ray-token")["data"]
    seen = act(here)
    assert keeping.judge(seen) is not Keeping.DIFFERENT
    assert (here.get("rayservice", "shared")["metadata"]["generation"], here.get("secret", "shared-ray-token")["data"]) == before


def test_a_cluster_that_models_share_goes_with_the_last_of_them(here: Place):
    here.model("movies", **asked())
    here.model("books", ray={"cluster": {"name": "shared"}})
    act(here, "movies")
    both = state(act(here, "books"))
    assert {claim.model for claim in both.claims.values()} == {"movies", "books"}
    for name, left in (("movies", {"books"}), ("books", set[str]())):
        seen = here.observed(name)
        here.world(lambda world, seen=seen: apply(world, seen, ReleaseCluster(name="shared")))
        found = here.get("rayservice", "shared")
        assert {each["name"] for each in found.get("metadata", {}).get("ownerReferences", [])} == left or left == set()
    until(lambda: not here.get("rayservice", "shared"), "the end of the RayService")
    until(lambda: not here.get("secret", "shared-ray-token"), "the end of its token")


def test_the_one_that_is_left_says_how_it_is_from_now_on(here: Place):
    here.model("movies", **asked())
    here.model("books", **asked(head={"memory": "5Gi"}))
    act(here, "movies")
    assert keeping.judge(here.observed("books")) is Keeping.DIFFERS
    seen = here.observed("movies")
    here.world(lambda world: apply(world, seen, ReleaseCluster(name="shared")))

    def authored() -> bool:
        """The token of the cluster before goes a moment after it: until then the pass is tried again."""
        with contextlib.suppress(UnavailableError):
            now = act(here, "books")
            return state(now).author == now.model.uid and state(now).token_there
        return False

    until(authored, "books as the author")


def test_somebody_elses_rayservice_of_that_name_is_left_alone(here: Place):
    spec = {
        "serveConfigV2": "applications: []",
        "rayClusterConfig": {"headGroupSpec": {"rayStartParams": {}, "template": {"spec": {"containers": [{"name": "h", "image": "x"}]}}}},
    }
    body = {"apiVersion": "ray.io/v1", "kind": "RayService", "metadata": {"name": "shared"}, "spec": spec}
    here.kubectl("apply", "-f", "-", given=json.dumps(body))
    here.model(**asked())
    seen = here.observed()
    assert keeping.judge(seen) is Keeping.NAME_TAKEN
    assert keeping.act(Keeping.NAME_TAKEN, seen).actions == ()
    here.world(lambda world: apply(world, seen, ReleaseCluster(name="shared")))
    assert here.get("rayservice", "shared")["metadata"]["name"] == "shared"


def test_serve_config_is_written_into_the_rayservice_and_counts_as_deployed(here: Place):
    here.model(**asked())
    act(here)
    app = {"name": "shop.movies", "route_prefix": "/movies", "import_path": "x:y", "deployments": []}

    async def write(world: Any) -> Any:
        keeper = Keeper(kube=world.kube, namespace=here.namespace, name="shared")
        before = await keeper.overlay({"applications": {"old": {"status": "RUNNING"}}})
        await keeper.write({"http_options": {"host": "0.0.0.0", "port": 8000}, "applications": [app]})  # noqa: S104 - what pods listen on
        return before, await keeper.overlay({"applications": {"shop.movies": {"status": "RUNNING"}}})

    before, after = here.world(write)
    assert before["applications"] == {"old": {"status": "DELETING"}}
    assert after["applications"] == {"shop.movies": {"status": "RUNNING", "deployed_app_config": app}}
    act(here)  # writing how the cluster is keeps what was written of applications
    here.model(**asked(image="recsys-ray-apps:2"))
    act(here)
    assert json.loads(here.get("rayservice", "shared")["spec"]["serveConfigV2"])["applications"] == [app]


def head(here: Place) -> str:
    until(lambda: bool(pods(here)), "a head")
    until(lambda: state(here.observed()).ray_cluster != "", "its RayCluster")
    return pods(here)[0]["metadata"]["name"]


def test_an_image_that_is_not_found_is_told_with_the_pod_and_the_mend(here: Place):
    here.model(**asked())
    act(here)
    waiting = {
        "name": "ray-head",
        "ready": False,
        "restartCount": 0,
        "image": IMAGE,
        "imageID": "",
        "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}},
    }
    name = head(here)
    here.kubectl(
        "patch", "pod", name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": {"containerStatuses": [waiting]}})
    )
    seen = here.observed()
    (fact,) = keeping.act(keeping.judge(seen), seen).facts
    assert (fact.holds, fact.reason) == (False, "ImageNotFound")
    assert f"Pod {here.namespace}/{name}: image {IMAGE}: ErrImagePull: not found; correct spec.ray.cluster.image" in fact.message


def test_no_room_for_a_pod_is_told_with_the_schedulers_words(here: Place):
    here.model(**asked())
    act(here)
    name = head(here)
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes: Insufficient memory"}
    here.kubectl("patch", "pod", name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": {"conditions": [condition]}}))
    assert state(here.observed()).trouble_reason == "Unschedulable"
    assert "Insufficient memory; lower what spec.ray.cluster asks for" in state(here.observed()).trouble


def test_a_claim_without_a_volume_is_told_with_its_storage_class(here: Place):
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "folder"},
        "spec": {"accessModes": ["ReadWriteMany"], "storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}},
    }
    here.kubectl("apply", "-f", "-", given=json.dumps(claim))
    here.model(**asked(storage={"claim": "folder"}))
    act(here)
    words = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims"
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}
    here.kubectl(
        "patch", "pod", head(here), "--subresource=status", "--type=merge", "-p", json.dumps({"status": {"conditions": [condition]}})
    )
    seen = state(here.observed())
    assert seen.trouble_reason == "StorageMissing"
    assert f"PersistentVolumeClaim {here.namespace}/folder is Pending, storage class fast" in seen.trouble


def test_pods_that_admission_refuses_are_told_in_the_words_of_who_refuses(here: Place):
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    here.kubectl("apply", "-f", "-", given=json.dumps(quota))
    here.model(**asked())
    act(here)
    until(lambda: state(here.observed()).trouble_reason == "PodsRefused", "the refusal")
    assert "exceeded quota: none" in state(here.observed()).trouble


def test_pods_that_a_webhook_refuses_are_told_in_its_own_words_and_made_when_it_lets_them(here: Place):
    authority = here.cluster.papers
    assert authority is not None
    words, lets = "no image of a registry that is not ours", threading.Event()

    def judge(_: str, review: dict[str, Any]) -> dict[str, Any]:
        said = {"uid": review["request"]["uid"], "allowed": lets.is_set()} | ({} if lets.is_set() else {"status": {"message": words}})
        return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": said}

    with answering(here.cluster, judge) as port:
        webhook = {
            "name": "pods.example.com",
            "clientConfig": {"url": f"https://localhost:{port}/", "caBundle": pki.base64_of(authority.authority_file)},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": here.namespace}},
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }
        kind = "ValidatingWebhookConfiguration"
        body = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": here.namespace}, "webhooks": [webhook]}
        here.kubectl("apply", "-f", "-", given=json.dumps(body))
        try:
            here.model(**asked())
            act(here)
            until(lambda: state(here.observed()).trouble_reason == "PodsRefused", "the refusal")
            assert words in state(here.observed()).trouble
            lets.set()
            until(lambda: bool(pods(here)), "a pod, once it is let in")
        finally:
            here.kubectl("delete", kind, here.namespace)


def test_in_a_namespace_that_is_being_terminated_nothing_is_made_and_it_is_said(here: Place):
    here.model(**asked())
    seen = here.observed()
    here.kubectl("patch", "namespace", here.namespace, "--type=merge", "-p", '{"metadata":{"finalizers":["recsys.dev/test"]}}')
    here.kubectl("delete", "namespace", here.namespace, "--wait=false")
    (action,) = [each for each in keeping.act(keeping.judge(seen), seen).actions if isinstance(each, KeepCluster)]
    with pytest.raises(RefusedError, match="being terminated"):
        here.world(lambda world: apply(world, seen, action))
    here.kubectl("patch", "namespace", here.namespace, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')


def test_a_run_of_its_own_is_a_rayjob_that_kueue_could_hold_and_its_end_is_ours(here: Place):
    model = here.model(**asked(training={"queue": "gpu"}))
    act(here)
    seen = here.observed()
    submit = keeping.SubmitJob(id="train-movies-000001-1", job=TrainJob.model_construct())
    (action,) = keeping.with_own_jobs(seen, (submit,))
    assert isinstance(action, RunOwnJob)

    async def run(world: Any) -> Any:
        for _ in range(2):
            await ray_jobs.run(world.kube, model, action, "python -m ray_apps.training")
        return await ray_jobs.read(world.kube, model)

    found = here.world(run)
    assert {job.id: job.word for job in found.values()} == {"train-movies-000001-1": JobWord.PENDING}
    body = here.get("rayjob", "train-movies-000001-1")
    assert (body["metadata"]["labels"]["kueue.x-k8s.io/queue-name"], body["spec"]["suspend"]) == ("gpu", True)
    until(
        lambda: here.get("rayjob", "train-movies-000001-1").get("status", {}).get("jobDeploymentStatus") == "Suspended", "KubeRay holds it"
    )
    here.kubectl("patch", "rayjob", "train-movies-000001-1", "--type=merge", "-p", '{"spec":{"suspend":false}}')
    until(lambda: any("train-movies" in pod["metadata"]["name"] for pod in pods(here)), "its own head, once it is admitted")
    here.world(lambda world: ray_jobs.end(world.kube, model, "train-movies-000001-1"))
    until(lambda: not any("train-movies" in pod["metadata"]["name"] for pod in pods(here)), "the end of its pods")


def test_definitions_that_are_too_old_are_told_with_the_mend(here: Place):
    """The definition as it was before it knew tokens by name: the API server drops what it does not know."""
    kind = "rayservices.ray.io"
    definition = json.loads(here.cluster.kubectl("get", "crd", kind, "-o", "json"))
    for version in definition["spec"]["versions"]:
        config = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["rayClusterConfig"]
        config["properties"].pop("authOptions", None)
    here.cluster.kubectl("replace", "-f", "-", input=json.dumps(definition))
    try:
        here.model(**asked())

        def told() -> bool:
            """The API server takes a changed definition up a moment later."""
            here.kubectl("delete", "rayservice", "shared", "--ignore-not-found")
            seen = here.observed()
            (action,) = [each for each in keeping.act(keeping.judge(seen), seen).actions if isinstance(each, KeepCluster)]
            here.world(lambda world: apply(world, seen, action))
            return isinstance(here.observed().cluster, Unavailable)

        until(told, "the refusal")
        seen = here.observed().cluster
        assert isinstance(seen, Unavailable)
        assert "definitions are too old: they dropped rayClusterConfig.authOptions.secretName" in seen.message
    finally:
        install_kuberay_definitions(here.cluster)


def test_the_operators_own_image_stands_in_where_the_model_names_none(here: Place):
    here.model(ray={"cluster": {"name": "shared"}})
    assert keeping.judge(here.observed()) is Keeping.NO_IMAGE
    seen = replace(here.observed(), ray_image=os.environ.get("NONE", IMAGE))
    (action,) = keeping.act(keeping.judge(seen), seen).actions
    assert isinstance(action, KeepCluster)
    assert action.spec is not None
