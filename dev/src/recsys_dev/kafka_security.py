"""The guarded doors of a Kafka cluster on one machine: SASL over TLS and mutual TLS, beside the plain one that only its maker uses.

Whoever comes through the plain door is `User:ANONYMOUS`, who may do everything: a cluster like this is for tests on loopback.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from recsys_dev import pki
from recsys_dev.ports import LOOPBACK

SASL_DOOR, TLS_DOOR = "SASLDOOR", "TLSDOOR"
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Who signs for the brokers, and whom PLAIN knows; SCRAM users are made through the plain door once the brokers run."""

    authority: pki.Authority
    keystore: Path
    """The brokers' certificate and key (PKCS#8), in one PEM file with mode 0600."""
    plain_user: str = "plain-user"
    plain_password: str = "plain-secret"  # noqa: S105 - of a broker on loopback that lives as long as a test


def create_guard(folder: Path, *, now: datetime) -> Guard:
    """Make an authority and the brokers' certificate below `folder`."""
    authority = pki.create_authority(folder, "kafka-ca", now=now)
    identity = pki.sign(authority, "kafka", hosts=[LOOPBACK, "localhost"])
    return Guard(authority=authority, keystore=_keystore(identity, folder / "kafka.pem"))


def _keystore(identity: pki.Identity, path: Path) -> Path:
    """Kafka reads a key in PKCS#8 only."""
    key = serialization.load_pem_private_key(identity.key_file.read_bytes(), password=None)
    form = serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return pki.write_secret(path, identity.certificate_file.read_bytes() + pem)


def guarded(settings: Mapping[str, str], guard: Guard, *, sasl_port: int, tls_port: int) -> dict[str, str]:
    """Return a broker's settings with two more doors and an authorizer that lets nobody but `User:ANONYMOUS` in by itself."""
    doors = f"{SASL_DOOR}://{LOOPBACK}:{sasl_port},{TLS_DOOR}://{LOOPBACK}:{tls_port}"
    sasl, tls = f"listener.name.{SASL_DOOR.lower()}", f"listener.name.{TLS_DOOR.lower()}"
    modules = "org.apache.kafka.common.security"
    scram = f"{modules}.scram.ScramLoginModule required;"
    plain = f'{modules}.plain.PlainLoginModule required user_{guard.plain_user}="{guard.plain_password}";'
    return dict(settings) | {
        "listeners": f"{settings['listeners']},{doors}",
        "advertised.listeners": f"{settings['advertised.listeners']},{doors}",
        "listener.security.protocol.map": f"{settings['listener.security.protocol.map']},{SASL_DOOR}:SASL_SSL,{TLS_DOOR}:SSL",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(guard.keystore),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(guard.authority.certificate_file),
        f"{tls}.ssl.client.auth": "required",
        f"{sasl}.sasl.enabled.mechanisms": ",".join(MECHANISMS),
        f"{sasl}.plain.sasl.jaas.config": plain,
        f"{sasl}.scram-sha-256.sasl.jaas.config": scram,
        f"{sasl}.scram-sha-512.sasl.jaas.config": scram,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
