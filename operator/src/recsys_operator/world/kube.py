"""The Kubernetes API: the few verbs that the operator needs, each with a deadline, each safe to repeat."""

import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, NamedTuple, TypeAlias

import aiohttp
from kubernetes.client import Configuration
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config
from yarl import URL

from recsys_operator.world.errors import RefusedError, UnavailableError

Json: TypeAlias = dict[str, Any]

FIELD_MANAGER = "recsys-operator"
CALL_S, _CONNECT_S = 15.0, 5.0
_CONNECTIONS = 32
_PAGE = 500
_MERGE = "application/merge-patch+json"
_APPLY = "application/apply-patch+yaml"
_OURS = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Ignore"}
"""Of each write. Fields that the API server does not know are dropped or refused as ever; what is left out is a second, strict reading of
the whole body, for warnings that nobody sees."""


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


def _token(configuration: Configuration) -> str:
    """The token, read anew for each request: service account tokens are rotated while we run. Empty: there is none."""
    bearer = configuration.auth_settings().get("BearerToken") or {}
    return str(bearer.get("value") or "")


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

    host: str
    """Its address, with the path that stands before it, if any."""
    http: aiohttp.ClientSession
    token: Callable[[], str]
    """What goes into `Authorization`."""

    async def close(self) -> None:
        """End its connections."""
        await self.http.close()

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
        return await self._call("POST", path, query=_OURS, body=body) or {}

    async def replace(self, path: str, body: Json) -> Json:
        """Write an object as a whole; its resourceVersion says which state it replaces.

        Raises:
            ConflictError: it has changed since.
        """
        return await self._call("PUT", path, query=_OURS, body=body) or {}

    async def merge(self, path: str, body: Json) -> Json | None:
        """Change the fields given (RFC 7396); None when the object is gone.

        Raises:
            ConflictError: `body` carries a resourceVersion, and the object has changed since.
        """
        return await self._call("PATCH", path, query=_OURS, body=body, content=_MERGE, missing_ok=True)

    async def apply(self, path: str, body: Json) -> Json | None:
        """Server-side apply, taking the fields over from whoever holds them; None when the object is gone."""
        return await self._call("PATCH", path, query={**_OURS, "force": "true"}, body=body, content=_APPLY, missing_ok=True)

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
        if token := self.token():
            headers["Authorization"] = token
        url = URL(self.host + path, encoded=True)  # names are quoted where paths are made
        try:
            async with self.http.request(method, url, params=query, data=data, headers=headers, allow_redirects=False) as response:
                answer = _Answer(response.status, await response.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UnavailableError(f"Kubernetes API {self.host}: {method} {path}: {seen(error)}") from error
        if answer.status == HTTPStatus.NOT_FOUND and missing_ok:
            return None
        if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            return _read(method, path, answer)
        raise _refusal(method, path, answer)


class _Answer(NamedTuple):
    status: int
    content: bytes


def _read(method: str, path: str, answer: _Answer) -> Json:
    try:
        body = json.loads(answer.content)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        words = f"Kubernetes API: {method} {path}: {answer.status} with {answer.content[:60]!r}, which is no object"
        raise UnavailableError(f"{words}; see what stands between the operator and the API server")
    return body


def _refusal(method: str, path: str, answer: _Answer) -> UnavailableError | RefusedError:
    words = answer.content.decode(errors="replace")
    try:
        told = json.loads(answer.content)
    except ValueError:
        told = None
    if isinstance(told, dict):
        words = str(told.get("message", words))
    message = f"Kubernetes API: {method} {path}: {answer.status} {words[:1000]}"
    if answer.status == HTTPStatus.CONFLICT:
        return ConflictError(message)
    passing = answer.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.UNAUTHORIZED)
    if passing or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return UnavailableError(message)
    return RefusedError(message)


def seen(error: BaseException) -> str:
    """What an error says of itself, or its class where it says nothing (as time-outs do)."""
    return str(error) or type(error).__name__


def open_kube(configuration: Configuration) -> Kube:
    """A client for these credentials; close it at the end. Called on the event loop that is to use it.

    It is aiohttp, which kopf watches with: a call takes a fifth of the CPU time that httpx takes, whose pool looks at each of its
    connections at every call.
    """
    http = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=_tls(configuration), limit=_CONNECTIONS),
        timeout=aiohttp.ClientTimeout(total=CALL_S, sock_connect=_CONNECT_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": FIELD_MANAGER, "Accept": "application/json"},
    )
    return Kube(host=configuration.host.rstrip("/"), http=http, token=lambda: _token(configuration))
