"""New credentials that do not fit change nothing: what worked is kept, and they are read again."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ray_apps.serving.renewed_producer import RenewedProducer
from recsys_dev import pki
from recsys_schemas.kafka_access import FOLDER, KafkaSecurity, SecretKeyName

SECURITY = KafkaSecurity(
    protocol="SSL",
    namespace="shop",
    certificate=SecretKeyName(secret="client", key="tls.crt"),
    private_key=SecretKeyName(secret="client", key="tls.key"),
)


def test_a_certificate_without_its_key_is_not_taken_over_until_the_key_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    authority = pki.create_authority(tmp_path / "pki", "ca", now=datetime.now(UTC))
    folder = tmp_path / "secrets" / "shop" / "client"
    folder.mkdir(parents=True)
    monkeypatch.setenv(FOLDER, str(tmp_path / "secrets"))

    def mount(name: str, *, key_too: bool) -> None:
        identity = pki.sign(authority, name)
        (folder / "tls.crt").write_bytes(identity.certificate_file.read_bytes())
        if key_too:
            (folder / "tls.key").write_bytes(identity.key_file.read_bytes())

    mount("first", key_too=True)
    producer = RenewedProducer(["127.0.0.1:1"], SECURITY, {"log_level": 0}, look_every_s=0)
    first = producer._producer
    mount("second", key_too=False)
    producer.poll(0)
    assert producer._producer is first
    (said,) = [record.__dict__["reason"] for record in caplog.records if record.message == "credentials cannot be used"]
    assert "key values mismatch" in said
    assert "spec.kafka.security" in said
    mount("second", key_too=True)
    producer.poll(0)
    assert producer._producer is not first


def test_a_missing_file_leaves_the_producer_as_it_is_and_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "shop" / "kafka"
    folder.mkdir(parents=True)
    monkeypatch.setenv(FOLDER, str(tmp_path))
    for key in ("username", "password"):
        (folder / key).write_text("hunter2")
    names = {key: SecretKeyName(secret="kafka", key=key) for key in ("username", "password")}
    security = KafkaSecurity(protocol="SASL_PLAINTEXT", mechanism="SCRAM-SHA-512", namespace="shop", **names)
    producer = RenewedProducer(["127.0.0.1:1"], security, {"log_level": 0}, look_every_s=0)
    (folder / "password").unlink()
    for _ in range(3):
        producer.poll(0)
    told = [record for record in caplog.records if record.message == "credentials cannot be used"]
    assert len(told) == 1
    assert "hunter2" not in caplog.text
