"""A Ray cluster that KubeRay keeps: its names and addresses, which are functions of the RayService's name."""

import json

DASHBOARD_PORT, SERVE_PORT = 8265, 8000
TOKEN_KEY = "auth_token"  # noqa: S105 - the key that KubeRay reads
MANAGED = {"app.kubernetes.io/managed-by": "recsys-operator"}
HTTP_OPTIONS = {"host": "0.0.0.0", "port": SERVE_PORT}  # noqa: S104 - a pod's ingress is for other pods
EMPTY_CONFIG = json.dumps({"proxy_location": "EveryNode", "http_options": HTTP_OPTIONS, "applications": []})
"""Serve's config before the first application."""


def token_secret(cluster: str) -> str:
    """The Secret with the token of a kept cluster's APIs, which the operator makes."""
    return f"{cluster}-ray-token"


def dashboard_url(namespace: str, ray_cluster: str) -> str:
    """The dashboard of one RayCluster, at the Service that KubeRay makes for its head."""
    return f"http://{ray_cluster}-head-svc.{namespace}.svc:{DASHBOARD_PORT}"


def serving_url(namespace: str, name: str) -> str:
    """Where the RayService's applications answer, whichever RayCluster is in use."""
    return f"http://{name}-serve-svc.{namespace}.svc:{SERVE_PORT}"
