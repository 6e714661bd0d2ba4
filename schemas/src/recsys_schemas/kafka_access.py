"""How a Kafka client is given its credentials. Pure: from references, to what they hold, to librdkafka's settings and words.

A job's or an application's arguments show in Ray's dashboard, so they carry a `KafkaSecurity`: names of Secrets, never what is
in them. Who runs the client resolves the names (the operator at the Kubernetes API, a process on Ray in mounted files) into a
`Secrets`, whose repr shows nothing.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from recsys_schemas.artifact import Artifact

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
FIELD = "spec.kafka.security"
FOLDER = "RECSYS_SECRETS"
"""Environment variable that names the folder of mounted Secrets."""
GRANT = "grant what `kubectl recsys topics acls` lists for this model"
"""The mend of what the brokers' authorizer denies."""
PathPart = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*$")]
"""A name that may stand in a path: neither `.` nor `..`, and without a slash."""


class SecretKeyName(Artifact):
    """One key of a Secret, by name."""

    secret: PathPart
    """Name of the Secret, in the model's namespace."""
    key: PathPart
    """Key within it."""


class KafkaSecurity(Artifact):
    """How brokers are reached, and the names of the Secrets for it; nothing in it is secret."""

    protocol: Protocol
    """Of the brokers' listener."""
    mechanism: Mechanism | None = None
    """Of SASL."""
    namespace: PathPart
    """Where the Secrets are: the model's."""
    username: SecretKeyName | None = None
    """Who we say we are."""
    password: SecretKeyName | None = None
    """How we prove it."""
    authority: SecretKeyName | None = None
    """Certificates (PEM) of who signed the brokers'; none: those that the system trusts."""
    certificate: SecretKeyName | None = None
    """Our own certificate (PEM), for mutual TLS."""
    private_key: SecretKeyName | None = None
    """Its key (PEM)."""

    def named(self) -> dict[str, SecretKeyName]:
        """The references that are set, by what they hold: a field of `Secrets`."""
        found = {name: getattr(self, name) for name in SETTINGS}
        return {name: ref for name, ref in found.items() if ref is not None}


def names_prefix(namespace: str, name: str) -> str:
    """Groups and transactional ids of one model begin so, and those of no other: neither part has a dot."""
    return f"recsys.{namespace}.{name}."


SETTINGS: Mapping[str, str] = {
    "username": "sasl.username",
    "password": "sasl.password",
    "authority": "ssl.ca.pem",
    "certificate": "ssl.certificate.pem",
    "private_key": "ssl.key.pem",
}
"""What is resolved → librdkafka's setting that takes it."""

FIELDS: Mapping[str, str] = {
    "username": f"{FIELD}.credentialsSecretRef",
    "password": f"{FIELD}.credentialsSecretRef",
    "authority": f"{FIELD}.caSecretRef",
    "certificate": f"{FIELD}.clientCertificateSecretRef",
    "private_key": f"{FIELD}.clientCertificateSecretRef",
}
"""What is resolved → the field of the model that names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """What the references hold now. Its repr shows nothing of it, so it may stand in a traceback."""

    values: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Keys as in `SETTINGS`; values are text, PEM for the last three."""

    @property
    def digest(self) -> str:
        """Changes when any value changes; kept in memory only, to see a rotation."""
        words = "\0".join(f"{name}\0{value}" for name, value in sorted(self.values.items()))
        return hashlib.sha256(words.encode()).hexdigest()


def client_settings(bootstrap_servers: Sequence[str], security: KafkaSecurity | None, secrets: Secrets) -> dict[str, str]:
    """The client's settings (librdkafka's names) of a connection: never to be logged, for the credentials are in it.

    Args:
        bootstrap_servers: brokers as host:port.
        security: None for plain text.
        secrets: what the references of `security` hold.
    """
    settings = {"bootstrap.servers": ",".join(bootstrap_servers)}
    if security is None:
        return settings
    settings["security.protocol"] = security.protocol
    if security.mechanism is not None:
        settings["sasl.mechanism"] = security.mechanism
    return settings | {SETTINGS[name]: value for name, value in secrets.values.items()}


def flaw(name: str, value: str) -> str | None:
    """What is wrong with a resolved value, without the value; None when nothing is."""
    if not value.strip():
        return "is empty: write the value into it"
    if name in ("authority", "certificate") and "-----BEGIN CERTIFICATE-----" not in value:
        return "has no certificate in PEM (no line -----BEGIN CERTIFICATE-----): write the certificate in PEM into it"
    if name == "private_key" and "PRIVATE KEY-----" not in value:
        return "has no private key in PEM (no line -----BEGIN PRIVATE KEY-----): write the key in PEM into it"
    return None


_WHERE_AND_WHEN = re.compile(r"^\w+://\S+: | \(after \d+ms in state [^)]*\)")


def diagnose(name: str, words: str, security: KafkaSecurity | None) -> str | None:
    """What an error of the client says of the connection: field, what was seen, the mend; None when it says nothing of that.

    Args:
        name: librdkafka's name of the error, such as `_AUTHENTICATION`.
        words: its words; times and addresses are left out, so that the same fault has the same words.
        security: how the client was told to connect.
    """
    if security is None:
        return None
    said = _WHERE_AND_WHEN.sub("", words)
    if "PLAINTEXT broker listener" in words:
        mend = "set the protocol of this listener, or the address of one with TLS"
        return f"{FIELD}.protocol: {security.protocol}, but the listener speaks no TLS ({said}); {mend}"
    if name in ("_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED") and security.username is not None:
        what = f"Secret {security.namespace}/{security.username.secret}"
        mend = "correct the Secret or the brokers' user; it is read again by itself"
        return f"{FIELDS['password']}: {what}: the brokers refuse its username and password with {security.mechanism} ({said}); {mend}"
    if "verify failed" in words:
        return _untrusted(security, said)
    if "alert" in words and "certificate" in words:
        ref = security.certificate
        seen = (
            f"Secret {security.namespace}/{ref.secret}: the brokers refuse the certificate"
            if ref
            else "not set, but the brokers ask for one"
        )
        return f"{FIELDS['certificate']}: {seen} ({said}); give a certificate that their authority has signed and that is still valid"
    return None


def _untrusted(security: KafkaSecurity, said: str) -> str:
    ref = security.authority
    whose = f"Secret {security.namespace}/{ref.secret}, key {ref.key}" if ref else "not set, so the system's authorities are trusted"
    mend = "give the certificate of the authority that signed theirs, and addresses that theirs names"
    return f"{FIELDS['authority']}: {whose}: the brokers' certificate is not trusted ({said}); {mend}"
