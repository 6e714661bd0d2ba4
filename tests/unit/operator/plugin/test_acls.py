"""What the brokers must allow for a model, as rows and as commands; that it is enough is shown in tests/kafka/test_security.py."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from kubectl_recsys.acls import PARTS, acls, as_commands, as_table
from recsys_operator.state.observed import ModelState
from recsys_operator.world.objects import read_model
from recsys_schemas.v1alpha1.conditions import Condition
from recsys_schemas.v1alpha1.model_status import ModelStatus

PRINCIPALS = dict.fromkeys(PARTS, "User:recsys")


def model(**watch: Any) -> ModelState:
    topics = [{"name": "watch", "role": "Watch"} | watch, {"name": "asked", "role": "Requests"}, {"name": "answered", "role": "Responses"}]
    spec = {"ray": {"dashboardURL": "http://127.0.0.1:1"}, "kafka": {"bootstrapServers": ["a:1", "b:2"], "topics": topics}}
    return read_model({"metadata": {"name": "movies", "namespace": "shop", "uid": "0123456789"}, "spec": spec}, "file:///x")


def rights(part: str, found: ModelState) -> set[tuple[str, str, str]]:
    return {(acl.resource, acl.name, acl.operation) for acl in acls(found) if acl.part == part}


def test_ingest_reads_events_and_answers_and_writes_dead_letters_and_no_more() -> None:
    assert rights("ingest", model()) == {
        ("Topic", "watch", "Read"),
        ("Topic", "answered", "Read"),
        ("Topic", "shop.movies.dead-letters", "Read"),
        ("Topic", "shop.movies.dead-letters", "Write"),
        ("Group", "recsys.shop.movies.", "Read"),
        ("TransactionalId", "recsys.shop.movies.", "Write"),
    }


def test_serving_reads_what_it_follows_and_writes_but_no_dead_letters() -> None:
    wanted = {("Topic", name, "Write") for name in ("watch", "asked", "answered")} | {
        ("Topic", name, "Read") for name in ("watch", "asked")
    }
    assert rights("serving", model()) == wanted | {("Group", "recsys.shop.movies.", "Read")}


def test_without_a_topic_of_decisions_the_operator_neither_reads_nor_writes_a_record_nor_deletes_a_topic() -> None:
    assert {operation for _, _, operation in rights("operator", model())} == {"Create", "Alter", "AlterConfigs"}


def test_the_operator_alone_writes_decisions_and_whoever_serves_has_no_right_to_them() -> None:
    topics = [{"name": each.name, "role": each.role} for each in model().spec.kafka.topics] + [{"name": "why", "role": "Decisions"}]
    spec = {"ray": {"dashboardURL": "http://127.0.0.1:1"}, "kafka": {"bootstrapServers": ["a:1"], "topics": topics}}
    found = read_model({"metadata": {"name": "movies", "namespace": "shop", "uid": "0123456789"}, "spec": spec}, "file:///x")
    assert {operation for _, name, operation in rights("operator", found) if name == "why"} >= {"Read", "Write"}
    assert not [name for part in ("ingest", "serving") for _, name, _ in rights(part, found) if name == "why"]


def test_a_topic_that_is_only_observed_needs_no_right_to_change_it() -> None:
    found = rights("operator", model(managementPolicy="Observe"))
    assert {operation for _, name, operation in found if name == "watch"} == {"Describe", "DescribeConfigs"}


def test_no_right_is_listed_twice() -> None:
    found = acls(model())
    assert len(set(found)) == len(found)


def test_names_of_one_model_are_no_prefix_of_anothers() -> None:
    prefixes = {acl.name for acl in acls(model()) if acl.pattern == "PREFIXED"}
    assert all(prefix.endswith(".") for prefix in prefixes)


def test_the_table_has_a_row_for_each() -> None:
    rows = as_table(acls(model()), PRINCIPALS | {"ingest": "User:reader"}).splitlines()
    assert rows[0].split() == ["PART", "PRINCIPAL", "RESOURCE", "NAME", "PATTERN", "OPERATION"]
    assert len(rows) == 1 + len(acls(model()))
    assert "ingest     User:reader   Group             recsys.shop.movies.        PREFIXED   Read" in rows


def test_commands_grant_all_operations_on_one_thing_in_one_line_and_quote_what_a_shell_would_split() -> None:
    lines = as_commands(acls(model()), PRINCIPALS | {"ingest": "User:CN=a b"}, ["a:1", "b:2"]).splitlines()
    start = "kafka-acls.sh --bootstrap-server a:1,b:2 --command-config admin.properties --add --allow-principal"
    assert lines[0] == f"{start} User:recsys --topic watch --operation Create --operation Alter --operation AlterConfigs"
    assert f"{start} 'User:CN=a b' --group recsys.shop.movies. --resource-pattern-type prefixed --operation Read" in lines


@pytest.mark.parametrize("reason", ["RaisingReplication", "RaiseDenied"])
def test_rights_on_the_cluster_are_listed_only_while_replicas_are_to_be_added(reason: str) -> None:
    found = model()
    assert not [acl for acl in acls(found) if acl.resource == "Cluster"]
    now = datetime(2026, 1, 1, tzinfo=UTC)
    condition = Condition(type="ReplicationHealthy", status="False", reason=reason, message="m", last_transition_time=now)
    raising = replace(found, status=ModelStatus(conditions=[condition]))
    more = {(acl.part, acl.resource, acl.name, acl.operation) for acl in set(acls(raising)) - set(acls(found))}
    assert more == {("operator", "Cluster", "kafka-cluster", "Alter"), ("operator", "Cluster", "kafka-cluster", "AlterConfigs")}
    lines = as_commands(acls(raising), {**PRINCIPALS}, ["a:1"]).splitlines()
    assert sum(line.endswith("--allow-principal User:recsys --cluster --operation Alter --operation AlterConfigs") for line in lines) == 1
