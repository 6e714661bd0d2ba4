"""What the API server refuses, and with which words: every rule and every pattern has a resource that breaks it."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.kube.admission_rows import JUDGED, PARTS, Broken, rm
from tests.kube.admission_rows_ray import KEPT
from tests.kube.admission_rows_serving import SERVED
from tests.kube.rollout_rows import METRICS, WALKS, WINDOWS
from tests.kube.telling_rows import TOLD

from kube.operator_world import define
from recsys_dev.kubernetes import Cluster, CommandFailedError
from recsys_schemas.kinds import KINDS, open_api
from recsys_schemas.structural import RULES

API = "recsys.dev/v1alpha1"

TOPICS = [{"name": "watch", "role": "Watch"}, {"name": "asked", "role": "Requests"}, {"name": "answered", "role": "Responses"}]
REFERENCE = {"name": "movies", "uid": "8a7d3f1e"}
SPECS: dict[str, Any] = {
    "RecommenderModel": {"ray": {"dashboardURL": "http://127.0.0.1:8265"}, "kafka": {"bootstrapServers": ["127.0.0.1:9092"]}},
    "RecommenderModelVersion": {
        "modelRef": REFERENCE,
        "cause": {"trigger": "Initial", "detail": "1000 rows"},
        "snapshot": {"sequence": 3, "rows": 1000},
        "storageURI": "file:///var/lib/recsys",
        "algorithm": "ALS",
        "seed": 42,
    },
    "RecommenderRollout": {
        "modelRef": REFERENCE,
        "stable": {"name": "movies-000001", "digest": "sha256:01"},
        "candidate": {"name": "movies-000002", "digest": "sha256:02"},
        "steps": [{"setWeight": 5}, {"setWeight": 50}],
        "analysis": {},
    },
}


def topics(**change: Any) -> list[dict[str, Any]]:
    return [TOPICS[0] | change, *TOPICS[1:]]


def gate(**change: Any) -> list[dict[str, Any]]:
    return [{"name": "g", "metric": "ndcg@10", "atLeast": 0.1} | change]


def mirror(part: str, value: Any) -> Broken:
    """A mirror of which one part is wrong."""
    at, field_ = "spec.registry.mlflow", part.partition(".")[0]
    seen = value[part.rpartition(".")[2]] if isinstance(value, dict) else value
    return Broken(
        at=at, value={"trackingURI": "http://mlflow:5000", field_: value}, says=(f"{at}.{part}", f'"{seen}"'), breaks=f"{at}.{part}#pattern"
    )


CREATED = {
    "a search of more at a time than in all": rm(
        "spec.training.search",
        {"maxTrials": 2, "parallelTrials": 3},
        "search: parallelTrials exceeds maxTrials: lower parallelTrials",
        breaks="parallelTrials must not exceed maxTrials",
    ),
    "a version's search of more at a time than in all": Broken(
        kind="RecommenderModelVersion",
        at="spec.fit.search",
        value={"maxTrials": 2, "parallelTrials": 3},
        says=("search: parallelTrials exceeds maxTrials",),
        breaks="parallelTrials must not exceed maxTrials",
    ),
    "replay without a window": rm(
        "spec.training",
        {"replayFraction": 0.2},
        "training: replayFraction is set without windowDays: set windowDays",
        breaks="replayFraction needs windowDays",
    ),
    "a history that fades at once": rm("spec.training.historyHalfLife", 0, "spec.training.historyHalfLife", "greater than or equal to 1"),
    "a name too long": rm(
        "metadata.name", "m" * 41, "metadata.name must be 40 characters or fewer", "m" * 41, breaks="metadata.name must be 40"
    ),
    "a name with a dot": rm("metadata.name", "a.b", "letters, digits and -", "seen a.b", breaks="metadata.name must be a DNS-1035"),
    "a name with a digit first": rm("metadata.name", "1a", "a letter first", "seen 1a"),
    "a dashboard without a scheme": rm(
        "spec.ray.dashboardURL", "127.0.0.1:8265", "spec.ray.dashboardURL", '"127.0.0.1:8265"', "^https?://", breaks="pattern"
    ),
    "a dashboard with an invisible space": rm("spec.ray.dashboardURL", "http://a\u00a0b", "spec.ray.dashboardURL", "^https?://"),
    "an ingress that is not HTTP": rm("spec.ray.servingURL", "ftp://x", "spec.ray.servingURL", '"ftp://x"', "^https?://", breaks="pattern"),
    "a cluster's token of another namespace": rm(
        "spec.ray.tokenSecretRef",
        {"name": "../../other/secrets/x"},
        "spec.ray.tokenSecretRef.name",
        '"../../other/secrets/x"',
        breaks="spec.ray.tokenSecretRef.name#pattern",
    ),
    "an API's token of another namespace": rm(
        "spec.serving.tokenSecretRef",
        {"name": "../../other/secrets/x"},
        "spec.serving.tokenSecretRef.name",
        '"../../other/secrets/x"',
        breaks="spec.serving.tokenSecretRef.name#pattern",
    ),
    "a Secret without a name": rm("spec.ray.tokenSecretRef", {"key": "k"}, "spec.ray.tokenSecretRef.name", "Required value"),
    "a broker without a port": rm(
        "spec.kafka.bootstrapServers", ["kafka"], "spec.kafka.bootstrapServers[0]", '"kafka"', ":[1-9][0-9]{0,4}$", breaks="[]pattern"
    ),
    "no brokers": rm("spec.kafka.bootstrapServers", [], "spec.kafka.bootstrapServers", "at least 1 items"),
    "SASL without a mechanism": rm(
        "spec.kafka.security",
        {"protocol": "SASL_SSL", "credentialsSecretRef": {"name": "kafka"}},
        "security: protocol SASL_SSL needs mechanism and credentialsSecretRef, seen only credentialsSecretRef: set both",
        breaks="security: a SASL protocol needs",
    ),
    "SASL without credentials": rm(
        "spec.kafka.security",
        {"protocol": "SASL_PLAINTEXT", "mechanism": "SCRAM-SHA-512"},
        "needs mechanism and credentialsSecretRef, seen only mechanism SCRAM-SHA-512: set both",
    ),
    "SASL with neither": rm("spec.kafka.security", {"protocol": "SASL_SSL"}, "needs mechanism and credentialsSecretRef, seen none"),
    "credentials that nobody asks for": rm(
        "spec.kafka.security",
        {"protocol": "SSL", "credentialsSecretRef": {"name": "kafka"}},
        "security: protocol SSL uses no mechanism and no credentialsSecretRef",
        "set protocol SASL_SSL, or remove them",
        breaks="security: mechanism and credentialsSecretRef need",
    ),
    "credentials and no protocol": rm(
        "spec.kafka.security", {"credentialsSecretRef": {"name": "kafka"}}, "security: protocol PLAINTEXT uses no mechanism"
    ),
    "an authority without TLS": rm(
        "spec.kafka.security",
        {"caSecretRef": {"name": "kafka-ca"}},
        "security: protocol PLAINTEXT has no TLS, so caSecretRef and clientCertificateSecretRef have no use",
        "set protocol SSL or SASL_SSL, or remove them",
        breaks="security: caSecretRef and clientCertificateSecretRef need TLS",
    ),
    "a password in clear text": rm(
        "spec.kafka.security",
        {"protocol": "SASL_PLAINTEXT", "mechanism": "PLAIN", "credentialsSecretRef": {"name": "kafka"}},
        "mechanism PLAIN over protocol SASL_PLAINTEXT would send the password in clear text: set protocol SASL_SSL, or a SCRAM mechanism",
        breaks="security: mechanism PLAIN over",
    ),
    "an unknown mechanism": rm(
        "spec.kafka.security", {"protocol": "SASL_SSL", "mechanism": "GSSAPI"}, "spec.kafka.security.mechanism", '"GSSAPI"'
    ),
    "credentials of no Secret's name": rm(
        "spec.kafka.security.credentialsSecretRef.name", "../x", "credentialsSecretRef.name", '"../x"', breaks="pattern"
    ),
    "an authority of no Secret's name": rm("spec.kafka.security.caSecretRef.name", "../x", "caSecretRef.name", '"../x"', breaks="pattern"),
    "a version to go back to that is a path": rm(
        "spec.rollout.rollbackTo", "../movies", "spec.rollout.rollbackTo", '"../movies"', breaks="pattern"
    ),
    "a tracking server without a scheme": mirror("trackingURI", "mlflow:5000"),
    "a registered model with a slash": mirror("modelName", "shop/movies"),
    "an experiment with a colon": mirror("experiment", "shop:movies"),
    "a token of no Secret's name": mirror("tokenSecretRef.name", {"name": "../x"}),
    "a token's key that is no file's name": mirror("tokenSecretRef.key", {"name": "mlflow", "key": ".."}),
    "a key that is no file's name": rm(
        "spec.kafka.security.caSecretRef", {"name": "kafka-ca", "key": ".."}, "caSecretRef.key", '".."', breaks=".keypattern"
    ),
    "a certificate of no Secret's name": rm(
        "spec.kafka.security.clientCertificateSecretRef.name", "../x", "clientCertificateSecretRef.name", '"../x"', breaks="pattern"
    ),
    "a topic managed in no known way": rm(
        "spec.kafka.topics", topics(managementPolicy="Delete"), "spec.kafka.topics[0].managementPolicy", '"Delete"', '"Manage", "Observe"'
    ),
    "a topic that cannot be named so": rm(
        "spec.kafka.topics", topics(name="a b"), "spec.kafka.topics[0].name", '"a b"', "^[a-zA-Z0-9._-]+$", breaks="[].namepattern"
    ),
    "two topics of one name": rm("spec.kafka.topics", [*TOPICS, TOPICS[0]], "spec.kafka.topics[3]", "Duplicate value", '"watch"'),
    "an unknown role": rm("spec.kafka.topics", topics(role="Clicks"), "spec.kafka.topics[0].role", '"Clicks"', '"Watch", "Rate"'),
    "replication factor 2 with three in sync": rm(
        "spec.kafka.topics",
        topics(replicas=2, minInsyncReplicas=3),
        "spec.kafka.topics[0]",
        "topic watch: minInsyncReplicas 3 exceeds replicas 2",
        "lower minInsyncReplicas or raise replicas",
        breaks="[]minInsyncReplicas must not exceed",
    ),
    "as many in sync as there are": rm(
        "spec.kafka.topics",
        topics(replicas=3, minInsyncReplicas=3),
        "topic watch: with minInsyncReplicas and replicas both 3 one broker restart stops all writes",
        breaks="[]with minInsyncReplicas equal",
    ),
    "fewer consumers at most than at least": rm(
        "spec.data.snapshot.consumers", {"min": 4, "max": 2}, "consumers: min 4 exceeds max 2", breaks="min must not exceed max"
    ),
    "no events at all": rm(
        "spec.kafka.topics",
        [*TOPICS[1:], {"name": "more", "role": "Responses"}],
        "at least one topic must have the role Watch or Rate",
        breaks="topics: at least one",
    ),
    "no topic of questions": rm(
        "spec.kafka.topics",
        [TOPICS[0], TOPICS[2], {"name": "rate", "role": "Rate"}],
        "exactly one topic must have the role Requests",
        breaks="topics: exactly one topic must have the role Requests",
    ),
    "no topic of answers": rm(
        "spec.kafka.topics",
        [*TOPICS[:2], {"name": "rate", "role": "Rate"}],
        "exactly one topic must have the role Responses",
        breaks="topics: exactly one topic must have the role Responses",
    ),
    "two topics of watching": rm(
        "spec.kafka.topics",
        [*TOPICS, {"name": "more", "role": "Watch"}],
        "at most one topic may have the role Watch",
        breaks="topics: at most one topic may have the role Watch",
    ),
    "two topics of rating": rm(
        "spec.kafka.topics",
        [*TOPICS, {"name": "r1", "role": "Rate"}, {"name": "r2", "role": "Rate"}],
        "at most one topic may have the role Rate",
        breaks="topics: at most one topic may have the role Rate",
    ),
    "a storage that is a path": rm(
        "spec.data.snapshot.storageURI", "/var/x", "spec.data.snapshot.storageURI", '"/var/x"', "file:///", breaks="pattern"
    ),
    "a catalogue that is no table": rm(
        "spec.data.catalogue", {"uri": "file:///a.txt"}, "spec.data.catalogue.uri", '"file:///a.txt"', "csv|parquet"
    ),
    "a catalogue without a place": rm("spec.data.catalogue.uri", "items.csv", "spec.data.catalogue.uri", '"items.csv"', breaks="pattern"),
    "unknown items to be thrown away": rm(
        "spec.data.catalogue",
        {"uri": "file:///a.csv", "onUnknownItem": "Drop"},
        "spec.data.catalogue.onUnknownItem",
        '"Drop"',
        '"DeadLetter"',
    ),
    "a schema registry without a scheme": rm(
        "spec.kafka.schemaRegistryURL", "registry:8081", "spec.kafka.schemaRegistryURL", '"registry:8081"', "^https?://", breaks="pattern"
    ),
    "a hybrid that knows nothing of its items": rm(
        "spec.model.algorithm",
        "Hybrid",
        "TwoTower and Hybrid learn from what items are: set spec.data.catalogue",
        breaks="spec#model: TwoTower and Hybrid",
    ),
    "a baseline that knows nothing of its items": rm(
        "spec.model.baselines", ["TwoTower"], "TwoTower and Hybrid learn from what items are: set spec.data.catalogue"
    ),
    "an item that is never believed": rm(
        "spec.model.hyperparameters", {"itemShrinkage": -1}, "spec.model.hyperparameters.itemShrinkage", "greater than or equal to 0"
    ),
    "a new item beyond all lists": rm(
        "spec.model.hyperparameters", {"newItemPlace": 1001}, "spec.model.hyperparameters.newItemPlace", "less than or equal to 1000"
    ),
    "a batch of one": rm(
        "spec.model.hyperparameters", {"batchSize": 1}, "spec.model.hyperparameters.batchSize", "greater than or equal to 8"
    ),
    "an item without itself": rm(
        "spec.model.hyperparameters", {"idDropout": 2}, "spec.model.hyperparameters.idDropout", "less than or equal to 1"
    ),
    "an unknown algorithm": rm("spec.model.algorithm", "Magic", "spec.model.algorithm", '"Magic"', '"ALS", "BPR", "EASE", "Ensemble"'),
    "a baseline twice": rm("spec.model.baselines", ["ALS", "ALS"], "spec.model.baselines[1]", "Duplicate value"),
    "a number as text": rm("spec.model.hyperparameters", {"factors": "64"}, "spec.model.hyperparameters.factors", "type integer"),
    "a confidence of nothing": rm("spec.model.hyperparameters", {"alpha": 0}, "spec.model.hyperparameters.alpha", "greater than 0"),
    "hyperparameters for whatever Auto takes": rm(
        "spec.model",
        {"algorithm": "Auto", "hyperparameters": {"factors": 8}},
        "spec.model",
        "hyperparameters must be empty with algorithm Auto",
        breaks="hyperparameters must be empty",
    ),
    "a budget of nothing": rm("spec.training.budgetSeconds", 0, "spec.training.budgetSeconds", "greater than or equal to 1"),
    "Auto as a baseline": rm("spec.model.baselines", ["Auto"], "spec.model.baselines[0]", '"Auto"'),
    "a step too long": rm(
        "spec.model.hyperparameters", {"learningRate": 2}, "spec.model.hyperparameters.learningRate", "less than or equal to 1"
    ),
    "an unobserved item that weighs nothing": rm(
        "spec.model.hyperparameters", {"unobserved": 0}, "spec.model.hyperparameters.unobserved", "greater than 0"
    ),
    "an exponent too steep": rm(
        "spec.model.hyperparameters", {"exponent": 3}, "spec.model.hyperparameters.exponent", "less than or equal to 2"
    ),
    "a similarity of its own": rm(
        "spec.model.hyperparameters", {"similarity": "Jaccard"}, "spec.model.hyperparameters.similarity", '"Jaccard"', '"Cosine", "BM25"'
    ),
    "a half-life of nothing": rm(
        "spec.model.hyperparameters", {"halfLifeDays": 0}, "spec.model.hyperparameters.halfLifeDays", "greater than 0"
    ),
    "a ridge of nothing": rm("spec.model.hyperparameters", {"ridge": 0}, "spec.model.hyperparameters.ridge", "greater than 0"),
    "a reach too wide": rm("spec.model.hyperparameters", {"reach": 1001}, "spec.model.hyperparameters.reach", "less than or equal to 1000"),
    "a gate without a bound": rm(
        "spec.gates", [{"name": "g", "metric": "hr@10"}], "spec.gates[0]", "gate g: set exactly one of atLeast, atMost, seen none"
    ),
    "a gate with two bounds": rm("spec.gates", gate(atMost=1), "gate g", "seen both", breaks="[]set exactly one of atLeast"),
    "a gate that cannot be named so": rm("spec.gates", gate(name="G"), "spec.gates[0].name", '"G"', "^[a-z]", breaks="[].namepattern"),
    "an unknown metric": rm("spec.gates", gate(metric="ndcg@5"), "spec.gates[0].metric", '"ndcg@5"', '"ndcg@10"'),
    "an unknown comparison": rm("spec.gates", gate(relativeTo="Yesterday"), "spec.gates[0].relativeTo", '"Champion"'),
    "an error probability of a half": rm("spec.rollout.analysis.alpha", 0.5, "spec.rollout.analysis.alpha", "less than 0.5"),
    "a relative route": rm("spec.serving.routePrefix", "movies", "spec.serving.routePrefix", '"movies"', "^/", breaks="pattern"),
    "records to skip whose last is before the first": rm(
        "spec.serving.online.skip",
        [{"topic": "watch", "partition": 0, "first": 20, "last": 10}],
        "spec.serving.online.skip[0]",
        "first must not exceed last",
        breaks="[]first must not exceed last",
    ),
    "records to skip of no topic": rm(
        "spec.serving.online.skip",
        [{"topic": "a b", "partition": 0, "first": 1, "last": 2}],
        "spec.serving.online.skip[0].topic",
        '"a b"',
        breaks="spec.serving.online.skip[].topic#pattern",
    ),
    "an issuer whose keys are nowhere": rm(
        "spec.serving.access.jwt",
        {"issuer": "i", "audience": "a", "jwksURI": "idp.test/jwks"},
        "spec.serving.access.jwt.jwksURI",
        '"idp.test/jwks"',
        breaks="spec.serving.access.jwt.jwksURI#pattern",
    ),
    "keys of clients in no Secret": rm(
        "spec.serving.access.apiKeysSecretRef", "../x", "spec.serving.access.apiKeysSecretRef", '"../x"', breaks="pattern"
    ),
    "a limit of nothing": rm(
        "spec.serving.access.rateLimit", {"requestsPerSecond": 0}, "spec.serving.access.rateLimit.requestsPerSecond", "greater than 0"
    ),
    "a fallback that may have no answer": rm(
        "spec.serving.fallback", ["Approximate", "Cached"], "the last step must be Popular", breaks="fallback: the last step must be"
    ),
    "a step named twice": rm(
        "spec.serving.fallback", ["Cached", "Cached", "Popular"], "fallback: name each step once", breaks="fallback: name each step once"
    ),
    "a step that is none": rm("spec.serving.fallback", ["Item", "Popular"], "spec.serving.fallback[0]", '"Item"'),
    "no patience at all": rm("spec.serving.queueMilliseconds", 0, "spec.serving.queueMilliseconds", "greater than or equal to 1"),
    "no replicas": rm("spec.serving.replicas", 0, "spec.serving.replicas", "greater than or equal to 1"),
    "a misspelt field": rm("spec.servng", {}, 'unknown field "spec.servng"'),
    "no Kafka": rm("spec.kafka", None, "spec.kafka", "Required value"),
    "a rollout with a step of two verbs": Broken(
        kind="RecommenderRollout",
        at="spec.steps",
        value=[{"setWeight": 5, "pause": {"seconds": 5}}],
        says=("spec.steps[0]", "exactly one of setWeight, pause, shadow, interleave"),
        breaks="[]exactly one of setWeight, pause, shadow",
    ),
    "a promotion of no step": Broken(
        kind="RecommenderRollout",
        at="spec.control",
        value={"promote": "Next", "requestedBy": "anna"},
        says=("control: promote Next needs step",),
        breaks="spec.control#control: promote Next needs step",
    ),
    "a rollout of unknown promotion": Broken(
        kind="RecommenderRollout", at="spec.control", value={"promote": "Half"}, says=("spec.control.promote", '"None", "Next", "Full"')
    ),
    "a version of an unknown cause": Broken(
        kind="RecommenderModelVersion", at="spec.cause.trigger", value="Whim", says=("spec.cause.trigger", '"Whim"', '"Initial"')
    ),
}

FIXED = {
    "partitions lowered": Broken(
        at="spec.kafka.topics",
        before={"spec.kafka.topics": topics(partitions=6)},
        value=topics(partitions=3),
        says=("spec.kafka.topics[0]", "topic watch: partitions cannot be lowered", "Kafka cannot remove partitions"),
        breaks="[]partitions cannot be lowered",
    ),
    "a topic of another role": Broken(
        at="spec.kafka.topics",
        before={"spec.kafka.topics": TOPICS},
        value=topics(role="Rate"),
        says=("topic watch: role cannot be changed from Watch to Rate", "a topic of its own"),
        breaks="[]role of a topic cannot be changed",
    ),
    "another storage": Broken(
        at="spec.data.snapshot.storageURI",
        before={"spec.data.snapshot.storageURI": "file:///a"},
        value="s3://b/c",
        says=('data.snapshot.storageURI cannot be changed from "file:///a" to "s3://b/c"', "make another model"),
        breaks="spec#data.snapshot.storageURI cannot be changed",
    ),
    "a storage set later": Broken(at="spec.data.snapshot.storageURI", value="s3://b/c", says=('cannot be changed from "" to "s3://b/c"',)),
    "a version rewritten": Broken(
        kind="RecommenderModelVersion",
        at="spec.seed",
        value=43,
        says=("spec", "a version's spec is immutable"),
        breaks="spec#a version's spec is immutable",
    ),
    "a rollout's candidate exchanged": Broken(
        kind="RecommenderRollout",
        at="spec.candidate.digest",
        value="sha256:03",
        says=("only spec.control of a rollout may be changed",),
        breaks="spec#only spec.control",
    ),
    "a rollout's arms exchanged": Broken(
        kind="RecommenderRollout",
        at="spec.arms",
        value=[{"name": "movies-000003", "digest": "sha256:03", "weight": 20}],
        says=("only spec.control of a rollout may be changed",),
    ),
    "a rollout's purpose changed": Broken(
        kind="RecommenderRollout", at="spec.purpose", value="Return", says=("only spec.control of a rollout may be changed",)
    ),
    "a rollout's stable version left out": Broken(
        kind="RecommenderRollout", at="spec.stable", value=None, says=("only spec.control of a rollout may be changed",)
    ),
    "a rollout's steps shortened": Broken(
        kind="RecommenderRollout", at="spec.steps", value=[{"setWeight": 50}], says=("only spec.control of a rollout may be changed",)
    ),
    "a rollout's evidence cheapened": Broken(
        kind="RecommenderRollout", at="spec.analysis.minimumRequests", value=1, says=("only spec.control of a rollout may be changed",)
    ),
    "a rollout's model exchanged": Broken(
        kind="RecommenderRollout", at="spec.modelRef.name", value="other", says=("only spec.control of a rollout may be changed",)
    ),
    "a rollout's deadline moved": Broken(
        kind="RecommenderRollout", at="spec.progressDeadlineSeconds", value=9, says=("only spec.control of a rollout may be changed",)
    ),
}


def fields(*said: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": "device", "type": "string"} | each for each in said]


def changed(event: str, before: dict[str, Any], after: dict[str, Any], breaks: str, *says: str) -> Broken:
    at = f"spec.events.{event}.fields"
    return Broken(at=at, value=fields(after), says=says, breaks=breaks, before={at: fields(before)})


for event in ("watch", "rate"):
    at = f"spec.events.{event}.fields"
    CREATED.update(
        {
            f"a field of {event} named as a built-in one": rm(
                at, fields({"name": "item_id"}), "field item_id: every event has one of this name", breaks="[]name of a field must not be"
            ),
            f"a field of {event} in capitals": rm(at, fields({"name": "Device"}), f"{at}[0].name", '"Device"', breaks="[].namepattern"),
            f"a field of {event} of no known type": rm(at, fields({"type": "date"}), f"{at}[0].type", '"date"', '"boolean"'),
            f"a field of {event} twice": rm(at, fields({}, {}), f"{at}[1]", "Duplicate value", '"device"'),
            f"a text of {event} with a minimum": rm(
                at,
                fields({"minimum": 1}),
                "field device: minimum and maximum are for integer and number, seen string",
                breaks="[]minimum and",
            ),
            f"a number of {event} with a length": rm(
                at,
                fields({"type": "number", "maxLength": 5}),
                "field device: maxLength is for string, seen number",
                breaks="[]maxLength is for",
            ),
            f"a field of {event} that nothing fits": rm(
                at,
                fields({"type": "integer", "minimum": 2, "maximum": 1}),
                "field device: minimum exceeds maximum",
                breaks="[]minimum must not exceed",
            ),
        }
    )
    FIXED.update(
        {
            f"a field of {event} removed": Broken(
                at=at,
                value=[],
                says=("field device: cannot be removed or renamed, old files have it",),
                breaks="a field cannot be removed",
                before={at: fields({})},
            ),
            f"all fields of {event} left out": Broken(
                at="spec.events", value=None, says=("field device: cannot be removed",), before={at: fields({})}
            ),
            f"a field of {event} renamed": changed(event, {}, {"name": "screen"}, "", "field device: cannot be removed or renamed"),
            f"a field of {event} of another type": changed(
                event, {}, {"type": "integer"}, "[]type of a field", "field device: type cannot be changed from string to integer"
            ),
            f"a field of {event} with a minimum from now on": changed(
                event,
                {"type": "number"},
                {"type": "number", "minimum": 0},
                "[]minimum of a field",
                "field device: minimum cannot be added or raised",
            ),
            f"a field of {event} with a lower maximum": changed(
                event,
                {"type": "number", "maximum": 5},
                {"type": "number", "maximum": 4},
                "[]maximum of a field",
                "field device: maximum cannot be added or lowered",
            ),
            f"a field of {event} shorter than the default": changed(
                event, {}, {"maxLength": 1023}, "[]maxLength of a field", "field device: maxLength cannot be lowered"
            ),
        }
    )


@pytest.fixture(scope="module", autouse=True)
def definitions(cluster: Cluster) -> None:
    define(cluster)


def good(kind: str, name: str = "movies") -> dict[str, Any]:
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": copy.deepcopy(SPECS[kind])}


def put(document: dict[str, Any], at: str, value: Any) -> dict[str, Any]:
    """Set what stands at a path, or take it away (None)."""
    node = document
    *parents, last = at.split(".")
    for key in parents:
        node = node.setdefault(key, {})
    if value is None:
        node.pop(last, None)
    else:
        node[last] = value
    return document


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS])
def test_what_the_tables_begin_from_is_admitted(cluster: Cluster, namespace: str, kind: str):
    cluster.kubectl("create", "-n", namespace, "-f", "-", input=json.dumps(good(kind)))


ALL = CREATED | KEPT | SERVED | JUDGED | METRICS | WALKS | WINDOWS | TOLD


@pytest.mark.parametrize("row", ALL.values(), ids=ALL.keys())
def test_a_resource_that_breaks_a_rule_is_refused_in_words_that_help(cluster: Cluster, row: Broken):
    document = put(good(row.kind), row.at, row.value)
    with pytest.raises(CommandFailedError) as refused:
        cluster.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(document))
    assert [words for words in row.says if words not in refused.value.stderr] == [], refused.value.stderr


@pytest.mark.parametrize("row", FIXED.values(), ids=FIXED.keys())
def test_a_change_that_must_not_be_is_refused_in_words_that_help(cluster: Cluster, namespace: str, row: Broken):
    document = good(row.kind)
    for at, value in row.before.items():
        put(document, at, value)
    cluster.kubectl("create", "-n", namespace, "-f", "-", input=json.dumps(document))
    with pytest.raises(CommandFailedError) as refused:
        cluster.kubectl("replace", "-n", namespace, "-f", "-", input=json.dumps(put(document, row.at, row.value)))
    assert [words for words in row.says if words not in refused.value.stderr] == [], refused.value.stderr


def test_a_field_may_be_added_and_its_bounds_widened(cluster: Cluster, namespace: str):
    at, device, price = "spec.events.watch.fields", {"name": "device", "type": "string"}, {"name": "price", "type": "number"}
    document = put(good("RecommenderModel"), at, [{**device, "maxLength": 5}])
    cluster.kubectl("create", "-n", namespace, "-f", "-", input=json.dumps(document))
    for after in ([device, {**price, "minimum": 0, "maximum": 9}], [price, device]):
        cluster.kubectl("replace", "-n", namespace, "-f", "-", input=json.dumps(put(document, at, after)))
    kept = json.loads(cluster.kubectl("get", "-n", namespace, "rm", "movies", "-o", "json"))
    assert kept["spec"]["events"]["watch"]["fields"] == [price, device]
    assert kept["spec"]["events"]["duplicateWindowRecords"] == 100_000


def stated(schema: dict[str, Any], path: str) -> Iterator[str]:
    """Every rule and pattern of a schema, as `path#words`."""
    yield from (f"{path}#{rule['message']}" for rule in schema.get(RULES, []))
    if "pattern" in schema:
        yield f"{path}#pattern"
    for name, child in schema.get("properties", {}).items():
        yield from stated(child, f"{path}.{name}".removeprefix("."))
    if "items" in schema:
        yield from stated(schema["items"], f"{path}[]")


def broken(row: Broken) -> str:
    """What a row breaks, as `path#words`; rules on a part below `at` name the part first."""
    if row.at == "metadata.name":
        return f"#{row.breaks}"
    if "#" in row.breaks:
        return row.breaks
    part = next((part for part in (*PARTS, "[].name", "[]", ".key") if row.breaks.startswith(part)), "")
    return f"{row.at}{part}#{row.breaks.removeprefix(part)}"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_rule_and_every_pattern_has_a_resource_that_breaks_it(kind: Any):
    rows = [broken(row) for row in (*ALL.values(), *FIXED.values()) if row.kind == kind.name and row.breaks]
    spec = {"type": "object", "properties": {"spec": open_api(kind)["properties"]["spec"]}, RULES: open_api(kind).get(RULES, [])}
    untested = [words for words in stated(spec, "") if not any(words.startswith(row) for row in rows)]
    assert untested == []
