"""How the brokers are reached: protocol, mechanism, and the Secrets that hold what nobody else may see."""

from typing import Annotated, Literal

from pydantic import Field

from recsys_schemas.kafka_access import KafkaSecurity, SecretKeyName
from recsys_schemas.v1alpha1.resource import Resource, cel

Name = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
FileName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*$")]


class SecretName(Resource):
    """A Secret in the model's namespace."""

    name: Name
    """Name of the Secret."""


class AuthorityKey(Resource):
    """One key of a Secret in the model's namespace, with certificates in PEM."""

    name: Name
    """Name of the Secret."""
    key: FileName = "ca.crt"
    """Key within its data."""


# The API server tries the rules on the default `{}` before it fills in the defaults within it.
_SASL = "(has(self.protocol) && self.protocol.startsWith('SASL_'))"
_TLS = "(has(self.protocol) && self.protocol.endsWith('SSL'))"


class Security(Resource):
    """How to prove who we are to the brokers, and they to us. What is secret stands in Secrets, and is read again at each pass."""

    model_config = Resource.model_config | {
        "json_schema_extra": cel(
            (
                f"!{_SASL} || (has(self.mechanism) && has(self.credentialsSecretRef))",
                "security: a SASL protocol needs mechanism and credentialsSecretRef: set both",
                (
                    "'security: protocol ' + self.protocol + ' needs mechanism and credentialsSecretRef, seen '"
                    " + (has(self.mechanism) ? 'only mechanism ' + self.mechanism :"
                    " (has(self.credentialsSecretRef) ? 'only credentialsSecretRef' : 'none')) + ': set both'"
                ),
            ),
            (
                f"{_SASL} || !(has(self.mechanism) || has(self.credentialsSecretRef))",
                "security: mechanism and credentialsSecretRef need a SASL protocol: set SASL_SSL, or remove them",
                (
                    "'security: protocol ' + self.protocol + ' uses no mechanism and no credentialsSecretRef:"
                    " set protocol SASL_SSL, or remove them'"
                ),
            ),
            (
                f"{_TLS} || !(has(self.caSecretRef) || has(self.clientCertificateSecretRef))",
                "security: caSecretRef and clientCertificateSecretRef need TLS: set protocol SSL or SASL_SSL, or remove them",
                (
                    "'security: protocol ' + self.protocol + ' has no TLS, so caSecretRef and clientCertificateSecretRef have no use:"
                    " set protocol SSL or SASL_SSL, or remove them'"
                ),
            ),
            (
                "!(has(self.protocol) && self.protocol == 'SASL_PLAINTEXT' && has(self.mechanism) && self.mechanism == 'PLAIN')",
                (
                    "security: mechanism PLAIN over protocol SASL_PLAINTEXT would send the password in clear text:"
                    " set protocol SASL_SSL, or a SCRAM mechanism"
                ),
            ),
        )
    }

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """Of the brokers' listener. SSL without clientCertificateSecretRef proves only who the brokers are."""
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    """Of SASL."""
    credentials_secret_ref: SecretName | None = None
    """Its keys `username` and `password` are what SASL proves."""
    ca_secret_ref: AuthorityKey | None = None
    """The authorities that signed the brokers' certificates. Default: those that the system trusts."""
    client_certificate_secret_ref: SecretName | None = None
    """A Secret of type kubernetes.io/tls: its keys `tls.crt` and `tls.key` are shown to the brokers (mutual TLS)."""

    def by_name(self, namespace: str) -> KafkaSecurity | None:
        """The same for jobs and applications, which know Secrets by name only; None for plain text."""
        if self.protocol == "PLAINTEXT":
            return None

        def key(ref: SecretName | None, name: str) -> SecretKeyName | None:
            return None if ref is None else SecretKeyName(secret=ref.name, key=name)

        authority = self.ca_secret_ref
        return KafkaSecurity(
            protocol=self.protocol,
            mechanism=self.mechanism,
            namespace=namespace,
            username=key(self.credentials_secret_ref, "username"),
            password=key(self.credentials_secret_ref, "password"),
            authority=None if authority is None else SecretKeyName(secret=authority.name, key=authority.key),
            certificate=key(self.client_certificate_secret_ref, "tls.crt"),
            private_key=key(self.client_certificate_secret_ref, "tls.key"),
        )
