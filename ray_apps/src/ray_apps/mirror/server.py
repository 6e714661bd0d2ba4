"""An MLflow server by its REST API (2.0): only the calls that mirroring takes, each of which may be made twice."""

import base64
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import islice
from typing import Any

import httpx

CALL_S = 30.0
ALL_S = 300.0
"""A run of the mirror gives up after so long: its next one goes on where it was."""
_PAGE = 200
_METRICS, _PARAMS, _TAGS = 1000, 100, 100
"""The most that one call of log-batch takes."""
_FIELD = "spec.registry.mlflow"

Json = dict[str, Any]


class MirrorError(Exception):
    """The server cannot be used as asked; the message names the field, what was seen and the mend."""


class AlreadyThereError(Exception):
    """What was to be made is there: somebody else, or an earlier try, has made it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server. Errors of the connection and refusals are `MirrorError`."""

    url: str
    http: httpx.Client
    until: float = field(default_factory=lambda: time.monotonic() + ALL_S)

    def call(self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Json | None = None) -> Json:
        """One call of the API.

        Raises:
            AlreadyThereError: it makes what is there already.
            MirrorError: no answer in time, or a refusal.
        """
        answer = self._send(method, f"{self.url}/api/2.0/mlflow/{path}", query=query, body=body)
        return answer.json() if answer.content else {}

    def put(self, path: str, data: bytes) -> None:
        """Put an artifact through the server; one of that name is replaced. Errors as `call`."""
        self._send("PUT", f"{self.url}/api/2.0/mlflow-artifacts/artifacts/{path}", content=data)

    def _send(
        self, method: str, url: str, *, query: Mapping[str, str] | None = None, body: Json | None = None, content: bytes | None = None
    ) -> httpx.Response:
        left = self.until - time.monotonic()
        if left <= 0:
            raise MirrorError(f"{_FIELD}.trackingURI {self.url}: not done after {ALL_S:.0f} s; the next run goes on")
        try:
            answer = self.http.request(method, url, params=query, json=body, content=content, timeout=min(CALL_S, left))
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            raise MirrorError(f"{_FIELD}.trackingURI {self.url} cannot be reached ({why}); check that it runs, and its address") from error
        if answer.is_success:
            return answer
        raise self._refusal(answer)

    def _refusal(self, answer: httpx.Response) -> Exception:
        code, words = _said(answer)
        if code == "RESOURCE_ALREADY_EXISTS":
            return AlreadyThereError(words)
        what = f"{_FIELD}.trackingURI {self.url}: {answer.request.method} {answer.request.url.path} answered {answer.status_code}"
        if answer.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            mend = f"put a token, or user:password, that may do so into the Secret of {_FIELD}.tokenSecretRef"
            return MirrorError(f"{what} ({words}); {mend}")
        return MirrorError(f"{what} ({code} {words})".replace("( ", "(") + "; see the server's log")

    # --- what is there ------------------------------------------------------------------------------------------

    def experiment(self, name: str) -> str:
        """Id of the experiment of a name; made when it is not there."""
        found = self._experiment(name)
        if found is None:
            try:
                return str(self.call("POST", "experiments/create", body={"name": name})["experiment_id"])
            except AlreadyThereError:
                found = self._experiment(name)
        if found is None or found.get("lifecycle_stage") != "active":
            raise MirrorError(f"{_FIELD}.experiment: {name!r} is deleted on {self.url}; restore it there, or name another")
        return str(found["experiment_id"])

    def _experiment(self, name: str) -> Json | None:
        answer = self._optional("experiments/get-by-name", {"experiment_name": name})
        return answer["experiment"] if answer else None

    def _optional(self, path: str, query: Mapping[str, str]) -> Json | None:
        """A thing that may not be there."""
        try:
            return self.call("GET", path, query=query)
        except MirrorError as error:
            if "RESOURCE_DOES_NOT_EXIST" in str(error):
                return None
            raise

    def runs(self, experiment: str, tags: Mapping[str, str]) -> list[Json]:
        """Runs that carry these tags, the oldest first."""
        wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        body: Json = {"experiment_ids": [experiment], "filter": wanted, "max_results": _PAGE, "run_view_type": "ACTIVE_ONLY"}
        found = self.call("POST", "runs/search", body=body).get("runs", [])
        return sorted(found, key=lambda run: (int(run["info"]["start_time"]), run["info"]["run_id"]))

    def model(self, name: str) -> Json:
        """The registered model of a name; made when it is not there."""
        found = self._optional("registered-models/get", {"name": name})
        if found is None:
            try:
                return self.call("POST", "registered-models/create", body={"name": name})["registered_model"]
            except AlreadyThereError:
                found = self.call("GET", "registered-models/get", query={"name": name})
        return found["registered_model"]

    def model_versions(self, name: str) -> Iterator[Json]:
        """All versions of a registered model."""
        token = ""
        while True:
            query = {"filter": f"name='{name}'", "max_results": str(_PAGE)} | ({"page_token": token} if token else {})
            found = self.call("GET", "model-versions/search", query=query)
            yield from found.get("model_versions", [])
            token = found.get("next_page_token", "")
            if not token:
                return

    # --- what is made -------------------------------------------------------------------------------------------

    def log(self, run: str, *, metrics: Sequence[Json], params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Write metrics, params and tags of a run, in as many calls as it takes."""
        facts = {kind: [{"key": key, "value": value} for key, value in each.items()] for kind, each in (("params", params), ("tags", tags))}
        for kind, found, most in (("metrics", metrics, _METRICS), ("params", facts["params"], _PARAMS), ("tags", facts["tags"], _TAGS)):
            for some in _pieces(found, most):
                self.call("POST", "runs/log-batch", body={"run_id": run, kind: some})


def _pieces(found: Sequence[Json], most: int) -> Iterator[list[Json]]:
    rest = iter(found)
    while some := list(islice(rest, most)):
        yield some


def _said(answer: httpx.Response) -> tuple[str, str]:
    """MLflow's own code and words; of another server's page the beginning."""
    try:
        body = answer.json()
    except ValueError:
        return "", " ".join(answer.text.split())[:200]
    return str(body.get("error_code", "")), " ".join(str(body.get("message", "")).split())[:300]


def authorization(secret: str | None) -> dict[str, str]:
    """The header that a secret stands for: `user:password`, or a bearer token."""
    if secret is None:
        return {}
    if ":" in secret:
        return {"Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"}
    return {"Authorization": f"Bearer {secret}"}
