import base64
import json
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from recsys_dev import pki

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_what_the_authority_signs_verifies_and_names_its_hosts(tmp_path: Path):
    authority = pki.create_authority(tmp_path / "pki", "ca", now=NOW)
    identity = pki.sign(authority, "server", hosts=["127.0.0.1", "localhost"])
    certificate = x509.load_pem_x509_certificate(identity.certificate_file.read_bytes())
    certificate.verify_directly_issued_by(authority.certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name) for name in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert certificate.not_valid_before_utc < NOW < certificate.not_valid_after_utc


def test_a_client_certificate_carries_user_and_group(tmp_path: Path):
    authority = pki.create_authority(tmp_path / "pki", "ca", now=NOW)
    identity = pki.sign(authority, "system:someone", organization="system:masters")
    subject = x509.load_pem_x509_certificate(identity.certificate_file.read_bytes()).subject
    assert subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "system:someone"
    assert subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value == "system:masters"


def test_no_secret_can_be_read_by_others(tmp_path: Path):
    folder = tmp_path / "pki"
    authority = pki.create_authority(folder, "ca", now=NOW)
    identity = pki.sign(authority, "client")
    private, _public = pki.create_signing_key(folder, "tokens")
    data = base64.b64encode(b"ca").decode()
    kubeconfig = pki.write_kubeconfig(folder / "k", server="https://h", authority_data=data, user=pki.client_user(identity))
    for path in (folder, folder / "ca.key", identity.key_file, private, kubeconfig):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_kubeconfig_without_an_authority_trusts_the_system(tmp_path: Path):
    path = pki.write_kubeconfig(tmp_path / "k", server="https://h", authority_data="", user={"token": "t"}, namespace="n")
    config = json.loads(path.read_text())
    assert config["clusters"][0]["cluster"] == {"server": "https://h"}
    assert config["contexts"][0]["context"]["namespace"] == "n"
