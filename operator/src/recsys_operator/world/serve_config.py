"""Serve's declarative config, which is always sent as a whole: read, one application changed, all others kept as they are."""

import contextlib

from recsys_operator.state.actions import DeployApp
from recsys_operator.world.kube import Json
from recsys_schemas.v1alpha1.serving import Autoscaling, ReplicaResources

DEPLOYMENT = "Recommender"
IMPORT_PATH = "ray_apps.serving.app:build"
_GOING = "DELETING"
_KEPT = ("proxy_location", "http_options", "grpc_options", "logging_config", "target_capacity")


def _others(details: Json, name: str) -> list[Json]:
    """Configs of the other applications, verbatim; one that is being deleted must not be brought back."""
    return [
        body["deployed_app_config"]
        for other, body in sorted(details.get("applications", {}).items())
        if other != name and body.get("deployed_app_config") and body.get("status") != _GOING
    ]


def _whole(details: Json, applications: list[Json]) -> Json:
    kept = {key: details[key] for key in _KEPT if details.get(key) is not None}
    return kept | {"applications": applications}


def app_config(action: DeployApp) -> Json:
    """One model's application as Serve has it."""
    deployment: Json = {
        "name": DEPLOYMENT,
        **_how_many(action),
        "ray_actor_options": _reserved(action.resources),
        # New code starts a new replica beside each old one: with none beside, one replica would mean seconds without answers.
        "max_surge_percent": 100,
        "max_ongoing_requests": 100,
        "graceful_shutdown_wait_loop_s": 1.0,
        "graceful_shutdown_timeout_s": 20.0,
        "health_check_period_s": 5.0,
        "health_check_timeout_s": 10.0,
        "user_config": action.record.model_dump(mode="json"),
    }
    return {
        "name": action.name,
        "route_prefix": action.route_prefix,
        "import_path": IMPORT_PATH,
        "args": action.arguments.model_dump(mode="json"),
        "deployments": [deployment],
    }


def _how_many(action: DeployApp) -> Json:
    scaling = action.autoscaling
    if scaling is None:
        return {"num_replicas": action.replicas}
    config: Json = {
        "min_replicas": scaling.min_replicas,
        "max_replicas": scaling.max_replicas,
        "target_ongoing_requests": scaling.target_ongoing_requests,
        "upscale_delay_s": float(scaling.upscale_delay_seconds),
        "downscale_delay_s": float(scaling.downscale_delay_seconds),
    }
    return {"autoscaling_config": config}


def read_autoscaling(deployment: Json) -> Autoscaling | None:
    """What a deployment's config says of it, as `app_config` writes it; None where the number of replicas stands."""
    config: Json = deployment.get("autoscaling_config") or {}
    with contextlib.suppress(KeyError, TypeError, ValueError):  # another application's may be of any form
        return Autoscaling(
            min_replicas=int(config["min_replicas"]),
            max_replicas=int(config["max_replicas"]),
            target_ongoing_requests=float(config["target_ongoing_requests"]),
            upscale_delay_seconds=int(config["upscale_delay_s"]),
            downscale_delay_seconds=int(config["downscale_delay_s"]),
        )
    return None


def _reserved(resources: ReplicaResources) -> Json:
    memory: Json = {"memory": resources.memory_mebibytes << 20} if resources.memory_mebibytes else {}
    return {"num_cpus": resources.cpus, **memory}


def read_resources(deployment: Json) -> ReplicaResources:
    """What a deployment's config reserves for a replica; what the application's code does, where it says nothing."""
    options: Json = deployment.get("ray_actor_options") or {}
    memory = options.get("memory")
    with contextlib.suppress(TypeError, ValueError):
        mebibytes = int(memory) >> 20 if memory else None
        return ReplicaResources(cpus=options.get("num_cpus", ReplicaResources().cpus), memory_mebibytes=mebibytes)
    return ReplicaResources()


def with_app(details: Json, action: DeployApp, *, http_options: Json) -> Json:
    """The whole config with this application in it."""
    config = _whole(details, [*_others(details, action.name), app_config(action)])
    return {"http_options": http_options} | config


def without(details: Json, name: str) -> Json:
    """The whole config without this application."""
    return _whole(details, _others(details, name))


def changed(details: Json, config: Json) -> bool:
    """Whether sending this config would change any application."""
    now = {
        name: body["deployed_app_config"]
        for name, body in details.get("applications", {}).items()
        if body.get("deployed_app_config") and body.get("status") != _GOING
    }
    return now != {app["name"]: app for app in config["applications"]}
