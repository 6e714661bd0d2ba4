"""Secrets as files: read where they are mounted, looked at again, and never quoted."""

from pathlib import Path
from typing import Any

import pytest

from ray_apps.ingest.consumer import EXIT_REFUSED, check, main
from ray_apps.ingest.tables import RefusedError
from ray_apps.stores.secrets import Rotation, SecretsError, connection_settings, read_secrets
from recsys_schemas.kafka_access import FOLDER, KafkaSecurity, SecretKeyName
from recsys_schemas.train_job import IngestJob

SECURITY = KafkaSecurity(
    protocol="SASL_SSL",
    mechanism="SCRAM-SHA-512",
    namespace="shop",
    username=SecretKeyName(secret="kafka", key="username"),
    password=SecretKeyName(secret="kafka", key="password"),
)


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "secrets" / "shop" / "kafka"
    folder.mkdir(parents=True)
    (folder / "username").write_text("ann\n")
    (folder / "password").write_text("hunter2\n")
    monkeypatch.setenv(FOLDER, str(tmp_path / "secrets"))
    return folder


def job(tmp_path: Path, **changes: Any) -> IngestJob:
    asked: dict[str, Any] = {
        "model": {"namespace": "shop", "name": "movies", "uid": "0123456789abcdef"},
        "bootstrap_servers": ["127.0.0.1:1"],
        "topics": [{"topic": "watch", "event_type": "watch"}],
        "dead_letter_topic": "dead",
        "storage_uri": f"file://{tmp_path}",
        "roll_max_records": 10,
        "roll_max_seconds": 1,
        "kafka_security": SECURITY,
    }
    return IngestJob.model_validate(asked | changes)


def test_a_connection_is_made_with_what_is_mounted(mounted: Path) -> None:
    assert mounted.is_dir()
    settings = connection_settings(["a:1"], SECURITY)
    assert (settings["sasl.username"], settings["sasl.password"]) == ("ann", "hunter2")
    assert connection_settings(["a:1"], None) == {"bootstrap.servers": "a:1"}


def test_a_job_carries_names_and_no_credentials(mounted: Path, tmp_path: Path) -> None:
    assert (mounted / "password").read_text().strip() not in job(tmp_path).model_dump_json()


def test_a_rotated_password_is_seen_once_and_a_missing_one_leaves_the_old(mounted: Path) -> None:
    rotation = Rotation(SECURITY, every_s=0)
    assert not rotation.changed()
    (mounted / "password").write_text("hunter3")
    assert rotation.changed()
    assert not rotation.changed()
    (mounted / "password").unlink()
    with pytest.raises(SecretsError, match="password"):
        rotation.changed()
    assert rotation.now.values["password"] == "hunter3"


def test_files_are_not_looked_at_each_time(mounted: Path) -> None:
    rotation = Rotation(SECURITY, every_s=3600)
    (mounted / "password").write_text("hunter3")
    assert not rotation.changed()


def test_a_missing_file_is_refused_before_anything_is_opened(mounted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (mounted / "password").unlink()
    words = r"spec\.kafka\.security\.credentialsSecretRef: \$RECSYS_SECRETS/shop/kafka/password: No such file or directory"
    with pytest.raises(RefusedError, match=words):
        check(job(tmp_path))
    assert main(["--job", job(tmp_path).model_dump_json()]) == EXIT_REFUSED
    assert "$RECSYS_SECRETS/shop/kafka/password" in capsys.readouterr().err


def test_a_cluster_without_mounted_secrets_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    with pytest.raises(SecretsError, match=r"RECSYS_SECRETS is not set on the Ray cluster.*mount it and set the variable"):
        read_secrets(SECURITY)


def test_a_file_that_is_no_secret_is_told_without_its_content(mounted: Path) -> None:
    (mounted / "password").write_bytes(b"hunter\xff")
    with pytest.raises(SecretsError, match="is no text") as told:
        read_secrets(SECURITY)
    assert "hunter" not in str(told.value)
    (mounted / "password").write_bytes(b"h" * (1 << 20) + b"h")
    with pytest.raises(SecretsError, match="longer than any Secret"):
        read_secrets(SECURITY)
