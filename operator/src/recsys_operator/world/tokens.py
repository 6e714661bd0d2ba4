"""Secrets: the token of the Ray cluster, and the tokens of a model's API. What is in them is never logged."""

import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import Mapping

from recsys_operator.state.observed import ModelState
from recsys_operator.world.errors import RefusedError
from recsys_operator.world.kube import Json, Kube
from recsys_operator.world.objects import owner_uid, secret_path
from recsys_operator.world.owned import create_secret
from recsys_schemas.serving_record import Role
from recsys_schemas.v1alpha1.ray_cluster import SecretKey

WRITER_KEY = "token"
OPERATOR_KEY = "operator-token"
MOST_API_KEYS = 200
_RANDOM_BYTES = 32
_SHA256 = re.compile(r"[0-9a-f]{64}")


def api_secret(model: ModelState) -> str:
    """Name of the Secret that the operator makes for a model's API."""
    return f"{model.key.name}-api"


async def read_key(kube: Kube, namespace: str, ref: SecretKey, field: str) -> str:
    """One key of a Secret, as text; errors as `read_secret_key`."""
    return await read_secret_key(kube, namespace, ref.name, ref.key, field)


async def read_secret_key(kube: Kube, namespace: str, name: str, key: str, field: str) -> str:
    """One key of a Secret, as text.

    Raises:
        RefusedError: the Secret or the key is missing; the message says how to make it.
    """
    body = await kube.get(secret_path(namespace, name))
    if body is None:
        make = f"kubectl create secret generic {name} --namespace {namespace} --from-literal={key}=..."
        raise RefusedError(f"{field}: Secret {namespace}/{name} not found; create it: {make}")
    return _text(body, key, f"{field}: Secret {namespace}/{name}")


def _text(body: Json, key: str, what: str) -> str:
    data: Mapping[str, str] = body.get("data") or {}
    if key not in data:
        raise RefusedError(f"{what}: key {key!r} is missing (it has: {', '.join(sorted(data)) or 'none'}); add it")
    try:
        text = base64.b64decode(data[key], validate=True).decode().strip()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise RefusedError(f"{what}: key {key!r} is no text; write the token as plain text") from error
    if not text:
        raise RefusedError(f"{what}: key {key!r} is empty; write the token into it")
    return text


async def _own_secret(kube: Kube, model: ModelState) -> Json | None:
    name = api_secret(model)
    body = await kube.get(secret_path(model.key.namespace, name))
    if body is None:
        return None
    owner = owner_uid(body)
    if owner != model.uid:
        words = f"Secret {model.key.namespace}/{name} is not owned by this model (uid {model.uid}, owner: {owner or 'none'})"
        raise RefusedError(f"{words}: its tokens are not trusted; delete it, and it is made again")
    return body


async def operator_token(kube: Kube, model: ModelState) -> str | None:
    """The token with which the operator reads evidence; None while it is yet to be made."""
    body = await _own_secret(kube, model)
    return None if body is None else _text(body, OPERATOR_KEY, f"Secret {model.key.namespace}/{api_secret(model)}")


async def read_roles(kube: Kube, model: ModelState) -> Mapping[str, Role]:
    """SHA-256 (hex) of each token of the API → its role; empty while our Secret is yet to be made.

    Raises:
        RefusedError: a Secret that the spec names is missing, or ours is not ours.
    """
    body = await _own_secret(kube, model)
    if body is None:
        return {}
    what = f"Secret {model.key.namespace}/{api_secret(model)}"
    named = model.spec.serving.token_secret_ref
    field = "spec.serving.tokenSecretRef"
    writer = _text(body, WRITER_KEY, what) if named is None else await read_key(kube, model.key.namespace, named, field)
    keys = await _api_keys(kube, model)
    return {**keys, _hash(writer): Role.WRITER, _hash(_text(body, OPERATOR_KEY, what)): Role.OPERATOR}


async def _api_keys(kube: Kube, model: ModelState) -> dict[str, Role]:
    """SHA-256 of each API key → its role.

    Raises:
        RefusedError: the Secret is missing, or one of its entries is none.
    """
    named = model.spec.serving.access.api_keys_secret_ref
    if named is None:
        return {}
    what = f"spec.serving.access.apiKeysSecretRef: Secret {model.key.namespace}/{named}"
    body = await kube.get(secret_path(model.key.namespace, named))
    if body is None:
        raise RefusedError(f"{what} not found; create it, each key <client>.<role>, each value the SHA-256 of the client's key")
    found: dict[str, Role] = {}
    for entry in sorted(body.get("data") or {}):
        client, _, role = entry.rpartition(".")
        if not client or role not in set(Role):
            raise RefusedError(f"{what}: key {entry!r} is no <client>.<role>; roles are {', '.join(Role)}")
        digest = _text(body, entry, what).lower()
        if not _SHA256.fullmatch(digest):
            raise RefusedError(f'{what}: the value of {entry!r} is no SHA-256; write 64 hex digits: printf %s "$KEY" | sha256sum')
        found[digest] = Role(role)
    if len(found) > MOST_API_KEYS:
        raise RefusedError(f"{what}: {len(found)} keys; at most {MOST_API_KEYS} fit; give clients signed tokens (spec.serving.access.jwt)")
    return found


async def ensure_tokens(kube: Kube, model: ModelState, secret: str) -> None:
    """Make the Secret of a model's API with two fresh tokens; one that is there is left as it is."""
    data = {WRITER_KEY: secrets.token_urlsafe(_RANDOM_BYTES), OPERATOR_KEY: secrets.token_urlsafe(_RANDOM_BYTES)}
    await create_secret(kube, model, secret, data)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
