"""One guarded broker, the people who may come in, and what an administrator does there through the plain door."""

# The admin module offers these names, but does not list them as its own.
# pyright: reportPrivateImportUsage=false

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from kubectl_recsys.acls import Acl
from recsys_dev import kafka, pki
from recsys_dev.kafka_security import Guard, create_guard
from recsys_dev.processes import wait_until
from recsys_operator.world.connection import Connection
from recsys_schemas.kafka_access import KafkaSecurity, SecretKeyName, Secrets

USER, PASSWORD = "ann", "right-of-ann"
NAMES = {
    "username": SecretKeyName(secret="kafka", key="username"),
    "password": SecretKeyName(secret="kafka", key="password"),
    "authority": SecretKeyName(secret="kafka-ca", key="ca.crt"),
    "certificate": SecretKeyName(secret="kafka-client", key="tls.crt"),
    "private_key": SecretKeyName(secret="kafka-client", key="tls.key"),
}
_RESOURCES = {
    "Topic": ResourceType.TOPIC,
    "Group": ResourceType.GROUP,
    "TransactionalId": ResourceType.TRANSACTIONAL_ID,
    "Cluster": ResourceType.BROKER,  # Kafka's own number of both
}
_OPERATIONS = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Create": AclOperation.CREATE,
    "Alter": AclOperation.ALTER,
    "AlterConfigs": AclOperation.ALTER_CONFIGS,
    "Describe": AclOperation.DESCRIBE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """A broker with doors, and everything that its visitors hold."""

    brokers: kafka.Brokers
    guard: Guard
    stranger: pki.Identity
    """Signed by somebody else."""
    stranger_authority: str
    client: pki.Identity
    admin: AdminClient

    def values(self, **changes: str) -> dict[str, str]:
        """What ann's Secrets hold."""
        held = {
            "username": USER,
            "password": PASSWORD,
            "authority": self.guard.authority.certificate_file.read_text(),
            "certificate": self.client.certificate_file.read_text(),
            "private_key": self.client.key_file.read_text(),
        }
        return held | changes

    def by_sasl(self, mechanism: str = "SCRAM-SHA-512", **changes: str) -> Connection:
        """SASL over TLS."""
        asked = ("username", "password", "authority")
        security = {"protocol": "SASL_SSL", "mechanism": mechanism, "namespace": "shop"} | {name: NAMES[name] for name in asked}
        values = {name: value for name, value in self.values(**changes).items() if name in asked}
        return self._at(self.brokers.sasl_servers, security, values)

    def by_certificate(self, *, shown: bool = True, **changes: str) -> Connection:
        """Mutual TLS."""
        asked = ("authority", "certificate", "private_key") if shown else ("authority",)
        security = {"protocol": "SSL", "namespace": "shop"} | {name: NAMES[name] for name in asked}
        values = {name: value for name, value in self.values(**changes).items() if name in asked}
        return self._at(self.brokers.tls_servers, security, values)

    def by_the_plain_door(self) -> Connection:
        """Plain text, as the administrator."""
        return Connection(bootstrap_servers=tuple(self.brokers.bootstrap_servers.split(",")))

    def _at(self, servers: str, security: Mapping[str, object], values: Mapping[str, str]) -> Connection:
        named = KafkaSecurity.model_validate(security)
        return Connection(bootstrap_servers=tuple(servers.split(",")), security=named, secrets=Secrets(values=values))

    def set_password(self, password: str, user: str = USER) -> None:
        """Make a user of SCRAM-SHA-512, or change the password."""
        how = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        changed = self.admin.alter_user_scram_credentials([UserScramCredentialUpsertion(user, how, password.encode())])
        changed[user].result(timeout=120)
        # The broker learns of it from the controller a moment later.
        wait_until(lambda: self._lets_in(user, password), what=f"the password of {user}", deadline_s=120)

    def _lets_in(self, user: str, password: str) -> bool:
        client = AdminClient(
            {
                "bootstrap.servers": self.brokers.sasl_servers,
                "security.protocol": "SASL_SSL",
                "sasl.mechanism": "SCRAM-SHA-512",
                "sasl.username": user,
                "sasl.password": password,
                "ssl.ca.location": str(self.guard.authority.certificate_file),
                "log_level": 0,
            }
        )
        try:
            return bool(client.list_topics(timeout=5).brokers)
        except KafkaException:
            return False

    def allow(self, acls: Sequence[Acl], principal: str) -> None:
        """Grant exactly these to a principal, whatever it had before."""
        everything = AclBindingFilter(
            ResourceType.ANY,
            None,  # pyright: ignore[reportArgumentType] - any name
            ResourcePatternType.ANY,
            principal,
            None,  # pyright: ignore[reportArgumentType] - any host
            AclOperation.ANY,
            AclPermissionType.ANY,
        )
        for gone in self.admin.delete_acls([everything]).values():
            gone.result(timeout=120)
        wanted = {_binding(acl, principal) for acl in acls}
        if wanted:
            for made in self.admin.create_acls(list(wanted)).values():
                made.result(timeout=120)
        # The broker learns of them from the controller a moment later.
        wait_until(
            lambda: len(self.admin.describe_acls(everything).result(timeout=120)) == len(wanted),
            what=f"{len(wanted)} ACLs of {principal}",
            deadline_s=120,
        )


def _binding(acl: Acl, principal: str) -> AclBinding:
    return AclBinding(
        _RESOURCES[acl.resource],
        acl.name,
        ResourcePatternType[acl.pattern],
        principal,
        "*",
        _OPERATIONS[acl.operation],
        AclPermissionType.ALLOW,
    )


def start(run_dir: Path) -> Guarded:
    """Start one broker and let ann in."""
    now = datetime.now(UTC)
    guard = create_guard(run_dir / "pki", now=now)
    strange = pki.create_authority(run_dir / "strange", "another-ca", now=now)
    brokers = kafka.start(run_dir, 1, guard=guard, progress=print)
    guarded = Guarded(
        brokers=brokers,
        guard=guard,
        stranger=pki.sign(strange, "stranger"),
        stranger_authority=strange.certificate_file.read_text(),
        client=pki.sign(guard.authority, "ann-by-certificate"),
        admin=AdminClient({"bootstrap.servers": brokers.bootstrap_servers}),
    )
    guarded.set_password(PASSWORD)
    return guarded
