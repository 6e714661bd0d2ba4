"""Certificates and keys of one test cluster: a certificate authority, and what it signs."""

import base64
import ipaddress
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = timedelta(days=90)
CLOCK_SKEW = timedelta(minutes=5)
SECRET_MODE = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A certificate authority that lives in memory and in `folder/ca.crt`, `folder/ca.key`."""

    folder: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    now: datetime

    @property
    def certificate_file(self) -> Path:
        """Path of the PEM certificate that clients trust."""
        return self.folder / "ca.crt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A signed certificate and its key, as PEM files (the key with mode 0600)."""

    certificate_file: Path
    key_file: Path


def write_secret(path: Path, content: bytes) -> Path:
    """Write a file that only its owner can read; it never exists with a wider mode."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SECRET_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return path


def create_authority(folder: Path, common_name: str, *, now: datetime) -> Authority:
    """Make a certificate authority (P-256, 90 days) in `folder`, which becomes readable by its owner only."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    usage = _key_usage(signs_certificates=True)
    certificate = (
        _builder(name, name, key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder.joinpath("ca.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    write_secret(folder / "ca.key", _pem(key))
    return Authority(folder=folder, certificate=certificate, key=key, now=now)


def sign(authority: Authority, name: str, *, organization: str | None = None, hosts: Sequence[str] = ()) -> Identity:
    """Sign a certificate with common name `name`: for a server when `hosts` (names or addresses) are given, else a client.

    Kubernetes reads the common name as the user and the organization as its group.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    if organization is not None:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = (
        _builder(x509.Name(parts), authority.certificate.subject, key.public_key(), authority.now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
    certificate = builder.sign(authority.key, hashes.SHA256())
    stem = name.rpartition(":")[2]
    certificate_file = authority.folder / f"{stem}.crt"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return Identity(certificate_file=certificate_file, key_file=write_secret(authority.folder / f"{stem}.key", _pem(key)))


def create_signing_key(folder: Path, stem: str) -> tuple[Path, Path]:
    """Make a key pair for signing tokens; return the files of the private and of the public key."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = folder / f"{stem}.pub"
    public.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    return write_secret(folder / f"{stem}.key", _pem(key)), public


def write_kubeconfig(path: Path, *, server: str, authority_data: str, user: dict[str, str], namespace: str = "default") -> Path:
    """Write a kubeconfig (mode 0600) with one cluster and one user; JSON is YAML, so no emitter is needed.

    Args:
        path: the file to write.
        server: URL of the API server.
        authority_data: the certificate authority's PEM in base64; empty means the system's authorities.
        user: the user's entry, such as `client_user` returns or `{"token": ...}`.
        namespace: where requests go that name none.
    """
    cluster = {"server": server} | ({"certificate-authority-data": authority_data} if authority_data else {})
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "dev", "cluster": cluster}],
        "users": [{"name": "user", "user": user}],
        "contexts": [{"name": "dev", "context": {"cluster": "dev", "user": "user", "namespace": namespace}}],
        "current-context": "dev",
    }
    return write_secret(path, json.dumps(config, indent=2).encode() + b"\n")


def client_user(identity: Identity) -> dict[str, str]:
    """Return the kubeconfig's user entry for a client certificate."""
    return {
        "client-certificate-data": base64_of(identity.certificate_file),
        "client-key-data": base64_of(identity.key_file),
    }


def base64_of(path: Path) -> str:
    """Return a file's content as kubeconfigs hold it."""
    return base64.b64encode(path.read_bytes()).decode()


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    # Kubernetes reads EC keys in this older form and in PKCS#8; etcd and openssl read both too.
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + LIFETIME)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
