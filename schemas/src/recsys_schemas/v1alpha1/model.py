"""RecommenderModel: the only kind that a user must write."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from recsys_schemas.v1alpha1.conditions import Condition
from recsys_schemas.v1alpha1.events import Events
from recsys_schemas.v1alpha1.fitting import Search, WorkerResources
from recsys_schemas.v1alpha1.gates import Gate, default_gates
from recsys_schemas.v1alpha1.ray_cluster import URL, KeptCluster, Ray, SecretKey
from recsys_schemas.v1alpha1.registry import Registry
from recsys_schemas.v1alpha1.replication import Replication
from recsys_schemas.v1alpha1.resource import Resource, cel, list_map
from recsys_schemas.v1alpha1.security import Name, Security
from recsys_schemas.v1alpha1.strategy import Rollout
from recsys_schemas.v1alpha1.telling import AuditStatus, Notification, NotificationStatus, Told
from recsys_schemas.v1alpha1.triggers import ZONE, Trigger, TriggerStatus

HOST_AND_PORT = r"^[A-Za-z0-9._-]+:[1-9][0-9]{0,4}$"
MOST_CONSUMERS = 16
CATALOGUE = r"^(file:///[!-~]+|s3://[!-.0-~]+/[!-~]+)\.(csv|parquet)$"
STORAGE = r"^(file:///[!-~]+|s3://[!-.0-~]+(/[!-~]*)?)$"


def _digit(number: str) -> str:
    # `string()` of a number has no bounded length in the API server's cost estimate and would be refused.
    return f"'01234567'.substring({number}, {number} + 1)"


def _number(number: str) -> str:
    return f"'{''.join(f'{value:2}' for value in range(MOST_CONSUMERS + 1))}'.substring(2 * {number}, 2 * {number} + 2).trim()"


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
    role: Literal["Watch", "Rate", "Requests", "Responses", "Preferences", "Items", "Decisions"]
    """What it carries: watch or rate events, questions to the API, its answers, what users say of themselves, live records of items, or
    the decisions of rollouts. Preferences and Items are compacted: the newest record of each key stays, whatever its age."""
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
            ),
        ),
    ] = Field(default_factory=default_topics)
    """The topics; created when missing (unless only observed), verified always, never shrunk, never deleted. Default: watch, rate,
    reco_requests, reco_responses, reco_preferences, reco_items, each with 3 partitions, 3 replicas, 2 of them in sync, and
    reco_decisions with one partition."""
    replication_throttle_bytes_per_second: Annotated[int, Field(ge=10_000, le=100_000_000_000)] = 50_000_000
    """How fast at most one broker sends, and one receives, while replicas are added to existing topics. Must exceed what producers
    write, or it never ends."""


class Roll(Resource):
    """When a commit is made."""

    max_records: Annotated[int, Field(ge=1, le=10_000_000)] = 50_000
    """After so many records,"""
    max_seconds: Annotated[int, Field(ge=1, le=3600)] = 30
    """or after so many seconds, whichever comes first."""


class Consumers(Resource):
    """How many processes read the events."""

    model_config = Resource.model_config | {
        "json_schema_extra": cel(
            (
                # The API server tries the default itself, `{}`, before its parts have theirs.
                "!has(self.min) || !has(self.max) || self.min <= self.max",
                "min must not exceed max",
                f"'consumers: min ' + {_number('self.min')} + ' exceeds max ' + {_number('self.max')} + ': lower min or raise max'",
            )
        )
    }

    min: Annotated[int, Field(ge=1, le=MOST_CONSUMERS)] = 1
    """At least so many."""
    max: Annotated[int, Field(ge=1, le=MOST_CONSUMERS)] = 3
    """At most so many; more than the event topics have partitions are never started."""


class Snapshot(Resource):
    """How events become snapshots."""

    storage_uri: Annotated[str | None, Field(max_length=1024, pattern=STORAGE)] = None
    """file:// or s3:// folder of snapshots and versions. Cannot be changed. Default: a folder for this model below the operator's
    storage root."""
    roll: Roll = Field(default_factory=Roll)
    """When a commit is made."""
    consumers: Consumers = Field(default_factory=Consumers)
    """How many processes read the events: one more while snapshots fall behind, one less after an hour without any lag."""
    retention_days: Annotated[int, Field(ge=1, le=36_500)] = 30
    """A snapshot is kept for so many days after a newer one took its place. Longer, whatever its age: the newest one, and those that
    versions of this model were trained on, for as long as these are there."""
    max_dead_letter_fraction: Annotated[float, Field(ge=0, le=1)] = 0.05
    """When a larger part of the newest records (10,000 to 20,000 of each event type) is put aside, SnapshotReady turns False and training
    is held until it falls again. Events that were sent twice do not count."""


class Catalogue(Resource):
    """Which items there are, with their titles, genres and texts."""

    uri: Annotated[str, Field(max_length=1024, pattern=CATALOGUE)]
    """file:// or s3:// of a .csv with a header, or of a .parquet file; columns item_id, title, genres (in a CSV separated by |), text.
    Read again when it changes."""
    on_unknown_item: Literal["Keep", "DeadLetter"] = "Keep"
    """What becomes of events of items that it does not have. DeadLetter: ingest waits until the catalogue can be read."""


class Data(Resource):
    """Events and snapshots."""

    snapshot: Snapshot = Field(default_factory=Snapshot)
    """How events become snapshots."""
    catalogue: Catalogue | None = None
    """Which items there are. Default: those of the events."""


# Least values are "greater than 0" here: of a whole number the API server compares fractional bounds cut to whole ones.
class Hyperparameters(Resource):
    """Numbers and words of the algorithm; what is not set has the algorithm's own default, written in the version card.

    What the algorithm itself does not take goes to the baselines that do.
    """

    factors: Annotated[int | None, Field(ge=1, le=1024)] = None
    """ALS, BPR, IALS, TwoTower: length of a vector."""
    regularization: Annotated[float | None, Field(ge=0, le=10_000)] = None
    """ALS, BPR, IALS: weight of the penalty."""
    iterations: Annotated[int | None, Field(ge=1, le=500)] = None
    """ALS, BPR, IALS, TwoTower: sweeps over the data."""
    alpha: Annotated[float | None, Field(gt=0, le=10_000)] = None
    """ALS: confidence of one interaction."""
    damping: Annotated[float | None, Field(ge=0, le=1)] = None
    """ALS, IALS: how much less an interaction counts of users with long histories; 0: all count alike."""
    unobserved: Annotated[float | None, Field(gt=0, le=10)] = None
    """IALS: weight of an item that a user has not liked, beside 1 for one liked."""
    exponent: Annotated[float | None, Field(ge=0, le=2)] = None
    """IALS: how fast the penalty grows with what a vector stands for; 0: it is the same for all."""
    learning_rate: Annotated[float | None, Field(gt=0, le=1)] = None
    """BPR, TwoTower: length of a step."""
    neighbours: Annotated[int | None, Field(ge=1, le=10_000)] = None
    """ItemItem: neighbours kept for each item. Hybrid: items that speak for one that few liked, at most 1000."""
    similarity: Literal["Cosine", "BM25"] | None = None
    """ItemItem: how alike two items are. BM25 trusts items more that many users liked."""
    half_life_days: Annotated[float | None, Field(gt=0, le=36_500)] = None
    """RecentPopularity, Hybrid: after so many days a like is worth half."""
    ridge: Annotated[float | None, Field(gt=0, le=1_000_000)] = None
    """EASE: weight of the penalty."""
    reach: Annotated[int | None, Field(ge=0, le=1000)] = None
    """EASE: items that stand within so many places of each other in a user's order in time count more as a pair; 0: all pairs alike."""
    item_shrinkage: Annotated[float | None, Field(ge=0, le=10_000)] = None
    """Hybrid: likes after which an item speaks for itself as much as the items do that are like it by content; 0: from the first on."""
    new_item_place: Annotated[int | None, Field(ge=0, le=1000)] = None
    """Hybrid: the place at which the list of a user with one to nine likes has an item that nobody has liked yet; 0: such items come where
    their chances put them, which is seldom in a list."""
    batch_size: Annotated[int | None, Field(ge=8, le=65_536)] = None
    """TwoTower: likes looked at in one step; each is told from the others."""
    id_dropout: Annotated[float | None, Field(ge=0, le=1)] = None
    """TwoTower: how often an item is known by its content alone while it is learned."""


Algorithm = Literal["ALS", "BPR", "EASE", "Ensemble", "Hybrid", "IALS", "ItemItem", "Popularity", "RecentPopularity", "TwoTower"]
Asked = Literal[Algorithm, "Auto"]
_ANY_SET = " || ".join(f"has(self.hyperparameters.{field.alias or name})" for name, field in Hyperparameters.model_fields.items())
_BY_CONTENT = "['TwoTower', 'Hybrid']"


class Model(Resource):
    """What is trained."""

    model_config = Resource.model_config | {
        "json_schema_extra": cel(
            (
                f"self.algorithm != 'Auto' || !has(self.hyperparameters) || !({_ANY_SET})",
                "hyperparameters must be empty with algorithm Auto: it tries each algorithm with its own defaults; name one to set them",
            ),
        )
    }

    algorithm: Asked = "ALS"
    """ALS (implicit matrix factorisation, Hu et al. 2008), IALS (the same with a penalty by frequency, Rendle et al. 2022), BPR (pairwise
    ranking, Rendle et al. 2009), EASE (linear autoencoder, Steck 2019; at most 20,000 items), ItemItem (nearest neighbours), Ensemble (a
    weighted sum of several of them), Popularity or RecentPopularity. With spec.data.catalogue also TwoTower (neural, Yi et al. 2019; where
    Ray has the extra ray-apps[neural]) and Hybrid (collaborative where user and item are known, content where they are not). Auto tries
    those that are quickly trained and takes the best, by users held out for that, within spec.training.budgetSeconds."""
    hyperparameters: Hyperparameters = Field(default_factory=Hyperparameters)
    """Numbers and words of the algorithm."""
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] = 42
    """The only source of chance: the same snapshot and seed give the same bytes."""
    baselines: Annotated[list[Algorithm], Field(max_length=3, json_schema_extra={"x-kubernetes-list-type": "set"})] = Field(
        default_factory=lambda: ["Popularity", "ItemItem"]
    )
    """Trained and measured beside it on each run. Default: Popularity and ItemItem."""


class Training(Resource):
    """When and how a version is made."""

    model_config = Resource.model_config | {
        "json_schema_extra": cel(
            (
                "!has(self.replayFraction) || self.replayFraction == 0.0 || has(self.windowDays)",
                "replayFraction needs windowDays: without a window everything is learned from",
                "'training: replayFraction is set without windowDays: set windowDays, or leave replayFraction out'",
            )
        )
    }

    initial_records: Annotated[int, Field(ge=1)] = 1000
    """The first version is trained once a snapshot has so many rows."""
    new_records: Annotated[int, Field(ge=1)] = 200_000
    """Rows of a NewData trigger that does not say how many."""
    triggers: Annotated[list[Trigger] | None, Field(max_length=16)] = None
    """What makes another version due: any of them. Default: NewData after newRecords rows. An empty list: only a change of spec.model."""
    cooldown_seconds: Annotated[int, Field(ge=0, le=31_536_000)] = 60
    """Least time between the starts of two runs."""
    max_runs_per_day: Annotated[int | None, Field(ge=1, le=1440)] = None
    """No more runs than this begin within any 24 hours, whatever is due. Default: no such bound."""
    num_workers: Annotated[int, Field(ge=1, le=64)] = 1
    """Ray Train workers. IALS shares each fit among them, and its bytes do not depend on their number; of other algorithms the first
    worker does all."""
    resources_per_worker: WorkerResources = Field(default_factory=WorkerResources)
    """What each Ray Train worker reserves."""
    warm_start: bool = False
    """Begin the fit that serves from the champion's vectors, with half of the iterations, where the champion is of the same algorithm
    (IALS)."""
    window_days: Annotated[int | None, Field(ge=1, le=36_500)] = None
    """Learn from so many of the newest days of the snapshot. Default: from all of it. Histories that serve are whole in either case."""
    replay_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    """With a window: this part of the older interactions, drawn by the seed, is learned from too, against forgetting."""
    history_half_life: Annotated[float | None, Field(ge=1, le=100_000)] = None
    """Likes after which an older one counts half when a model is asked, in metrics and where it serves: for tastes that change. Nothing is
    learned by it. Default: all count alike."""
    search: Search | None = None
    """Look for better hyperparameters before each version is made. Default: those of the spec are taken."""
    backoff_limit: Annotated[int, Field(ge=0, le=10)] = 3
    """Retries of a failed run before the version is given up."""
    active_deadline_seconds: Annotated[int, Field(ge=10, le=604_800)] = 3600
    """A run that takes longer is stopped and counts as failed."""
    budget_seconds: Annotated[int, Field(ge=1, le=604_800)] = 600
    """Algorithm Auto: no further algorithm is tried after so many seconds of trying; the one chosen is then trained and measured."""


class SkippedRecords(Resource):
    """Records of one partition that answers leave out: a bad hour, undone. Snapshots and training have them still."""

    model_config = Resource.model_config | {
        "json_schema_extra": cel(("self.first <= self.last", "first must not exceed last: name the first and the last offset to leave out"))
    }

    topic: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[a-zA-Z0-9._-]+$")]
    """A topic of events."""
    partition: Annotated[int, Field(ge=0, le=99_999)]
    """Its partition."""
    first: Annotated[int, Field(ge=0, le=9_007_199_254_740_991)]
    """The first offset that is left out."""
    last: Annotated[int, Field(ge=0, le=9_007_199_254_740_991)]
    """The last one."""


class Online(Resource):
    """What answers know of the events since their version was trained: replicas follow the event topics."""

    freshness_target_milliseconds: Annotated[int, Field(ge=10, le=600_000)] = 1000
    """FreshnessMet is True while 99 % of the events of the last five minutes were known to the answers within so long."""
    skip: Annotated[list[SkippedRecords], Field(max_length=200)] = []
    """Records that are left out: every replica comes to know the rest again, and answers meanwhile from what it knew."""


class Jwt(Resource):
    """An issuer whose signed tokens (RS256, ES256) the API takes besides its own."""

    issuer: Annotated[str, Field(min_length=1, max_length=512)]
    """What a token's `iss` must be, to the letter."""
    audience: Annotated[str, Field(min_length=1, max_length=256)]
    """What its `aud` must have."""
    jwks_uri: Annotated[str, Field(max_length=1024, pattern=URL)]
    """Where the issuer publishes its keys, a JSON Web Key Set. A rotated key is known within seconds, a withdrawn one within minutes."""
    roles_claim: Annotated[str, Field(min_length=1, max_length=128)] = "roles"
    """The claim that lists the bearer's roles (reader, writer, operator, metrics), or has them with spaces between."""
    leeway_seconds: Annotated[int, Field(ge=0, le=300)] = 30
    """How far the issuer's clock may differ."""


class ClientRateLimit(Resource):
    """How often one client may ask one replica; more often is answered with 429 and Retry-After."""

    requests_per_second: Annotated[float, Field(gt=0, le=1_000_000)]
    """On and on; a batch counts as its requests."""
    burst: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """At once."""


class Autoscaling(Resource):
    """Ray Serve's own autoscaling, in its words."""

    model_config = Resource.model_config | {
        "json_schema_extra": cel(
            (
                "self.minReplicas <= self.maxReplicas",
                "minReplicas must not exceed maxReplicas: lower minReplicas or raise maxReplicas",
            )
        )
    }

    min_replicas: Annotated[int, Field(ge=1, le=256)] = 1
    """At least so many."""
    max_replicas: Annotated[int, Field(ge=1, le=256)] = 4
    """At most so many."""
    target_ongoing_requests: Annotated[float, Field(gt=0, le=10_000)] = 2
    """As many replicas are wanted as it takes for each to have so many requests in hand."""
    upscale_delay_seconds: Annotated[int, Field(ge=0, le=86_400)] = 30
    """More are started after so long of need."""
    downscale_delay_seconds: Annotated[int, Field(ge=0, le=86_400)] = 600
    """Fewer are kept after so long without."""


class ReplicaResources(Resource):
    """What each replica reserves on its node."""

    cpus: Annotated[float, Field(gt=0, le=256)] = 0.5
    """Cores."""
    memory_mebibytes: Annotated[int | None, Field(ge=64, le=16_777_216)] = None
    """Memory beside the mapped versions, which replicas of a node share. Default: none is reserved."""


class PayloadLogging(Resource):
    """Which answers go to the topic of responses, with items, propensities and version."""

    mode: Literal["Off", "Sampled", "Full"] = "Full"
    """Off: none, so off-policy estimates have nothing to go by. Shares and evidence of a rollout do not depend on it."""
    sample_percent: Annotated[int, Field(ge=1, le=100)] = 10
    """With Sampled: of so many answers in a hundred, by the request's id."""


class Access(Resource):
    """Who may ask. The tokens of the Secret <name>-api are always taken."""

    jwt: Jwt | None = None
    """An issuer whose signed tokens are taken."""
    api_keys_secret_ref: Name | None = None
    """A Secret of API keys: each of its keys is `<client>.<role>`, its value the SHA-256 (hex) of the client's key, so that whoever reads
    the Secret cannot ask. Taken up without a restart."""
    rate_limit: ClientRateLimit | None = None
    """How often one client may ask. Default: as often as it likes."""
    allowed_origins: Annotated[
        list[Annotated[str, Field(max_length=256, pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?$")]], Field(max_length=32)
    ] = []
    """Origins whose pages may ask from a browser (CORS), such as https://shop.example.com. Default: none."""


class Shuffling(Resource):
    """Answers that show the best items in an order drawn by lot.

    With their chances in the log, off-policy estimates (snips@10, dr@10) can tell what a version would have earned before any user sees it.
    """

    model_config = Resource.model_config | {
        "json_schema_extra": cel(
            (
                "!has(self.depth) || !has(self.share) || double(self.depth) <= 100.0 * double(self.share)",
                "shuffle: depth exceeds 100 times share, weights above 100 are cut and estimates too low: lower depth or raise share",
            )
        )
    }

    share: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Part of the answers."""
    depth: Annotated[int, Field(ge=10, le=100)] = 20
    """So many of the best items: what stands deeper, no version can be judged by."""


class PopularityContext(Resource):
    """One thing that is known of the moment, by whose values likes are counted apart."""

    model_config = Resource.model_config | {
        "json_schema_extra": cel(
            (
                "(self.values.size() > 0) != (self.hours.size() > 0)",
                "contexts: give a key either values or hours",
            ),
            ("self.hours.size() > 0 || !has(self.timeZone)", "contexts: timeZone belongs to hours: remove it, or give hours"),
        )
    }

    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]
    """As in the `context` of a question, and as the field of events that says it (a field of your own, such as device)."""
    values: Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=32)] = []
    """The values that are told apart, in any case; others say nothing."""
    hours: Annotated[list[Annotated[int, Field(ge=0, le=23)]], Field(max_length=8)] = []
    """Instead of values: the hours at which the parts of the day begin, such as 6, 12, 18; known by the clock, without being said."""
    time_zone: Annotated[str | None, Field(max_length=64, pattern=ZONE)] = None
    """Whose clock, such as Europe/Paris. Default: UTC."""


class Popularity(Resource):
    """What strangers get."""

    contexts: Annotated[list[PopularityContext], Field(max_length=8, json_schema_extra=list_map("name"))] = []
    """Who says where they are gets what is liked there: likes are counted by these keys. Default: by none."""
    half_life_days: Annotated[float, Field(ge=0.1, le=365)] = 7
    """After so long a like counts for half in a context."""
    shrinkage: Annotated[float, Field(ge=1, le=10_000)] = 20
    """So many likes of an item in a context weigh as much as what is liked everywhere: with fewer, an item is shown as it is everywhere."""


class Serving(Resource):
    """How answers are given."""

    replicas: Annotated[int, Field(ge=1, le=256)] = 2
    """Ray Serve replicas; what `kubectl scale` sets. With autoscaling they are not asked for."""
    autoscaling: Autoscaling | None = None
    """Between how many replicas Ray Serve chooses by itself. Default: replicas stands."""
    resources: ReplicaResources = Field(default_factory=ReplicaResources)
    """What each replica reserves."""
    payload_logging: PayloadLogging = Field(default_factory=PayloadLogging)
    """Which answers are logged."""
    route_prefix: Annotated[str | None, Field(max_length=128, pattern=r"^/[a-zA-Z0-9._~-]+(/[a-zA-Z0-9._~-]+)*$")] = None
    """Path of the API on the cluster's ingress. Default: /<name>."""
    timeout_milliseconds: Annotated[int, Field(ge=1, le=60_000)] = 100
    """Later than this, the answer is given by the fallback: never an error."""
    fallback: Annotated[
        list[Literal["Approximate", "Champion", "Cached", "Popular"]],
        Field(
            min_length=1,
            max_length=4,
            json_schema_extra=cel(
                ("self[self.size() - 1] == 'Popular'", "fallback: the last step must be Popular: it always has an answer"),
                ("self.all(s, self.exists_one(t, t == s))", "fallback: name each step once"),
            ),
        ),
    ] = ["Approximate", "Champion", "Cached", "Popular"]
    """What is tried, in this order, when the version that a user is assigned to does not answer in time or well. Approximate: the same
    version, among the items near the user only. Champion: the version of the others, for a candidate. Cached: the user's last answer."""
    queue_milliseconds: Annotated[int, Field(ge=1, le=60_000)] = 100
    """Load that a replica cannot bear is refused with 429 and Retry-After: some of the requests, as soon as they wait longer than this
    before they are begun. Requests of /v1/batch are refused first, events never."""
    online: Online = Field(default_factory=Online)
    """What answers know of the events since their version was trained."""
    answer_kafka_requests: bool = False
    """Whether questions that are put to the topic of requests with `ask: true` are answered on the topic of responses. Whoever may write
    there may ask: the brokers decide, not the API's tokens."""
    popularity: Popularity = Field(default_factory=Popularity)
    """What users of whom nothing is known get."""
    exploration: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Part of the answers to users of whom nothing is known whose last place is given to an item that nobody has liked yet, drawn by lot;
    the log tells how likely it was."""
    shuffle: Shuffling | None = None
    """Part of the answers whose order is drawn by lot. Default: none; off-policy gates then abstain."""
    access: Access = Field(default_factory=Access)
    """Who may ask, besides the bearers of the API's own tokens."""
    token_secret_ref: SecretKey | None = None
    """The bearer token of the API. Default: one is made, in the Secret <name>-api, key `token`."""


_URI = "has({0}.data) && has({0}.data.snapshot) && has({0}.data.snapshot.storageURI) ? {0}.data.snapshot.storageURI : ''"
_URI_IS_FIXED = "data.snapshot.storageURI cannot be changed"


class ModelSpec(Resource):
    """What is wanted."""

    model_config = Resource.model_config | {
        "json_schema_extra": cel(
            (
                f"({_URI.format('self')}) == ({_URI.format('oldSelf')})",
                f"{_URI_IS_FIXED}: what was trained stands there; make another model",
                (
                    f"'{_URI_IS_FIXED} from \"' + ({_URI.format('oldSelf')}) + '\" to \"' + ({_URI.format('self')})"
                    " + '\": what was trained stands there; make another model'"
                ),
            ),
            (
                f"has(self.data.catalogue) || !([self.model.algorithm] + self.model.baselines).exists(name, name in {_BY_CONTENT})",
                "model: TwoTower and Hybrid learn from what items are: set spec.data.catalogue, or choose another algorithm",
            ),
            (
                "self.rollout.strategy != 'Interleave' || self.serving.payloadLogging.mode == 'Full'",
                (
                    "rollout: strategy Interleave needs every answer logged, so that its verdict can be recomputed: set"
                    " spec.serving.payloadLogging.mode Full, or choose another strategy"
                ),
            ),
        )
    }

    suspend: bool = False
    """No ingest, no training, no share changes; what serves goes on serving."""
    revision_history_limit: Annotated[int, Field(ge=1, le=100)] = 10
    """How many ended versions are kept as objects."""
    ray: Ray
    """The Ray cluster that ingests, trains and serves."""
    kafka: Kafka
    """Where events come from."""
    events: Events = Field(default_factory=Events)
    """What the events hold beyond the built-in fields, and when one repeats another."""
    data: Data = Field(default_factory=Data)
    """Events and snapshots."""
    model: Model = Field(default_factory=Model)
    """What is trained."""
    training: Training = Field(default_factory=Training)
    """When and how a version is made."""
    gates: Annotated[
        list[Gate],
        Field(max_length=32, json_schema_extra=list_map("name")),
    ] = Field(default_factory=default_gates)
    """What a version must hold before any user sees it. Default: beats the baselines, is not clearly worse than the champion. Guards
    against plainly broken versions stand beside them."""
    rollout: Rollout = Field(default_factory=Rollout)
    """How a version replaces another."""
    serving: Serving = Field(default_factory=Serving)
    """How answers are given."""
    notifications: Annotated[list[Notification], Field(max_length=8, json_schema_extra=list_map("name"))] = []
    """Who is told of decisions by webhooks. No pass waits for them."""
    registry: Registry = Field(default_factory=Registry)
    """Where versions are shown besides the store. Default: nowhere."""


class ServedVersion(Resource):
    """A version that takes traffic."""

    version: str
    """Its name."""
    digest: str
    """Its digest, verified by the replicas."""
    weight: int
    """Percent of users, as the replicas report it."""
    since: datetime | None = None
    """Since when it has been the champion."""


class LastUpkeep(Resource):
    """The last run of upkeep: compaction and retention."""

    run: int
    """Its number."""
    time: datetime
    """When it was done."""
    files: int
    """Files of all tables afterwards."""
    size_bytes: int
    """Their size."""
    oldest_sequence: int | None = None
    """The oldest snapshot that is left."""
    message: str
    """What was done, with numbers."""


class FurthestBehind(Resource):
    """The partition whose oldest uncovered record has waited longest."""

    topic: str
    """Its topic."""
    partition: int
    """Its number."""
    records: int
    """Its part of lagRecords."""
    since: datetime
    """Since when the oldest of them could be read."""


class Ingestion(Resource):
    """Events to snapshots."""

    rows: int
    """Events in the newest snapshot."""
    lag_records: int
    """Offsets on the topics of events and answers that can be read and that it does not cover; 0 when all records are covered."""
    dead_letters: int
    """Records put aside since the beginning."""
    dead_letter_fraction: str | None = None
    """Part of the newest records that was put aside, a decimal string; maxDeadLetterFraction bounds it."""
    sequence: int
    """Its manifest."""
    last_snapshot_time: datetime
    """When it was committed."""
    storage_uri: str = ""
    """Where snapshots and versions are kept, resolved."""
    last_upkeep: LastUpkeep | None = None
    """Compaction and retention."""
    lag_seconds: int = 0
    """How long the oldest of them could have been read by now; 0 without any."""
    furthest_behind: FurthestBehind | None = None
    """Where that one is; absent without lag."""
    consumers: int = 1
    """Processes that read."""


class CatalogueStatus(Resource):
    """How complete the catalogue is, as ingest read it last."""

    items: int
    """Rows that are items."""
    refused: int
    """Rows that are none; the report in the store, catalogue/report.json, names the first 20 with their lines."""
    with_title: str
    """Part of the items that has a title, a decimal string."""
    with_genres: str
    """Part that has genres."""
    with_text: str
    """Part that has text."""
    message: str
    """Why it cannot be read, or the first refused row; empty when all is well."""


class Quality(Resource):
    """The champion's held-out metrics (decimal strings)."""

    ndcg10: str
    """NDCG@10."""
    hr10: str
    """HR@10."""


class ServingRetry(Resource):
    """Ray Serve has given the application up, and it is sent again with growing pauses."""

    attempts: int
    """How often it was sent again."""
    next_time: datetime
    """From when on it is sent once more, if it has not started by then."""


class ServingStatus(Resource):
    """The serving application."""

    replicas: int
    """Wanted."""
    ready_replicas: int
    """Running and serving the wanted record."""
    epoch: int
    """Of the record last sent."""
    url: str
    """Where the API answers."""
    selector: str
    """Label selector, for the scale subresource."""
    retry: ServingRetry | None = None
    """Only while it does not start."""


class Freshness(Resource):
    """How long events took to be known to the answers: the slowest replica, over the last five minutes."""

    p50_milliseconds: int
    """The median; an upper bound."""
    p99_milliseconds: int
    """The 99th percentile; an upper bound."""
    target_milliseconds: int
    """What it should be at most."""
    events: int
    """How many events it was measured on, in the replica that saw most."""


class HistoryEntry(Resource):
    """How one rollout ended."""

    version: str
    """Of the candidate."""
    outcome: str
    """Promoted, ReturnedTo, RolledBack, Aborted, Superseded, Rejected or Failed."""
    time: datetime
    """When."""
    message: str
    """Why, with numbers."""


class Quarantined(Resource):
    """Bytes that were sent back: no version that has them is tried."""

    digest: Annotated[str, Field(max_length=128)]
    """What they hash to."""
    version: Annotated[str, Field(max_length=63)]
    """Who had them."""
    since: datetime
    """When its rollout ended."""


class ModelStatus(Resource):
    """What is. Machines read conditions; the phase is for people."""

    observed_generation: int = 0
    """The spec's generation that this status was made from."""
    phase: str = "Pending"
    """Pending, Ingesting, Training, Preflight, Deploying, Canary, Serving, Suspended or Stalled."""
    champion: ServedVersion | None = None
    """What serves."""
    challenger: ServedVersion | None = None
    """What tries to replace it."""
    cluster: KeptCluster | None = None
    """The Ray cluster that KubeRay keeps; absent with spec.ray.dashboardURL."""
    replication: Replication | None = None
    """Topics."""
    ingestion: Ingestion | None = None
    """Events to snapshots."""
    catalogue: CatalogueStatus | None = None
    """Which items there are."""
    quality: Quality | None = None
    """The champion's held-out metrics."""
    triggers: Annotated[list[TriggerStatus], Field(max_length=16, json_schema_extra=list_map("key"))] = []
    """What triggers remember."""
    serving: ServingStatus | None = None
    """The serving application."""
    freshness: Freshness | None = None
    """How long events take to be known to the answers."""
    told: Told | None = None
    """How far decisions have been told by Events."""
    notifications: Annotated[list[NotificationStatus], Field(max_length=8, json_schema_extra=list_map("name"))] = []
    """How far each place of spec.notifications has been told."""
    audit: AuditStatus | None = None
    """How far decisions are on the topic with the role Decisions."""
    quarantined: Annotated[list[Quarantined], Field(max_length=100)] = []
    """The last 100 digests that are not tried again, oldest first."""
    history: Annotated[list[HistoryEntry], Field(max_length=20)] = []
    """The last 20 rollouts, newest first."""
    conditions: Annotated[
        list[Condition],
        Field(max_length=32, json_schema_extra=list_map("type")),
    ] = []
    """The contract for machines."""
