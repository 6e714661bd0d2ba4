"""Credentials reach librdkafka's settings and nothing else; an error of a connection names the field and the mend."""

import pytest
from pydantic import ValidationError

from recsys_schemas.kafka_access import KafkaSecurity, SecretKeyName, Secrets, client_settings, diagnose, flaw
from recsys_schemas.v1alpha1.security import AuthorityKey, SecretName, Security

SPEC = Security(
    protocol="SASL_SSL",
    mechanism="SCRAM-SHA-512",
    credentials_secret_ref=SecretName(name="kafka"),
    ca_secret_ref=AuthorityKey(name="kafka-ca"),
    client_certificate_secret_ref=SecretName(name="kafka-client"),
)
VALUES = {"username": "ann", "password": "hunter2", "authority": "CA", "certificate": "CERT", "private_key": "KEY"}


def named() -> KafkaSecurity:
    security = SPEC.by_name("shop")
    assert security is not None
    return security


def test_plain_text_is_nothing_but_addresses() -> None:
    assert Security().by_name("shop") is None
    assert client_settings(["a:1", "b:2"], None, Secrets()) == {"bootstrap.servers": "a:1,b:2"}


def test_each_secret_has_one_setting() -> None:
    assert client_settings(["a:1"], named(), Secrets(values=VALUES)) == {
        "bootstrap.servers": "a:1",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "ann",
        "sasl.password": "hunter2",
        "ssl.ca.pem": "CA",
        "ssl.certificate.pem": "CERT",
        "ssl.key.pem": "KEY",
    }


def test_a_reference_names_secrets_and_keys_only() -> None:
    assert {what: (ref.secret, ref.key) for what, ref in named().named().items()} == {
        "username": ("kafka", "username"),
        "password": ("kafka", "password"),
        "authority": ("kafka-ca", "ca.crt"),
        "certificate": ("kafka-client", "tls.crt"),
        "private_key": ("kafka-client", "tls.key"),
    }


def test_secrets_show_nothing_of_themselves_and_change_their_digest_with_any_value() -> None:
    secrets = Secrets(values=VALUES)
    assert not any(value in repr(secrets) + str(secrets) for value in VALUES.values())
    digests = {Secrets(values=VALUES | {name: "other"}).digest for name in VALUES} | {secrets.digest}
    assert len(digests) == len(VALUES) + 1
    assert Secrets(values=dict(reversed(VALUES.items()))).digest == secrets.digest


@pytest.mark.parametrize("part", ["..", ".", "a/b", "", "a\x00b"])
def test_no_reference_leads_out_of_the_folder_of_secrets(part: str) -> None:
    with pytest.raises(ValidationError):
        SecretKeyName(secret=part, key="k")
    with pytest.raises(ValidationError):
        SecretKeyName(secret="s", key=part)
    with pytest.raises(ValidationError):
        KafkaSecurity(protocol="SSL", namespace=part)


AT = "sasl_ssl://127.0.0.1:9093/bootstrap: "
LATE = " (after 310ms in state AUTH_REQ)"


@pytest.mark.parametrize(
    ("name", "words", "field", "seen"),
    [
        ("_AUTHENTICATION", "SASL authentication error: invalid", "credentialsSecretRef: Secret shop/kafka", "SCRAM-SHA-512 (SASL"),
        ("_SSL", "SSL handshake failed: certificate verify failed", "caSecretRef: Secret shop/kafka-ca, key ca.crt", "is not trusted"),
        ("_TRANSPORT", "ssl/tls alert bad certificate", "clientCertificateSecretRef: Secret shop/kafka-client", "refuse the certificate"),
        ("_TRANSPORT", "connecting to a PLAINTEXT broker listener?", "protocol: SASL_SSL", "speaks no TLS"),
    ],
)
def test_a_refusal_names_the_field_the_secret_and_the_same_words_each_time(name: str, words: str, field: str, seen: str) -> None:
    said = diagnose(name, AT + words + LATE, named())
    assert said is not None
    assert said.startswith(f"spec.kafka.security.{field}")
    assert seen in said
    assert "ms in state" not in said
    assert said == diagnose(name, words + LATE.replace("310", "7"), named())


def test_other_errors_are_not_taken_for_refusals() -> None:
    assert diagnose("_TRANSPORT", f"{AT}Connect to ipv4#127.0.0.1:9093 failed: Connection refused", named()) is None
    assert diagnose("_AUTHENTICATION", "whatever", None) is None


def test_what_is_wrong_with_a_value_is_told_without_it() -> None:
    assert flaw("password", "hunter2") is None
    for name, value in (("password", " "), ("authority", "hunter2"), ("certificate", "hunter2"), ("private_key", "hunter2")):
        said = flaw(name, value)
        assert said is not None
        assert "hunter2" not in said
