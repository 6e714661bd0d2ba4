"""What the brokers must allow for one model: no more than its parts use. Pure, but for the printing.

The operator writes one topic, that of the decisions; `kubectl recsys audit` reads it with the same credentials.

Operations that others imply are left out (Read, Write and Alter imply Describe; AlterConfigs implies DescribeConfigs), and so is
IdempotentWrite, which Write on a topic implies since Kafka 3.0 (KIP-679).
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from kubectl_recsys.table import table
from kubectl_recsys.views import find_model
from recsys_operator.plan.topics import NEEDS_RIGHTS
from recsys_operator.state.observed import ModelState
from recsys_operator.world.kube import Kube
from recsys_schemas.kafka_access import names_prefix
from recsys_schemas.v1alpha1.topics import INGESTED

PARTS = ("operator", "ingest", "serving")


@dataclass(frozen=True, slots=True, kw_only=True)
class Acl:
    """One permission, in the words of `kafka-acls.sh`."""

    part: str
    """operator, ingest or serving."""
    resource: str
    """Topic, Group, TransactionalId or Cluster."""
    name: str
    pattern: str
    """LITERAL or PREFIXED."""
    operation: str


def acls(model: ModelState) -> list[Acl]:
    """Every permission that a model's parts need, none twice."""
    dead, prefix = model.dead_letter_topic, names_prefix(model.key.namespace, model.key.name)

    def topic(part: str, name: str, *operations: str) -> list[Acl]:
        return [Acl(part=part, resource="Topic", name=name, pattern="LITERAL", operation=each) for each in operations]

    found: list[Acl] = []
    for each in model.spec.kafka.topics:
        ours = each.management_policy == "Manage"
        found += topic("operator", each.name, *(_MANAGES if ours else _OBSERVES))
        found += topic("operator", each.name, "Read", "Write") if each.role == "Decisions" else []
    found += topic("operator", dead, *_MANAGES)
    if _raises(model):
        found += [Acl(part="operator", resource="Cluster", name=CLUSTER, pattern="LITERAL", operation=each) for each in _RAISES]
    for name in [each.name for each in model.spec.kafka.topics if each.role in INGESTED]:
        found += topic("ingest", name, "Read")
    found += topic("ingest", dead, "Read", "Write")
    found.append(Acl(part="ingest", resource="Group", name=prefix, pattern="PREFIXED", operation="Read"))
    found.append(Acl(part="ingest", resource="TransactionalId", name=prefix, pattern="PREFIXED", operation="Write"))
    followed = ("Watch", "Rate", "Preferences", "Items", "Requests")
    found.append(Acl(part="serving", resource="Group", name=prefix, pattern="PREFIXED", operation="Read"))
    for each in model.spec.kafka.topics:
        if each.role == "Decisions":  # whoever serves cannot write what is decided
            continue
        found += topic("serving", each.name, *(("Read", "Write") if each.role in followed else ("Write",)))
    return found


def _raises(model: ModelState) -> bool:
    """Whether replicas are to be added to topics that are there; only for that are rights on the cluster needed, and only meanwhile."""
    return any(condition.reason in NEEDS_RIGHTS for condition in model.status.conditions)


CLUSTER = "kafka-cluster"
"""The one name of this kind of resource."""
_MANAGES = ("Create", "Alter", "AlterConfigs")
_RAISES = ("Alter", "AlterConfigs")
"""Alter: to ask for reassignments and to list them (KIP-455). AlterConfigs: to set and see the rates of brokers (KIP-73)."""
_OBSERVES = ("Describe", "DescribeConfigs")


def as_table(found: Sequence[Acl], principals: Mapping[str, str]) -> str:
    """In columns, for people."""
    heads = ("PART", "PRINCIPAL", "RESOURCE", "NAME", "PATTERN", "OPERATION")
    return table(heads, ((a.part, principals[a.part], a.resource, a.name, a.pattern, a.operation) for a in found))


_OPTIONS = {"Topic": "--topic", "Group": "--group", "TransactionalId": "--transactional-id", "Cluster": "--cluster"}


def as_commands(found: Sequence[Acl], principals: Mapping[str, str], bootstrap_servers: Sequence[str]) -> str:
    """Lines for a shell with Kafka's tools; `admin.properties` holds an administrator's own connection."""
    lines: list[str] = []
    for (principal, resource, name, pattern), each in groupby(found, key=lambda a: (principals[a.part], a.resource, a.name, a.pattern)):
        words = ["kafka-acls.sh", "--bootstrap-server", ",".join(bootstrap_servers), "--command-config", "admin.properties", "--add"]
        words += ["--allow-principal", principal, _OPTIONS[resource]]
        words += [] if resource == "Cluster" else [name]
        words += ["--resource-pattern-type", "prefixed"] if pattern == "PREFIXED" else []
        words += [word for acl in each for word in ("--operation", acl.operation)]
        lines.append(shlex.join(words))
    return "\n".join(lines)


async def print_acls(kube: Kube, namespace: str, name: str, *, principals: Mapping[str, str], output: str) -> int:
    """Print what the brokers must allow for a model."""
    model = await find_model(kube, namespace, name)
    found = acls(model)
    print(as_commands(found, principals, model.spec.kafka.bootstrap_servers) if output == "commands" else as_table(found, principals))
    return 0
