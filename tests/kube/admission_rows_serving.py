"""Rows for the tests of admission: what breaks a rule of serving."""

from typing import Any

from tests.kube.admission_rows import Broken, rm


def _topics(role: str) -> list[dict[str, Any]]:
    named = [("watch", "Watch"), ("asked", "Requests"), ("answered", "Responses"), ("one", role), ("two", role)]
    return [{"name": name, "role": each} for name, each in named]


def _twice(role: str) -> Broken:
    words = f"topics: at most one topic may have the role {role}"
    return rm("spec.kafka.topics", _topics(role), words, breaks=words)


SERVED: dict[str, Broken] = {
    "two topics of preferences": _twice("Preferences"),
    "two topics of items": _twice("Items"),
    "two topics of decisions": _twice("Decisions"),
    "fewer replicas at most than at least": rm(
        "spec.serving.autoscaling",
        {"minReplicas": 3, "maxReplicas": 2},
        "spec.serving.autoscaling",
        "minReplicas must not exceed maxReplicas",
        breaks="minReplicas must not exceed maxReplicas",
    ),
    "a replica without a core": rm("spec.serving.resources", {"cpus": 0}, "spec.serving.resources.cpus", "greater than 0"),
    "logging in no known way": rm("spec.serving.payloadLogging", {"mode": "Some"}, "spec.serving.payloadLogging.mode", '"Off", "Sampled"'),
    "pages of anywhere": rm(
        "spec.serving.access.allowedOrigins",
        ["*"],
        "spec.serving.access.allowedOrigins[0]",
        '"*"',
        breaks="spec.serving.access.allowedOrigins[]#pattern",
    ),
    "a context of no value": rm(
        "spec.serving.popularity.contexts",
        [{"name": "device"}],
        "give a key either values or hours",
        breaks="[]contexts: give a key either",
    ),
    "hours of no clock": rm(
        "spec.serving.popularity.contexts",
        [{"name": "device", "values": ["tv"], "timeZone": "Europe/Paris"}],
        "timeZone belongs to hours",
        breaks="[]contexts: timeZone belongs to hours",
    ),
    "a context that no event has": rm(
        "spec.serving.popularity.contexts",
        [{"name": "a device", "values": ["tv"]}],
        "spec.serving.popularity.contexts[0].name",
        '"a device"',
        breaks="spec.serving.popularity.contexts[].name#pattern",
    ),
    "hours of a clock that nobody has": rm(
        "spec.serving.popularity.contexts",
        [{"name": "part", "hours": [6, 18], "timeZone": "no zone!"}],
        "spec.serving.popularity.contexts[0].timeZone",
        '"no zone!"',
        breaks="spec.serving.popularity.contexts[].timeZone#pattern",
    ),
    "exploration beyond all answers": rm("spec.serving.exploration", 1.5, "spec.serving.exploration", "less than or equal to 1"),
}
