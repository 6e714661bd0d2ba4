"""Who may ask what: a bearer token on every endpoint but health (RFC 6750)."""

import hashlib
import hmac
from collections.abc import Mapping

from ray_apps.serving.clients import Client
from ray_apps.serving.jwt_bearer import Bearers, NoKeysError, RefusedTokenError
from ray_apps.serving.problems import ProblemError, unavailable
from recsys_schemas.serving_record import Role

OWN = "key:"
"""How the names of clients with one of the API's own tokens begin; those of signed tokens name their subject."""
MOST_KNOWN = 1_000
"""Authorizations remembered; all are forgotten when there are more."""
READ = frozenset({Role.READER, Role.WRITER, Role.TESTER})
WRITE = frozenset({Role.WRITER})
OPERATE = frozenset({Role.OPERATOR, Role.ADMIN})
ADMINISTER = frozenset({Role.ADMIN})
MEASURE = frozenset({Role.OPERATOR, Role.ADMIN, Role.METRICS})
ANY = frozenset(Role) - {Role.METRICS}
RETRY_SECONDS = 2
_DOTS = 2
"""In every signed token."""


def check(client: Client, allowed: frozenset[Role]) -> None:
    """Hold that a client may do this.

    Raises:
        ProblemError: 403.
    """
    if client.roles & allowed:
        return
    detail = f"Authorization: the token's role is {' and '.join(sorted(client.roles))}; this needs {' or '.join(sorted(allowed))}"
    raise ProblemError(403, "Forbidden", detail, field="Authorization")


def client_of(authorization: bytes | None, tokens: Mapping[str, Role], bearers: Bearers | None) -> Client:
    """Who asks, by the API's own tokens or by one that is signed.

    Raises:
        ProblemError: 401 without a token that is taken, 503 while nothing can be said of a signed one.
    """
    if authorization is None:
        raise _unauthorized("Authorization: missing; send `Authorization: Bearer <token>`", "")
    scheme, _, token = authorization.strip().partition(b" ")
    token = token.strip()
    if scheme.lower() != b"bearer" or not token:
        raise _unauthorized("Authorization: not a bearer token; send `Authorization: Bearer <token>`", ' error="invalid_request"')
    digest = hashlib.sha256(token).hexdigest()
    role = role_of(digest, tokens)
    if role is not None:
        return Client(name=f"{OWN}{digest[:12]}", roles=frozenset({role}))
    if bearers is None or token.count(b".") != _DOTS:
        raise _unauthorized("Authorization: this token is not known; take one from the model's token Secret", ' error="invalid_token"')
    try:
        return bearers.client(token)
    except RefusedTokenError as error:
        raise _unauthorized(f"Authorization: the token {error}", ' error="invalid_token"') from None
    except NoKeysError as error:
        raise unavailable(f"Authorization: the issuer's keys cannot be had ({error}); ask again", RETRY_SECONDS) from None


class Known:
    """Who asks, without hashing the same token again: remembers the API's own tokens until another record names other ones.

    Signed tokens expire, and are looked at each time. Called on the event loop only.
    """

    def __init__(self) -> None:
        self._tokens: Mapping[str, Role] = {}
        self._clients: dict[bytes, Client] = {}

    def client(self, authorization: bytes | None, tokens: Mapping[str, Role], bearers: Bearers | None) -> Client:
        """As `client_of`."""
        if tokens is not self._tokens:
            self._tokens, self._clients = tokens, {}
        found = self._clients.get(authorization or b"")
        if found is None:
            found = client_of(authorization, tokens, bearers)
            if found.name.startswith(OWN):
                if len(self._clients) >= MOST_KNOWN:
                    self._clients.clear()
                self._clients[authorization or b""] = found
        return found


def role_of(digest: str, tokens: Mapping[str, Role]) -> Role | None:
    """The role of a token's SHA-256; every known digest is compared in full, so time tells nothing."""
    found: Role | None = None
    for known, role in tokens.items():
        if hmac.compare_digest(known, digest):
            found = role
    return found


def _unauthorized(detail: str, error: str) -> ProblemError:
    challenge = f'Bearer realm="recommendations"{"," if error else ""}{error}'
    return ProblemError(401, "Unauthorized", detail, field="Authorization", headers={"WWW-Authenticate": challenge})
