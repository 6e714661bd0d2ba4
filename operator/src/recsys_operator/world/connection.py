"""How a model's brokers are reached, with what its Secrets hold now. Nothing secret is ever printed."""

import asyncio
import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field

from recsys_operator.state.observed import ModelState
from recsys_operator.world.errors import RefusedError
from recsys_operator.world.kube import Json, Kube
from recsys_operator.world.objects import secret_path
from recsys_schemas.kafka_access import FIELDS, KafkaSecurity, SecretKeyName, Secrets, client_settings, flaw


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Brokers, and how they are reached."""

    bootstrap_servers: tuple[str, ...]
    """As host:port."""
    security: KafkaSecurity | None = None
    """None: in plain text."""
    secrets: Secrets = field(default_factory=Secrets)
    """What its references hold."""

    @property
    def identity(self) -> tuple[tuple[str, ...], str]:
        """The same for connections that may share a client; another one once a Secret has changed."""
        named = self.security.model_dump_json() if self.security else ""
        return tuple(sorted(self.bootstrap_servers)), f"{named}{self.secrets.digest}"

    def settings(self) -> dict[str, str]:
        """Librdkafka's settings; the credentials are in it."""
        return client_settings(sorted(self.bootstrap_servers), self.security, self.secrets)


async def read_connection(kube: Kube, model: ModelState) -> Connection:
    """The connection that the model's spec asks for, with its Secrets as they are now.

    Raises:
        RefusedError: a Secret or a key is missing or unusable; the message names the field and the mend.
    """
    kafka, namespace = model.spec.kafka, model.key.namespace
    servers, security = tuple(kafka.bootstrap_servers), kafka.security.by_name(namespace)
    if security is None:
        return Connection(bootstrap_servers=servers)
    named = security.named()
    names = sorted({ref.secret for ref in named.values()})
    bodies = await asyncio.gather(*(kube.get(secret_path(namespace, name)) for name in names))
    found = dict(zip(names, bodies, strict=True))
    values: dict[str, str] = {}
    for what, ref in named.items():
        body = found[ref.secret]
        if body is None:
            raise RefusedError(
                _absent(ref.secret, namespace, {each: other.key for each, other in named.items() if other.secret == ref.secret})
            )
        values[what] = _value(body, ref, namespace, what)
    return Connection(bootstrap_servers=servers, security=security, secrets=Secrets(values=values))


def _absent(secret: str, namespace: str, keys: Mapping[str, str]) -> str:
    """Words for a Secret that is not there, with all the keys that are looked for in it, by what they hold."""
    fields = " and ".join(sorted({FIELDS[what] for what in keys}))
    wanted = f"{'keys' if len(keys) > 1 else 'key'} {', '.join(map(repr, keys.values()))}"
    return f"{fields}: Secret {namespace}/{secret} not found; create it with the {wanted}: it is looked for again by itself"


def _value(body: Json, ref: SecretKeyName, namespace: str, what: str) -> str:
    place = f"{FIELDS[what]}: Secret {namespace}/{ref.secret}"
    data: dict[str, str] = body.get("data") or {}
    if ref.key not in data:
        raise RefusedError(f"{place}: key {ref.key!r} is missing (it has: {', '.join(sorted(data)) or 'none'}); add it")
    try:
        # kubectl's --from-file keeps the line's end, which no password has.
        text = base64.b64decode(data[ref.key], validate=True).decode().strip("\r\n")
    except (binascii.Error, UnicodeDecodeError):
        # Without the cause: its words would quote the bytes.
        raise RefusedError(f"{place}: key {ref.key!r} is no text; write it as plain text") from None
    wrong = flaw(what, text)
    if wrong is not None:
        raise RefusedError(f"{place}: key {ref.key!r} {wrong}")
    return text
