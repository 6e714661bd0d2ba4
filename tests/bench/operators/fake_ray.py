"""Dashboards that answer as Ray's do, and run nothing: no Ray here could train for as many models as one operator looks after.

    python -m bench.operators.fake_ray PORT

Each first part of a path is a cluster of its own, `http://127.0.0.1:PORT/team-01` for instance, whose Serve ingress answers beside it.
"""

import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import uvicorn

TOKEN = "bench"

Json = dict[str, Any]


@dataclass(slots=True)
class RayCluster:
    """Jobs that run until they are stopped, and applications that are healthy at once."""

    port: int
    jobs: dict[str, Json] = field(default_factory=dict[str, Json])
    apps: dict[str, Json] = field(default_factory=dict[str, Json])
    asked: Counter[str] = field(default_factory=Counter[str])
    """How often each job was asked for."""

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, object]:
        job = path.split("/")[3] if path.startswith("/api/jobs/") and path.count("/") >= 3 else ""
        match method, path:
            case "GET", "/api/jobs/":
                return 200, list(self.jobs.values())
            case "POST", "/api/jobs/":
                asked = json.loads(body)
                self.asked[asked["submission_id"]] += 1
                self.jobs.setdefault(asked["submission_id"], _running(asked))
                return 200, {"submission_id": asked["submission_id"]}
            case "GET", "/api/serve/applications/":
                return 200, {"http_options": {"host": "127.0.0.1", "port": self.port}, "applications": self.apps}
            case "PUT", "/api/serve/applications/":
                self.apps = {app["name"]: _healthy(app) for app in json.loads(body)["applications"]}
                return 200, {}
            case "POST", _ if path.endswith("/stop") and job in self.jobs:
                self.jobs[job] |= {"status": "STOPPED", "end_time": int(time.time() * 1000)}
                return 200, {"stopped": True}
            case "DELETE", _ if job:
                self.jobs.pop(job, None)
                return 200, {"deleted": True}
            case "GET", "/asked":
                return 200, self.asked
            case "GET", _ if path.endswith("/v1/evidence"):
                return 200, {"replicas": self._reports(path.removesuffix("/v1/evidence"))}
            case _:
                return 404, {}

    def _reports(self, route: str) -> list[Json]:
        """What the replicas on a route would say: that they serve the newest record, and that nobody has asked."""
        told = {"age_seconds": 0.1, "ready": {}, "refused": {}, "counters": {}}
        return [
            told | {"replica_id": replica["replica_id"], "epoch": app["deployed_app_config"]["deployments"][0]["user_config"]["epoch"]}
            for app in self.apps.values()
            if app["route_prefix"] == route
            for replica in app["deployments"]["Recommender"]["replicas"]
        ]


def _running(asked: Json) -> Json:
    kept = {key: asked.get(key) for key in ("submission_id", "entrypoint", "metadata")}
    return {"type": "SUBMISSION", "status": "RUNNING", "message": "", "start_time": int(time.time() * 1000), "end_time": None} | kept


def _healthy(app: Json) -> Json:
    running = {
        deployment["name"]: {
            "status": "HEALTHY",
            "message": "",
            "target_num_replicas": deployment["num_replicas"],
            "replicas": [{"replica_id": f"{app['name']}-{each}", "state": "RUNNING"} for each in range(deployment["num_replicas"])],
        }
        for deployment in app["deployments"]
    }
    return {"status": "RUNNING", "message": "", "route_prefix": app["route_prefix"], "deployed_app_config": app, "deployments": running}


class Dashboards:
    """All clusters behind one port."""

    def __init__(self, port: int) -> None:
        self._clusters: defaultdict[str, RayCluster] = defaultdict(lambda: RayCluster(port=port))

    async def __call__(self, scope: Any, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        """The ASGI entry."""
        if scope["type"] != "http":
            return
        _, cluster, rest = scope["path"].split("/", 2)
        status, body = self._clusters[cluster].answer(scope["method"], f"/{rest}", await _body(receive))
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})


async def _body(receive: Callable[..., Any]) -> bytes:
    parts = b""
    while True:
        message = await receive()
        parts += message.get("body", b"")
        if not message.get("more_body"):
            return parts


def main() -> None:
    port = int(sys.argv[1])
    uvicorn.run(Dashboards(port), host="127.0.0.1", port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
