"""The Kubernetes API: the few verbs that the operator needs, each with a deadline, each safe to repeat."""

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeAlias

import httpx
from kubernetes.client import Configuration
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config

from recsys_operator.world.errors import RefusedError, UnavailableError

Json: TypeAlias = dict[str, Any]

FIELD_MANAGER = "recsys-operator"
CALL_S = 15.0
_PAGE = 500
_MERGE = "application/merge-patch+json"
_APPLY = "application/apply-patch+yaml"


class ConflictError(RefusedError):
    """The object changed, or exists, since it was last read."""


def load_configuration() -> Configuration:
    """Credentials as every client finds them: the pod's service account, else the kubeconfig.

    Raises:
        RefusedError: neither is there.
    """
    configuration = Configuration()
    try:
        load_incluster_config(client_configuration=configuration)
    except ConfigException:
        try:
            load_kube_config(client_configuration=configuration)
        except (ConfigException, OSError) as error:
            words = f"no Kubernetes credentials: not in a pod, and the kubeconfig cannot be used ({error}); set KUBECONFIG"
            raise RefusedError(words) from error
    return configuration


class _Bearer(httpx.Auth):
    """The token, read anew for each request: service account tokens are rotated while we run."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        settings = self._configuration.auth_settings()
        if "BearerToken" in settings and settings["BearerToken"]["value"]:
            request.headers["Authorization"] = str(settings["BearerToken"]["value"])
        yield request


def _tls(configuration: Configuration) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert or None)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file or None)
    return context


@dataclass(frozen=True, slots=True, kw_only=True)
class Kube:
    """An API server to speak to. Reads are from the quorum, never from a watch cache."""

    http: httpx.AsyncClient

    async def get(self, path: str) -> Json | None:
        """Read one object; None when it is not there."""
        return await self._call("GET", path, missing_ok=True)

    async def items(self, path: str, *, labels: Mapping[str, str]) -> list[Json]:
        """All objects with these labels, over as many pages as it takes."""
        found: list[Json] = []
        query = {"labelSelector": ",".join(f"{key}={value}" for key, value in labels.items()), "limit": str(_PAGE)}
        while True:
            page = await self._call("GET", path, query=query) or {}
            found += page.get("items", [])
            more = page.get("metadata", {}).get("continue", "")
            if not more:
                return found
            query["continue"] = more

    async def create(self, path: str, body: Json) -> Json:
        """Make an object.

        Raises:
            ConflictError: one of that name is there.
        """
        return await self._call("POST", path, query={"fieldManager": FIELD_MANAGER}, body=body) or {}

    async def replace(self, path: str, body: Json) -> Json:
        """Write an object as a whole; its resourceVersion says which state it replaces.

        Raises:
            ConflictError: it has changed since.
        """
        return await self._call("PUT", path, query={"fieldManager": FIELD_MANAGER}, body=body) or {}

    async def merge(self, path: str, body: Json) -> Json | None:
        """Change the fields given (RFC 7396); None when the object is gone.

        Raises:
            ConflictError: `body` carries a resourceVersion, and the object has changed since.
        """
        return await self._call("PATCH", path, query={"fieldManager": FIELD_MANAGER}, body=body, content=_MERGE, missing_ok=True)

    async def apply(self, path: str, body: Json) -> Json | None:
        """Server-side apply, taking the fields over from whoever holds them; None when the object is gone."""
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return await self._call("PATCH", path, query=query, body=body, content=_APPLY, missing_ok=True)

    async def delete(self, path: str, *, version: str | None = None) -> None:
        """Delete an object; one that is gone already is as good.

        Raises:
            ConflictError: a resourceVersion is given, and the object has changed since.
        """
        body: Json | None = None if version is None else {"preconditions": {"resourceVersion": version}}
        await self._call("DELETE", path, query={"propagationPolicy": "Background"}, body=body, missing_ok=True)

    async def _call(  # noqa: PLR0913 - one place for all verbs
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
        content: str = "application/json",
        missing_ok: bool = False,
    ) -> Json | None:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": content} if data is not None else {}
        try:
            # httpx times each read of a socket apart, so a server that trickles needs a bound on the whole.
            async with asyncio.timeout(CALL_S):
                answer = await self.http.request(method, path, params=query, content=data, headers=headers)
        except (httpx.HTTPError, TimeoutError) as error:
            raise UnavailableError(f"Kubernetes API {self.http.base_url}: {method} {path}: {seen(error)}") from error
        if answer.status_code == HTTPStatus.NOT_FOUND and missing_ok:
            return None
        if answer.is_success:
            return _read(method, path, answer)
        raise _refusal(method, path, answer)


def _read(method: str, path: str, answer: httpx.Response) -> Json:
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        words = f"Kubernetes API: {method} {path}: {answer.status_code} with {answer.content[:60]!r}, which is no object"
        raise UnavailableError(f"{words}; see what stands between the operator and the API server")
    return body


def _refusal(method: str, path: str, answer: httpx.Response) -> UnavailableError | RefusedError:
    try:
        words = answer.json().get("message", answer.text)
    except ValueError:
        words = answer.text
    message = f"Kubernetes API: {method} {path}: {answer.status_code} {words[:1000]}"
    if answer.status_code == HTTPStatus.CONFLICT:
        return ConflictError(message)
    if answer.status_code in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.UNAUTHORIZED) or answer.is_server_error:
        return UnavailableError(message)
    return RefusedError(message)


def seen(error: BaseException) -> str:
    """What an error says of itself, or its class where it says nothing (as time-outs do)."""
    return str(error) or type(error).__name__


def open_kube(configuration: Configuration) -> Kube:
    """A client for these credentials; close its `http` at the end."""
    http = httpx.AsyncClient(
        base_url=configuration.host,
        verify=_tls(configuration),
        auth=_Bearer(configuration),
        timeout=httpx.Timeout(CALL_S, connect=5.0),
        limits=httpx.Limits(max_connections=32),
        trust_env=False,
        headers={"User-Agent": FIELD_MANAGER, "Accept": "application/json"},
    )
    return Kube(http=http)
