"""The Ray cluster through its dashboard: jobs, and Serve applications of one declarative config that all models share."""

import asyncio
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeAlias
from urllib.parse import quote, urlsplit
from weakref import WeakValueDictionary

import httpx

from recsys_operator.state.actions import DeployApp
from recsys_operator.state.observed import AppState, JobState
from recsys_operator.world.errors import RefusedError, UnavailableError
from recsys_operator.world.kube import Json, seen
from recsys_operator.world.kuberay import Keeper
from recsys_operator.world.ray_words import read_apps, read_job
from recsys_operator.world.serve_config import changed, without
from recsys_operator.world.serve_config import with_app as merged
from recsys_operator.world.shared import Shared
from recsys_schemas.mirror import MirrorJob
from recsys_schemas.train_job import IngestJob, PreflightJob, TrainJob, UpkeepJob

CALL_S = 15.0
CONNECT_S = 3.0
"""An address that takes no connection for so long is silent: it is told, and tried again."""
PUT_S = 60.0
"""The first PUT to a fresh head starts Serve's controller and ingress: seconds."""
_TOKEN_FIELD = "spec.ray.tokenSecretRef"  # noqa: S105 - the name of a field
_URL_FIELD = "spec.ray.dashboardURL"
_CLUSTER_FIELD = "spec.ray.cluster"
_APPLICATIONS = "/api/serve/applications/"
_JOBS = "/api/jobs/"
DRIVER_CPUS = 0.1
"""A job's driver only steers; what it starts asks for its own."""


Job: TypeAlias = IngestJob | TrainJob | PreflightJob | UpkeepJob | MirrorJob


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a dashboard tells of its whole cluster."""

    jobs: Sequence[Json]
    apps: Mapping[str, AppState]
    details: Json
    """Of Serve, as Ray reports them."""

    def jobs_of(self, uid8: str) -> Mapping[str, JobState]:
        """Jobs whose id carries these eight characters of the model's uid."""
        mine = [body for body in self.jobs if f"-{uid8}-" in (body.get("submission_id") or "")]
        return {job.id: job for job in map(read_job, mine)}


_Looks = Shared[tuple[str, str], Look]


@dataclass(slots=True)
class Rays:
    """What all clusters share: one pool of connections, and one writer of Serve's config for each cluster."""

    http: httpx.AsyncClient
    training_command: str
    locks: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary[str, asyncio.Lock])
    looks: _Looks = field(default_factory=_Looks)

    def at(self, url: str, token: str, *, secret: str = "", keeper: Keeper | None = None) -> "RayCluster":
        """The cluster behind a dashboard; `secret` says where its token is from, `keeper` where its Serve config is written."""
        lock = self.locks.setdefault(keeper.serving_url if keeper else url, asyncio.Lock())
        return RayCluster(
            http=self.http,
            url=url.rstrip("/"),
            token=token,
            secret=secret,
            lock=lock,
            training_command=self.training_command,
            keeper=keeper,
            looks=self.looks,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RayCluster:
    """One Ray cluster; every call has a deadline and may be repeated."""

    http: httpx.AsyncClient
    url: str
    token: str = field(repr=False)
    secret: str = ""
    """Where the token is from, for messages: `namespace/name, key 'token'`."""
    lock: asyncio.Lock
    training_command: str
    keeper: Keeper | None = None
    """None: its Serve config is sent to it itself."""
    looks: _Looks = field(repr=False)

    async def look(self, *, of: Sequence[str] = ()) -> Look:
        """All jobs and applications; models of one cluster share what one of them has read a moment ago.

        Args:
            of: whose jobs, by the first eight characters of the model's uid, and which application: of these it tells what we did last.
        """
        return await self.looks.get((self.url, self.token), self._look, of=of)

    async def _look(self) -> Look:
        answer, details = await asyncio.gather(self._call("GET", _JOBS), self.serve())
        return Look(jobs=_json(answer, list), apps=read_apps(details), details=details)

    async def jobs(self, uid8: str) -> Mapping[str, JobState]:
        """Jobs whose id carries these eight characters of the model's uid."""
        return (await self.look(of=[uid8])).jobs_of(uid8)

    async def submit(self, job_id: str, job: Job) -> None:
        """Start a job under this id; one submitted before under it, ended or not, is left alone."""
        body = {
            "entrypoint": self.entrypoint(job),
            "submission_id": job_id,
            "entrypoint_num_cpus": DRIVER_CPUS,
            "metadata": {"recsys.dev/model": f"{job.model.namespace}/{job.model.name}", "recsys.dev/model-uid": job.model.uid},
        }
        try:
            await self._call("POST", _JOBS, body=body, part=job.model.uid[:8])
        except (RefusedError, UnavailableError) as error:
            # Ray answers a duplicate with 500 and a traceback; whether the job is there is what counts.
            if f"{job_id} already exists" not in str(error) and not await self._exists(job_id):
                raise

    def entrypoint(self, job: Job) -> str:
        """The shell command of a job."""
        return f"{self._command(job)} --job {shlex.quote(job.model_dump_json())}"

    async def stop(self, job_id: str) -> None:
        """Ask a job to end; one that has ended or was forgotten is as good."""
        await self._call("POST", f"{_JOBS}{quote(job_id, safe='')}/stop", missing_ok=True)

    async def forget(self, job_id: str) -> None:
        """Delete the record of a job that has ended; one that is gone is as good."""
        await self._call("DELETE", f"{_JOBS}{quote(job_id, safe='')}", missing_ok=True)

    async def serve(self) -> Json:
        """Serve's details as Ray reports them: applications, http_options and so on."""
        details: Json = _json(await self._call("GET", _APPLICATIONS), dict)
        return details if self.keeper is None else await self.keeper.overlay(details)

    async def deploy(self, action: DeployApp, *, http_options: Json) -> None:
        """Put one application into Serve's config, or change it there; `http_options` only count before Serve runs."""
        async with self.lock:
            details = await self.serve()
            await self._put(details, merged(details, action, http_options=http_options), action.name)

    async def remove(self, name: str) -> None:
        """Take one application out of Serve's config."""
        async with self.lock:
            details = await self.serve()
            await self._put(details, without(details, name), name)

    async def _put(self, details: Json, config: Json, name: str) -> None:
        if not changed(details, config):
            return
        if self.keeper is None:
            await self._call("PUT", _APPLICATIONS, body=config, within=PUT_S, part=name)
        else:
            await self.keeper.write(config)

    async def _exists(self, job_id: str) -> bool:
        answer = await self._call("GET", f"{_JOBS}{quote(job_id, safe='')}", missing_ok=True)
        return answer.status_code != HTTPStatus.NOT_FOUND

    def _command(self, job: Job) -> str:
        match job:
            case IngestJob():
                return "python -m ray_apps.ingest"
            case TrainJob():
                return self.training_command
            case PreflightJob():
                return "python -m ray_apps.serving.preflight"
            case UpkeepJob():
                return "python -m ray_apps.upkeep"
            case MirrorJob():
                return "python -m ray_apps.mirror"

    @property
    def _named_by(self) -> str:
        return _URL_FIELD if self.keeper is None else _CLUSTER_FIELD

    async def _call(  # noqa: PLR0913 - one place for all calls
        self,
        method: str,
        path: str,
        *,
        body: Json | None = None,
        within: float = CALL_S,
        missing_ok: bool = False,
        part: str | None = None,
    ) -> httpx.Response:
        """`part`: whose jobs or which application it changes; without it, whatever was read before is void."""
        headers = {"Authorization": f"Bearer {self.token}"}
        try:
            async with asyncio.timeout(within):
                answer = await self.http.request(
                    method, f"{self.url}{path}", json=body, headers=headers, timeout=httpx.Timeout(within, connect=CONNECT_S)
                )
        except (httpx.HTTPError, TimeoutError) as error:
            waited = CONNECT_S if isinstance(error, httpx.ConnectTimeout) else within
            words = f"{self._named_by}: no Ray dashboard answers at {self.url} within {waited:g} s ({method} {path}: {seen(error)})"
            raise UnavailableError(f"{words}; start the cluster or correct the address") from error
        finally:
            if method != "GET":
                self.looks.forget((self.url, self.token), part)
        if answer.is_success or (missing_ok and answer.status_code == HTTPStatus.NOT_FOUND):
            return answer
        raise self._refusal(method, path, answer)

    def _refusal(self, method: str, path: str, answer: httpx.Response) -> RefusedError | UnavailableError:
        words = f"{method} {self.url}{path}: {answer.status_code} {_last_words(answer.text)}"
        match answer.status_code:
            case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
                mend = f"put the cluster's token into the Secret{f' {self.secret}' if self.secret else ''}"
                return RefusedError(f"{_TOKEN_FIELD}: Ray refused the token: {words}; {mend}")
            case HTTPStatus.NOT_FOUND:
                return RefusedError(f"{self._named_by}: no Ray dashboard is at {self.url}: {words}; correct the address")
            case code if code == HTTPStatus.TOO_MANY_REQUESTS or code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                return UnavailableError(f"Ray: {words}")
            case _:
                return RefusedError(f"Ray: {words}")


def _last_words(text: str) -> str:
    """Ray's refusals are tracebacks: the cause is in the last lines."""
    return text.strip()[-600:]


def _json(answer: httpx.Response, kind: type[Any]) -> Any:
    try:
        body = json.loads(answer.content)
    except ValueError:
        body = None
    if not isinstance(body, kind):
        words = f"{_URL_FIELD}: {answer.request.url} answers {answer.text[:100]!r}, which Ray's dashboard would not"
        raise RefusedError(f"{words}; correct the address")
    return body


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine itself."""
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
