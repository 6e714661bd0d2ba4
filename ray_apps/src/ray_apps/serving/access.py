"""Who may ask what: a bearer token on every endpoint but health (RFC 6750)."""

import hashlib
import hmac
from collections.abc import Mapping

from ray_apps.serving.problems import ProblemError
from recsys_schemas.serving_api import Role

READ = frozenset({Role.READER, Role.WRITER})
WRITE = frozenset({Role.WRITER})
OPERATE = frozenset({Role.OPERATOR})
ANY = frozenset(Role)


def check(authorization: bytes | None, tokens: Mapping[str, Role], allowed: frozenset[Role]) -> Role:
    """The role of the bearer.

    Raises:
        ProblemError: 401 without a known token, 403 when its role may not do this.
    """
    if authorization is None:
        raise _unauthorized("Authorization: missing; send `Authorization: Bearer <token>`", "")
    scheme, _, token = authorization.strip().partition(b" ")
    token = token.strip()
    if scheme.lower() != b"bearer" or not token:
        raise _unauthorized("Authorization: not a bearer token; send `Authorization: Bearer <token>`", ' error="invalid_request"')
    role = role_of(hashlib.sha256(token).hexdigest(), tokens)
    if role is None:
        raise _unauthorized("Authorization: this token is not known; take one from the model's token Secret", ' error="invalid_token"')
    if role not in allowed:
        raise ProblemError(
            403,
            "Forbidden",
            f"Authorization: the token's role is {role.value}; this needs {' or '.join(sorted(allowed))}",
            field="Authorization",
        )
    return role


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
