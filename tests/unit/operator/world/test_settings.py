"""Settings are read whole or refused in one line."""

import pytest

from recsys_operator.settings import SettingsError, read_settings


def test_nothing_need_be_set() -> None:
    settings = read_settings({})
    assert settings.storage_root == "file:///var/lib/recsys"
    assert settings.watch_namespaces == ()
    assert (settings.http_host, settings.http_port) == ("127.0.0.1", 8080)


def test_what_is_set_counts_and_what_is_empty_does_not() -> None:
    settings = read_settings({"RECSYS_STORAGE_ROOT": "s3://recsys/models/", "RECSYS_WATCH_NAMESPACES": "a, b,", "RECSYS_HTTP_PORT": ""})
    assert settings.storage_root == "s3://recsys/models"
    assert settings.watch_namespaces == ("a", "b")
    assert settings.http_port == 8080


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RECSYS_STORAGE_ROOT", "/data"),
        ("RECSYS_STORAGE_ROOT", "file://host/data"),
        ("RECSYS_STORAGE_ROOT", "s3:///prefix"),
        ("RECSYS_WATCH_NAMESPACES", "good,Bad_One"),
        ("RECSYS_LEASE_NAME", "Lease"),
        ("RECSYS_HTTP_PORT", "0"),
        ("RECSYS_HTTP_PORT", "65536"),
        ("RECSYS_LOG_LEVEL", "loud"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_its_mend(variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings({variable: value})
    assert str(refused.value).startswith(f"{variable}: ")
    assert "; write " in str(refused.value)
