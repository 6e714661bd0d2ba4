"""What a Secret must hold for a connection, and what is said when it does not."""

import base64
from typing import Any

import pytest

from recsys_operator.world.connection import Connection, _absent, _value
from recsys_operator.world.errors import RefusedError
from recsys_schemas.kafka_access import KafkaSecurity, SecretKeyName, Secrets

REF = SecretKeyName(secret="kafka", key="password")
SECURITY = KafkaSecurity(protocol="SASL_SSL", mechanism="PLAIN", namespace="shop", password=REF)


def secret(**data: bytes) -> dict[str, Any]:
    return {"data": {key: base64.b64encode(value).decode() for key, value in data.items()}}


def test_a_value_is_read_without_the_ends_of_its_line() -> None:
    assert _value(secret(password=b" hunter2 \n"), REF, "shop", "password") == " hunter2 "


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (secret(pass_word=b"x"), r"key 'password' is missing \(it has: pass_word\); add it"),
        (secret(password=b"\xff"), "key 'password' is no text"),
        (secret(password=b""), "key 'password' is empty"),
    ],
)
def test_a_secret_that_cannot_be_used_is_told_by_field_and_name(body: Any, words: str) -> None:
    with pytest.raises(RefusedError, match=f"^spec.kafka.security.credentialsSecretRef: .*{words}"):
        _value(body, REF, "shop", "password")


def test_a_secret_that_is_not_there_is_told_with_every_key_that_it_must_hold() -> None:
    words = _absent("kafka", "shop", {"username": "user", "password": "password"})
    assert words.startswith(
        "spec.kafka.security.credentialsSecretRef: Secret shop/kafka not found; create it with the keys 'user', 'password'"
    )


def test_a_changed_secret_is_another_connection_and_none_shows_what_it_holds() -> None:
    one = Connection(bootstrap_servers=("b:2", "a:1"), security=SECURITY, secrets=Secrets(values={"password": "hunter2"}))
    same = Connection(bootstrap_servers=("a:1", "b:2"), security=SECURITY, secrets=Secrets(values={"password": "hunter2"}))
    other = Connection(bootstrap_servers=("a:1", "b:2"), security=SECURITY, secrets=Secrets(values={"password": "hunter3"}))
    assert one.identity == same.identity != other.identity
    assert "hunter" not in f"{one!r} {one} {one.identity}"
