"""How many replicas, and what each reserves: written for Ray Serve, and read back as they were asked."""

from dataclasses import replace

import pytest

from recsys_operator.world.serve_config import app_config, read_autoscaling, read_resources
from recsys_schemas.v1alpha1.serving import Autoscaling, ReplicaResources
from unit.operator.world.test_serve_config import deploy


def test_what_another_application_says_is_passed_over() -> None:
    assert read_autoscaling({"autoscaling_config": {"min_replicas": "many"}}) is None
    assert read_resources({"ray_actor_options": {"num_cpus": -3}}) == ReplicaResources()
    assert read_resources({}) == ReplicaResources()


@pytest.mark.parametrize("resources", [ReplicaResources(), ReplicaResources(cpus=2, memory_mebibytes=512)])
@pytest.mark.parametrize("autoscaling", [None, Autoscaling(min_replicas=2, max_replicas=7, target_ongoing_requests=1.5)])
def test_what_is_written_reads_back(autoscaling: Autoscaling | None, resources: ReplicaResources) -> None:
    (config,) = app_config(replace(deploy(), autoscaling=autoscaling, resources=resources))["deployments"]
    assert read_autoscaling(config) == autoscaling
    assert read_resources(config) == resources
    assert ("num_replicas" in config) is (autoscaling is None)
