"""`spec.kafka`: the topics of a model, and the brokers that have them."""

from typing import Annotated, Literal

from pydantic import Field

from recsys_schemas.v1alpha1.ray_cluster import URL
from recsys_schemas.v1alpha1.resource import Resource, cel, list_map
from recsys_schemas.v1alpha1.security import Security

HOST_AND_PORT = r"^[A-Za-z0-9._-]+:[1-9][0-9]{0,4}$"


def _digit(number: str) -> str:
    # `string()` of a number has no bounded length in the API server's cost estimate and would be refused.
    return f"'01234567'.substring({number}, {number} + 1)"


class Topic(Resource):
    """One Kafka topic of the model."""

    model_config = Resource.model_config | {
        "json_schema_extra": cel(
            (
                "self.minInsyncReplicas <= self.replicas",
                "minInsyncReplicas must not exceed replicas: no write would ever be accepted",
                (
                    f"'topic ' + self.name + ': minInsyncReplicas ' + {_digit('self.minInsyncReplicas')} + ' exceeds replicas ' + "
                    f"{_digit('self.replicas')} + ', no write would ever be accepted: lower minInsyncReplicas or raise replicas'"
                ),
            ),
            (
                "self.replicas == 1 || self.minInsyncReplicas != self.replicas",
                "with minInsyncReplicas equal to replicas one broker restart stops all writes: lower minInsyncReplicas or raise replicas",
                (
                    f"'topic ' + self.name + ': with minInsyncReplicas and replicas both ' + {_digit('self.replicas')}"
                    " + ' one broker restart stops all writes: lower minInsyncReplicas or raise replicas'"
                ),
            ),
            (
                "self.partitions >= oldSelf.partitions",
                "partitions cannot be lowered: Kafka cannot remove partitions",
                "'topic ' + self.name + ': partitions cannot be lowered, Kafka cannot remove partitions: keep as many as there are'",
            ),
            (
                "self.role == oldSelf.role",
                "role of a topic cannot be changed: give the new role a topic of its own",
                (
                    "'topic ' + self.name + ': role cannot be changed from ' + oldSelf.role + ' to ' + self.role"
                    " + ': give the new role a topic of its own'"
                ),
            ),
        )
    }

    name: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[a-zA-Z0-9._-]+$")]
    """Its name on the brokers."""
    role: Literal["Watch", "Rate", "Requests", "Responses", "Preferences", "Items", "Decisions", "Audit"]
    """What it carries: watch or rate events, questions to the API, its answers, what users say of themselves, live records of items, the
    decisions of rollouts, or who called what changes answers (Audit). Preferences and Items are compacted: the newest record of each key
    stays, whatever its age."""
    partitions: Annotated[int, Field(ge=1, le=1000)] = 3
    """Number of partitions; may grow, never fall."""
    replicas: Annotated[int, Field(ge=1, le=7)] = 3
    """Replication factor; an existing topic that has fewer is raised to it, one that has more is left as it is."""
    min_insync_replicas: Annotated[int, Field(ge=1, le=7)] = 2
    """Replicas that must have a record before it is acknowledged; raised only once all replicas are there, never lowered."""
    retention_hours: Annotated[int, Field(ge=1, le=87600)] = 720
    """How long records are kept. Snapshots are kept longer, so a short retention only limits how far ingest may fall behind."""
    management_policy: Literal["Manage", "Observe"] = "Manage"
    """Manage: made when missing, grown, raised and configured. Observe: it is someone else's (a Strimzi KafkaTopic, for instance):
    verified, never made or changed."""


INGESTED = ("Watch", "Rate", "Responses")
"""Roles of the topics that snapshots are made of: events, and the answers that the API has logged."""


DECISIONS_HOURS = 87_600
"""Ten years: whoever asks why a version was given to users asks late."""


def default_topics() -> list[Topic]:
    """The seven topics of a model that names none."""
    return [
        Topic(name="watch", role="Watch"),
        Topic(name="rate", role="Rate"),
        Topic(name="reco_requests", role="Requests", retention_hours=168),
        Topic(name="reco_responses", role="Responses", retention_hours=168),
        Topic(name="reco_preferences", role="Preferences"),
        Topic(name="reco_items", role="Items"),
        Topic(name="reco_decisions", role="Decisions", partitions=1, retention_hours=DECISIONS_HOURS),
    ]


class Kafka(Resource):
    """Where events come from."""

    bootstrap_servers: Annotated[list[Annotated[str, Field(max_length=260, pattern=HOST_AND_PORT)]], Field(min_length=1, max_length=16)]
    """Brokers as host:port."""
    security: Security = Field(default_factory=Security)
    """How they are reached. Default: in plain text, without credentials."""
    schema_registry_url: Annotated[str | None, Field(max_length=512, pattern=URL)] = None
    """A Confluent-compatible schema registry. With it, events may be in the Confluent wire format (a zero byte, a schema id, then Avro or
    JSON); without it, and without the zero byte, they are JSON."""
    topics: Annotated[
        list[Topic],
        Field(
            min_length=3,
            max_length=16,
            json_schema_extra=list_map(
                "name",
                ("self.exists(t, t.role == 'Watch' || t.role == 'Rate')", "topics: at least one topic must have the role Watch or Rate"),
                ("self.exists_one(t, t.role == 'Requests')", "topics: exactly one topic must have the role Requests"),
                ("self.exists_one(t, t.role == 'Responses')", "topics: exactly one topic must have the role Responses"),
                ("self.filter(t, t.role == 'Watch').size() <= 1", "topics: at most one topic may have the role Watch"),
                ("self.filter(t, t.role == 'Rate').size() <= 1", "topics: at most one topic may have the role Rate"),
                ("self.filter(t, t.role == 'Preferences').size() <= 1", "topics: at most one topic may have the role Preferences"),
                ("self.filter(t, t.role == 'Items').size() <= 1", "topics: at most one topic may have the role Items"),
                ("self.filter(t, t.role == 'Decisions').size() <= 1", "topics: at most one topic may have the role Decisions"),
                ("self.filter(t, t.role == 'Audit').size() <= 1", "topics: at most one topic may have the role Audit"),
            ),
        ),
    ] = Field(default_factory=default_topics)
    """The topics; created when missing (unless only observed), verified always, never shrunk, never deleted. Default: watch, rate,
    reco_requests, reco_responses, reco_preferences, reco_items, each with 3 partitions, 3 replicas, 2 of them in sync, and
    reco_decisions with one partition."""
    replication_throttle_bytes_per_second: Annotated[int, Field(ge=10_000, le=100_000_000_000)] = 50_000_000
    """How fast at most one broker sends, and one receives, while replicas are added to existing topics. Must exceed what producers
    write, or it never ends."""
