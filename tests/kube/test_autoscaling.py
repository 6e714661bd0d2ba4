"""A HorizontalPodAutoscaler on a model, by Kubernetes' own controller: it reads the scale subresource, and writes it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from kube.https_server import answering
from kube.operator_world import Place, define
from recsys_dev import processes
from recsys_dev.kubernetes import Cluster

METRICS = "external.metrics.k8s.io"
ACTS_S = 90.0
"""The controller looks every 15 s."""


@dataclass(slots=True)
class Load:
    """A metrics server as an adapter for Prometheus is one: what it says is set by the test."""

    requests_per_second: int = 0
    asked: list[str] = field(default_factory=list[str])

    def answer(self, path: str) -> dict[str, Any]:
        self.asked.append(path)
        if path.rstrip("/") == f"/apis/{METRICS}/v1beta1":
            resource = {"name": "recsys_requests", "namespaced": True, "kind": "ExternalMetricValueList", "verbs": ["get"]}
            return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{METRICS}/v1beta1", "resources": [resource]}
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        item = {"metricName": "recsys_requests", "metricLabels": {}, "timestamp": now, "value": str(self.requests_per_second)}
        return {"kind": "ExternalMetricValueList", "apiVersion": f"{METRICS}/v1beta1", "metadata": {}, "items": [item]}


@pytest.fixture
def load(cluster: Cluster) -> Iterator[Load]:
    """The metrics server, known to the API server as one of its own APIs while the test runs."""
    told = Load()
    with answering(cluster, lambda path, _: told.answer(path)) as port:
        place = {"name": "load", "namespace": "kube-system"}
        spec: dict[str, Any] = {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}
        service: dict[str, Any] = {"apiVersion": "v1", "kind": "Service", "metadata": place, "spec": spec}
        name = f"v1beta1.{METRICS}"
        api: dict[str, Any] = {"group": METRICS, "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100}
        api |= {"insecureSkipTLSVerify": True, "service": place | {"port": port}}
        known: dict[str, Any] = {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": name}, "spec": api}
        items = json.dumps({"apiVersion": "v1", "kind": "List", "items": [service, known]})
        cluster.kubectl("apply", "-f", "-", input=items)
        try:
            cluster.kubectl("wait", "--for=condition=Available", "apiservice", name, "--timeout=60s")
            yield told
        finally:
            cluster.kubectl("delete", "-f", "-", input=items)


def autoscaler(target: str) -> dict[str, Any]:
    metric = {"metric": {"name": "recsys_requests"}, "target": {"type": "AverageValue", "averageValue": "100"}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": target},
        "spec": {
            "scaleTargetRef": {"apiVersion": "recsys.dev/v1alpha1", "kind": "RecommenderModel", "name": target},
            "minReplicas": 2,
            "maxReplicas": 6,
            "metrics": [{"type": "External", "external": metric}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        },
    }


def test_replicas_follow_the_load_between_the_bounds(cluster: Cluster, namespace: str, load: Load, tmp_path: Any):
    define(cluster)
    here = Place(cluster=cluster, namespace=namespace, storage=tmp_path)
    here.model(serving={"replicas": 2})
    # As the operator tells it: the controller reads how many there are from the status.
    serving = {"replicas": 2, "readyReplicas": 2, "epoch": 1, "url": "http://127.0.0.1:8000/movies", "selector": "recsys.dev/model=movies"}
    here.kubectl("patch", "rm", "movies", "--subresource=status", "--type=merge", "-p", json.dumps({"status": {"serving": serving}}))
    load.requests_per_second = 430
    here.kubectl("create", "-f", "-", given=json.dumps(autoscaler("movies")))

    def replicas() -> int:
        return here.get("rm", "movies")["spec"]["serving"]["replicas"]

    processes.wait_until(lambda: replicas() == 5, what="five replicas for 430 requests/s", deadline_s=ACTS_S)
    assert f"/apis/{METRICS}/v1beta1/namespaces/{namespace}/recsys_requests" in load.asked
    load.requests_per_second = 10_000
    processes.wait_until(lambda: replicas() == 6, what="no more than six replicas", deadline_s=ACTS_S)

    def conditions() -> dict[str, Any]:
        return {each["type"]: each for each in here.get("hpa", "movies")["status"]["conditions"]}

    # The controller writes the scale first, and what it thinks of it a moment later.
    limited = "TooManyReplicas"
    processes.wait_until(lambda: conditions()["ScalingLimited"]["reason"] == limited, what=limited, deadline_s=ACTS_S)
    assert (conditions()["AbleToScale"]["status"], conditions()["ScalingActive"]["status"]) == ("True", "True")
