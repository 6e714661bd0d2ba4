"""The record that steers what is served, and what a replica is begun with."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from recsys_schemas.artifact import Artifact
from recsys_schemas.kafka_access import KafkaSecurity

MOST_ARMS = 8
"""Each is mapped in every replica."""


class Variant(StrEnum):
    """Which arm answered."""

    STABLE = "stable"
    CANDIDATE = "candidate"
    FALLBACK = "fallback"
    HOLDBACK = "holdback"
    """The version before the champion, which some users keep."""
    INTERLEAVED = "interleaved"
    """The list is mixed from the stable arm's and the candidate's: each item names its version."""
    PREVIEW = "preview"
    """The candidate, asked for by a tester: no evidence."""


class FallbackStep(StrEnum):
    """What is tried, in the order given, when the version that a user is assigned to does not answer in time or well."""

    APPROXIMATE = "Approximate"
    """The same version, from the items near the user only: 100,000 items and more, models of items' vectors (ALS, IALS)."""
    CHAMPION = "Champion"
    """The version that serves the others, where a candidate failed."""
    CACHED = "Cached"
    """The user's last answer, if it is remembered and its version still serves."""
    POPULAR = "Popular"
    """What is liked most now."""


FALLBACK = (FallbackStep.APPROXIMATE, FallbackStep.CHAMPION, FallbackStep.CACHED, FallbackStep.POPULAR)
"""The steps where nothing else is said."""


class Role(StrEnum):
    """What a token may do."""

    READER = "reader"
    """Ask for recommendations."""
    WRITER = "writer"
    """Ask for recommendations and send events."""
    OPERATOR = "operator"
    """Read evidence and metrics."""
    ADMIN = "admin"
    """Ask that another version serves; read evidence and metrics."""
    TESTER = "tester"
    """Ask for recommendations, and name the arm that is to answer: `x-recsys-variant: candidate`."""
    METRICS = "metrics"
    """Read metrics."""


class Arm(Artifact):
    """One version in the replicas."""

    version: str
    """Its name."""
    digest: str
    """What its bytes must hash to before they are mapped."""
    variant: Literal[Variant.STABLE, Variant.CANDIDATE, Variant.HOLDBACK]
    """stable, candidate or holdback."""
    share: Annotated[int, Field(ge=0, le=100)]
    """Percent of users. 0: loaded and ready, seen by nobody."""
    mirrored: Annotated[int, Field(ge=0, le=100)] = 0
    """Of so many percent of the users the questions are answered by this arm too, beside the request path, and nobody sees it."""
    interleaved: Annotated[int, Field(ge=0, le=100)] = 0
    """So many percent of the users get lists that are mixed from the stable arm's and this one's."""
    ceded: Annotated[int, Field(ge=0, le=100)] = 0
    """Of an arm that left a test: so many percent of the users keep its place on the line, and get the stable arm, whose share has them. So
    nobody moves from one arm that is compared to another."""


class Skip(Artifact):
    """Records of one partition that the live knowledge of the replicas leaves out: a bad hour, undone."""

    topic: str
    """Kafka topic of events."""
    partition: Annotated[int, Field(ge=0)]
    """Its partition."""
    first: Annotated[int, Field(ge=0)]
    """The first offset that is left out."""
    last: Annotated[int, Field(ge=0)]
    """The last one."""

    def has(self, topic: str, partition: int, offset: int) -> bool:
        """Whether a record is one of them."""
        return self.first <= offset <= self.last and partition == self.partition and topic == self.topic


class Shuffle(Artifact):
    """Answers whose best items stand in an order drawn by lot."""

    share: Annotated[float, Field(gt=0, le=1)]
    """Part of the answers."""
    depth: Annotated[int, Field(ge=2, le=1000)]
    """So many of the best items."""


class ServingRecord(Artifact):
    """The deployment's `user_config`: which arms, with what shares. One small value, replaced as a whole."""

    epoch: Annotated[int, Field(ge=0)]
    """Grows with each change; replicas report the one that they serve."""
    salt: str
    """Part of the hash that splits the users."""
    arms: Annotated[list[Arm], Field(max_length=MOST_ARMS)]
    """Shares sum to 100, or the list is empty before the first version."""
    attribution_seconds: Annotated[float, Field(gt=0)] = 300.0
    """Answers, and the rewards that name them, are counted as impressions and rewards once the answer is this old:
    the request id carries its time, so that a young arm is not judged by answers that could not be rewarded yet."""
    tokens: Annotated[dict[str, Role], Field(max_length=256)]
    """SHA-256 (hex) of a bearer token → its role."""
    skips: Annotated[list[Skip], Field(max_length=1000)] = []
    """Records that the replicas' live knowledge leaves out."""
    shuffle: Shuffle | None = None
    """In what part of the answers chance decides the order; none: in none."""


class JwtTrust(Artifact):
    """Whose signed tokens (RFC 7519) are taken, besides the API's own: RS256 and ES256."""

    issuer: str
    """What `iss` must be."""
    audience: str
    """What `aud` must have."""
    jwks_uri: str
    """Where the issuer publishes its keys."""
    roles_claim: str = "roles"
    """The claim that lists roles, or has them with spaces between."""
    leeway_seconds: Annotated[int, Field(ge=0, le=300)] = 30
    """How far clocks may differ."""


class RateLimit(Artifact):
    """How often one client may ask one replica."""

    per_second: Annotated[float, Field(gt=0)]
    """On and on; a batch counts as its requests."""
    burst: Annotated[int, Field(ge=1)]
    """At once."""


class ContextKey(Artifact):
    """One thing that is known of the moment, and the values that are told apart."""

    name: str
    """As in a question's `context`, and as the field of the events that says it."""
    values: list[str] = []
    """Values, in any case; others say nothing."""
    hours: list[int] = []
    """Instead of values: the hours at which the parts of the day begin, ascending; nobody has to say it."""
    time_zone: str | None = None
    """Of the hours; none: UTC."""


class ContextCounting(Artifact):
    """How likes are counted by context."""

    keys: Annotated[list[ContextKey], Field(min_length=1, max_length=8)]
    """What is told apart."""
    half_life_days: Annotated[float, Field(gt=0)]
    """After so long a like counts for half."""
    shrinkage: Annotated[float, Field(gt=0)]
    """So many likes of an item in a context weigh as much as what is liked everywhere."""


class ServingArguments(Artifact):
    """The application's `args`: what cannot change without a code update."""

    namespace: str
    """Of the model."""
    name: str
    """Of the model."""
    uid: str
    """Of the model."""
    storage_uri: str
    """Where versions are kept."""
    bootstrap_servers: list[str]
    """Kafka brokers for logs and events."""
    requests_topic: str
    """Where questions are logged."""
    responses_topic: str
    """Where answers are logged."""
    event_topics: dict[str, str]
    """Event type → topic, for POST /v1/events."""
    preferences_topic: str | None = None
    """Where users' preferences are kept; none: they cannot be sent."""
    items_topic: str | None = None
    """Where live records of items are kept; none: they cannot be sent."""
    audit_topic: str | None = None
    """Where audited calls are told; none: in the log alone."""
    contexts: ContextCounting | None = None
    """In which contexts likes are counted apart; none: in none."""
    exploration: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Part of the answers to users of whom nothing is known whose last place is given to an item that nobody has liked yet."""
    logged_percent: Annotated[int, Field(ge=0, le=100)] = 100
    """Of how many answers in a hundred question and answer are logged, by the request's id."""
    answers_kafka: bool = False
    """Whether questions on the topic of requests are answered on that of responses."""
    allowed_origins: list[str] = []
    """Origins whose pages may ask from a browser."""
    timeout_ms: Annotated[float, Field(gt=0)]
    """Later than this an answer is given by the fallback."""
    fallback: Annotated[list[FallbackStep], Field(min_length=1, max_length=4)] = list(FALLBACK)
    """What is tried when the assigned version does not answer in time or well; the last step is Popular."""
    queue_ms: Annotated[float, Field(gt=0)] = 100.0
    """When requests wait longer than this before they are begun, some are refused with 429."""
    kafka_security: KafkaSecurity | None = None
    """How the brokers are reached, by names of Secrets; none: in plain text."""
    jwt: JwtTrust | None = None
    """Whose signed tokens are taken; none: only the API's own."""
    rate_limit: RateLimit | None = None
    """How often one client may ask; none: as often as it likes."""
