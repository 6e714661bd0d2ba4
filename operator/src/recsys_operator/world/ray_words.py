"""Ray's answers as the plan sees them."""

import json
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from recsys_operator.state.observed import AppState, JobState, JobWord
from recsys_operator.world.kube import Json
from recsys_operator.world.serve_config import DEPLOYMENT, read_autoscaling, read_resources
from recsys_schemas.serving_record import ServingArguments, ServingRecord

DEFAULT_SERVE_PORT = 8000
_LONGEST_MESSAGE = 1500
_ILL = ("DEPLOY_FAILED", "UNHEALTHY")

_T = TypeVar("_T", bound=BaseModel)


def read_job(body: Json) -> JobState:
    """One job of the Jobs API; times are in milliseconds there."""
    return JobState(
        id=body["submission_id"],
        word=JobWord(body["status"]),
        message=last_words(body.get("message") or "")[-_LONGEST_MESSAGE:],
        started_at=_time(body.get("start_time")),
        ended_at=_time(body.get("end_time")),
    )


def last_words(message: str) -> str:
    """What a job said last of why it ended: the `error` of its last structured log line that has one, else all of the message."""
    for line in reversed(message.splitlines()):
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if isinstance(said, dict) and said.get("error"):
            return str(said["error"])
    return message.strip()


def read_apps(details: Json) -> dict[str, AppState]:
    """All applications of a cluster, ours and others'."""
    return {name: _app(name, body) for name, body in details.get("applications", {}).items()}


def _app(name: str, body: Json) -> AppState:
    config: Json = body.get("deployed_app_config") or {}
    wanted: Json = next((each for each in config.get("deployments", []) if each.get("name") == DEPLOYMENT), {})
    running: Json = body.get("deployments", {}).get(DEPLOYMENT, {})
    word, message = str(body.get("status", "")), str(body.get("message") or "")
    # RUNNING may still be read for a few milliseconds after a PUT: not all deployments have the new config then.
    said = str(running.get("message") or "")
    if word == "RUNNING" and running and running.get("status") != "HEALTHY":
        word, message = "DEPLOYING", message or said
    # Of a replica that fails the application only says that a deployment failed: why, the deployment says, last of all.
    if word in _ILL and said and running.get("status") in _ILL:
        message = said
    return AppState(
        name=name,
        route_prefix=body.get("route_prefix") or config.get("route_prefix") or "",
        word=word,
        message=message.strip()[-_LONGEST_MESSAGE:],
        autoscaling=read_autoscaling(wanted),
        resources=read_resources(wanted),
        replicas_wanted=int(wanted.get("num_replicas") or running.get("target_num_replicas") or 0),
        running_replicas=tuple(
            sorted(replica["replica_id"] for replica in running.get("replicas", []) if replica.get("state") == "RUNNING")
        ),
        arguments=_ours(ServingArguments, config.get("args")),
        record=_ours(ServingRecord, wanted.get("user_config")),
    )


def _ours(kind: type[_T], value: object) -> _T | None:
    try:
        return kind.model_validate(value, extra="ignore")
    except ValidationError:
        return None


def serving_url(asked: str | None, dashboard_url: str, details: Json) -> str:
    """Where the Serve ingress answers: as the spec says, else the dashboard's host at the port that Serve reports."""
    if asked is not None:
        return asked.rstrip("/")
    port = (details.get("http_options") or {}).get("port") or DEFAULT_SERVE_PORT
    host = urlsplit(dashboard_url).hostname or "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _time(milliseconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None
