"""The tool that verifies snapshots gets a model's credentials as files, for as long as it runs."""

import os
from pathlib import Path

import pytest

from kubectl_recsys.snapshots import mounted
from ray_apps.stores.secrets import read_secrets
from recsys_operator.world.connection import Connection
from recsys_schemas.kafka_access import FOLDER, KafkaSecurity, SecretKeyName, Secrets

SECURITY = KafkaSecurity(
    protocol="SASL_SSL",
    mechanism="PLAIN",
    namespace="shop",
    username=SecretKeyName(secret="kafka", key="user"),
    password=SecretKeyName(secret="kafka", key="password"),
)
SECRETS = Secrets(values={"username": "ann", "password": "hunter2"})


def test_the_tool_reads_what_the_plugin_read_and_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    with mounted(Connection(bootstrap_servers=("a:1",), security=SECURITY, secrets=SECRETS)) as environment:
        root = Path(environment[FOLDER])
        assert root.stat().st_mode & 0o077 == 0
        monkeypatch.setenv(FOLDER, str(root))
        assert read_secrets(SECURITY) == SECRETS
    assert not root.exists()


def test_a_folder_of_the_users_own_and_plain_brokers_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, "/mine")
    with mounted(Connection(bootstrap_servers=("a:1",), security=SECURITY, secrets=SECRETS)) as environment:
        assert environment == dict(os.environ)
    monkeypatch.delenv(FOLDER)
    with mounted(Connection(bootstrap_servers=("a:1",))) as environment:
        assert FOLDER not in environment
