"""The kept cluster: who says how it is, who joins, and what is told of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recsys_dev import ray_settings
from recsys_operator.failures import with_failure
from recsys_operator.plan import cluster, ray_service
from recsys_operator.plan.cluster import Keeping
from recsys_operator.plan.plan import plan
from recsys_operator.state.actions import KeepCluster, ReleaseCluster, RemoveFinalizer, RunOwnJob, SubmitJob
from recsys_operator.state.observed import Claim, ClusterState, Observed, Unavailable
from recsys_operator.world.errors import UnavailableError
from recsys_operator.world.objects import read_model
from recsys_schemas.serve_settings import SERVE_SETTINGS
from recsys_schemas.train_job import IngestJob, TrainJob
from recsys_schemas.v1alpha1.ray_cluster import Cluster, KeptCluster
from unit.operator.lagging import NOW, observed

UID = "0123456789"
IMAGE = "recsys-ray-apps:1"


def seen(state: ClusterState | Unavailable | None, asked: dict[str, Any] | None = None, **spec: Any) -> Observed:
    """A model that asks for a kept cluster, and how that is."""
    kafka = {"bootstrapServers": ["127.0.0.1:1"]} | spec.pop("kafka", {})
    ray = {"cluster": {"name": "shared"} | (asked or {})}
    body = {"metadata": {"name": "movies", "namespace": "shop", "uid": UID}, "spec": {"ray": ray, "kafka": kafka} | spec}
    return replace(observed(None, None), model=read_model(body, "file:///x"), cluster=state, ray_image=IMAGE)


def written(before: Observed, author: str = UID, **more: Any) -> ClusterState:
    """The cluster once its author has written it as it is wanted."""
    empty = ClusterState(name="shared")
    claims = {author: Claim(model="movies" if author == UID else "books", mounts=cluster.mounts(before.model))}
    wanted = ray_service.spec(before.model.spec.ray.cluster or Cluster(name="x"), "shop", IMAGE, cluster.all_mounts(empty, before.model))
    state = ClusterState(
        name="shared",
        exists=True,
        author=author,
        digest=ray_service.digest(wanted),
        claims=claims,
        ray_cluster="shared-x1",
        token_there=True,
    )
    return replace(state, **more)


def test_the_first_model_makes_the_cluster_and_the_second_pass_leaves_it_alone():
    first = seen(ClusterState(name="shared"))
    assert cluster.judge(first) is Keeping.DIFFERENT
    (keep,) = cluster.act(Keeping.DIFFERENT, first).actions
    assert isinstance(keep, KeepCluster)
    assert keep.spec is not None
    assert keep.spec["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"][0]["image"] == IMAGE
    again = replace(first, cluster=written(first, ready=True))
    assert cluster.judge(again) is Keeping.READY
    assert cluster.act(Keeping.READY, again).actions == ()


def test_every_pod_of_a_kept_cluster_and_a_head_of_our_own_serve_in_the_same_way(tmp_path: Path):
    workers = {"workerGroups": [{"name": "gpu", "replicas": 1}]}
    (keep,) = cluster.act(Keeping.DIFFERENT, seen(ClusterState(name="shared"), workers)).actions
    assert isinstance(keep, KeepCluster)
    assert keep.spec is not None
    groups = [keep.spec["rayClusterConfig"]["headGroupSpec"], *keep.spec["rayClusterConfig"]["workerGroupSpecs"]]
    kept = [{each["name"]: each["value"] for each in group["template"]["spec"]["containers"][0]["env"]} for group in groups]
    ports = ray_settings.RayPorts(first=61_000, dashboard=1, serve=2)
    for there in (*kept, ray_settings.environment(ports, tmp_path, tmp_path, ())):
        assert {name: there.get(name) for name in SERVE_SETTINGS} == SERVE_SETTINGS


def test_a_second_model_that_gives_only_the_name_joins_and_says_nothing_of_how_it_is():
    joining = seen(None)
    state = written(joining, author="other-uid", digest="whatever-it-is")
    (keep,) = cluster.act(Keeping.DIFFERENT, replace(joining, cluster=state)).actions
    assert cluster.judge(replace(joining, cluster=state)) is Keeping.DIFFERENT
    assert isinstance(keep, KeepCluster)
    assert keep.spec is None


def test_a_second_model_that_says_otherwise_is_told_who_says_so_and_changes_nothing():
    other = seen(None, {"head": {"memory": "9Gi"}})
    state = written(other, author="other-uid", digest="another")
    now = replace(other, cluster=state)
    part = cluster.act(cluster.judge(now), now)
    assert part.actions == ()
    assert (part.facts[0].holds, part.facts[0].reason) == (False, "ClusterDiffers")
    assert "as the model books says" in part.facts[0].message


def test_when_the_author_has_gone_whoever_is_left_says_how_it_is():
    left = seen(None, {"head": {"memory": "9Gi"}})
    state = replace(written(left, author="other-uid", digest="another"), claims={UID: Claim(model="movies")})
    now = replace(left, cluster=state)
    assert cluster.judge(now) is Keeping.DIFFERENT
    (keep,) = cluster.act(Keeping.DIFFERENT, now).actions
    assert isinstance(keep, KeepCluster)
    assert keep.spec is not None


def test_another_image_is_another_digest_and_replicas_are_not_hidden():
    one, two = seen(ClusterState(name="shared")), seen(ClusterState(name="shared"), {"image": "registry/ours:2"})
    assert isinstance(one.model.spec.ray.cluster, Cluster)
    state = written(one, ready=True)
    assert cluster.judge(replace(two, cluster=state)) is Keeping.DIFFERENT


def test_secrets_that_the_model_names_are_mounted_where_its_processes_look_for_them():
    secured = seen(
        ClusterState(name="shared"),
        kafka={"security": {"protocol": "SASL_SSL", "mechanism": "SCRAM-SHA-512", "credentialsSecretRef": {"name": "kafka"}}},
    )
    (keep,) = cluster.act(Keeping.DIFFERENT, secured).actions
    assert isinstance(keep, KeepCluster)
    assert keep.mounts == (("kafka", "password"), ("kafka", "username"))
    assert keep.spec is not None
    pod = keep.spec["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]
    (volume,) = [each for each in pod["volumes"] if each["name"] == "secrets"]
    assert volume["projected"]["sources"][0]["secret"]["items"] == [{"key": "password", "path": "shop/kafka/password"}]


@pytest.mark.parametrize(
    ("state", "asked", "reason", "words"),
    [
        (Unavailable(message="KubeRay is not installed", refused=True), {}, "KubeRayUnavailable", "KubeRay is not installed"),
        (ClusterState(name="shared", exists=True, ours=False), {}, "NameTaken", "RayService shop/shared is there and not ours"),
    ],
)
def test_what_keeps_a_cluster_from_being_is_a_condition_that_names_it(
    state: ClusterState | Unavailable, asked: dict[str, Any], reason: str, words: str
):
    now = seen(state, asked)
    (fact,) = cluster.act(cluster.judge(now), now).facts
    assert (fact.holds, fact.reason) == (False, reason)
    assert words in fact.message


def test_no_image_anywhere_is_told_before_kuberay_is():
    now = replace(seen(ClusterState(name="shared")), ray_image="")
    assert cluster.judge(now) is Keeping.NO_IMAGE
    assert cluster.act(Keeping.NO_IMAGE, now).actions == ()


def test_a_pod_in_trouble_is_told_in_its_own_reason_and_words():
    now = seen(None)
    now = replace(now, cluster=written(now, trouble="Pod shop/x finds no node", trouble_reason="Unschedulable"))
    (fact,) = cluster.act(cluster.judge(now), now).facts
    assert (fact.holds, fact.reason) == (False, "Unschedulable")
    assert "Pod shop/x finds no node" in fact.message


def test_a_pod_in_trouble_during_an_upgrade_leaves_what_runs_running():
    now = seen(None)
    now = replace(now, cluster=written(now, ready=True, upgrading=True, trouble="Pod y: ErrImagePull", trouble_reason="ImageNotFound"))
    (fact,) = cluster.act(cluster.judge(now), now).facts
    assert (fact.holds, fact.reason) == (True, "ImageNotFound")


def test_a_model_that_names_another_cluster_gives_the_first_one_up():
    now = seen(ClusterState(name="shared"))
    status = now.model.status.model_copy(update={"cluster": KeptCluster(name="earlier")})
    now = replace(now, model=replace(now.model, status=status))
    actions = cluster.act(cluster.judge(now), now).actions
    assert ReleaseCluster(name="earlier") in actions


def test_a_deleted_model_gives_its_claim_up_and_goes_only_then():
    now = seen(None)
    now = replace(now, model=replace(now.model, deleting_since=NOW, has_finalizer=True))
    claimed = plan(replace(now, cluster=written(now))).actions
    assert ReleaseCluster(name="shared") in claimed
    assert RemoveFinalizer() not in claimed
    assert RemoveFinalizer() in plan(replace(now, cluster=replace(written(now), claims={}))).actions


def test_training_goes_to_a_job_of_its_own_only_where_that_is_asked():
    train = SubmitJob(id="train-1", job=TrainJob.model_construct())
    other = SubmitJob(id="ingest-1", job=IngestJob.model_construct())
    warm, own = seen(None), seen(None, {"training": {"queue": "gpu", "workers": 1}})
    warm, own = (replace(each, cluster=written(each)) for each in (warm, own))
    assert cluster.with_own_jobs(warm, (train, other)) == (train, other)
    run, same = cluster.with_own_jobs(own, (train, other))
    assert same == other
    assert isinstance(run, RunOwnJob)
    assert (run.queue, run.spec["suspend"], run.spec["jobId"], run.spec["submissionMode"]) == ("gpu", True, "train-1", "HTTPMode")
    assert [group["replicas"] for group in run.spec["rayClusterSpec"]["workerGroupSpecs"]] == [1]


def test_every_pod_is_as_restricted_as_pod_security_asks():
    asked = Cluster.model_validate({"name": "c", "workerGroups": [{"name": "w"}], "storage": {"claim": "x"}, "credentialsSecret": "s3"})
    config = ray_service.spec(asked, "shop", IMAGE, [("kafka", "password")])["rayClusterConfig"]
    for template in (config["headGroupSpec"]["template"], *(group["template"] for group in config["workerGroupSpecs"])):
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        assert [each["securityContext"]["allowPrivilegeEscalation"] for each in pod["containers"]] == [False]
        assert [each["securityContext"]["capabilities"]["drop"] for each in pod["containers"]] == [["ALL"]]
        assert not [volume for volume in pod["volumes"] if "hostPath" in volume]


def test_a_claim_that_could_not_be_given_up_is_not_forgotten():
    now = seen(ClusterState(name="shared"))
    now = replace(now, model=replace(now.model, status=now.model.status.model_copy(update={"cluster": KeptCluster(name="earlier")})))
    decided = plan(now)
    assert decided.status.cluster == KeptCluster(name="shared")
    told = with_failure(decided.status, now, action="ReleaseCluster", error=UnavailableError("no answer"))
    assert told.cluster == KeptCluster(name="earlier")


def test_what_cannot_be_written_to_kuberay_holds_up_nothing_else():
    actions = plan(seen(ClusterState(name="shared"))).actions
    assert isinstance(actions[-1], KeepCluster)
