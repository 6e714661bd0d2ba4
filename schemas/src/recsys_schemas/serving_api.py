"""The serving API and the record that steers it."""

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from math import ceil, log2
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from recsys_schemas.artifact import Artifact
from recsys_schemas.catalogue import CatalogueItem
from recsys_schemas.events import EpochMilliseconds, Identifier, ItemWord, Level, RankedItem
from recsys_schemas.filters import Context, Filters
from recsys_schemas.kafka_access import KafkaSecurity


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


class Reason(StrEnum):
    """Why these items."""

    PERSONAL = "personal"
    SESSION = "session"
    SIMILAR = "similar"
    ONBOARDING = "onboarding"
    POPULAR = "popular"
    CONTEXT = "context"
    APPROXIMATE = "approximate"
    CACHED = "cached"
    FALLBACK = "fallback"


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


def _whole(number: object) -> object:
    """JSON knows no integers: 20.0 is one, in another spelling (RFC 8259, section 6)."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


class Asked(Artifact):
    """What every question may say."""

    k: Annotated[int, Field(ge=1, le=100), BeforeValidator(_whole)] = 20
    """How many items."""
    exclude: Annotated[list[Identifier], Field(max_length=1000)] = []
    """Items not to show, besides those that the answer goes by."""
    filters: Filters | None = None
    """Which items may be shown at all; those of the catalogue and its live records."""
    context: Context = {}
    """What is known of the moment, such as `{"device": "tv"}`: strangers get what is liked there, of the keys that
    spec.serving.popularity.contexts declares; all of it is logged with the question, for whoever evaluates answers."""
    deadline_ms: Annotated[float, Field(gt=0, le=60_000)] | None = None
    """Later than this the answer is given by the fallback; spec.serving.timeoutMilliseconds where that is less or nothing is said."""


class RecommendationRequest(Asked):
    """POST /v1/recommendations: for a user, by what they liked up to a second ago. Items that they have seen are not shown."""

    user_id: Identifier
    """For whom."""


class SessionRequest(Asked):
    """POST /v1/sessions: for somebody who is nobody's user yet, by the items of the session."""

    session_id: Identifier
    """Chosen by the client, the same throughout the session: the same arm answers, and events may name it as their user_id."""
    items: Annotated[list[Identifier], Field(min_length=1, max_length=200)]
    """What was looked at or liked, the newest last. Items that the version does not know say nothing."""


class SimilarItemsRequest(Asked):
    """POST /v1/similar-items: what is liked by those who like an item. Answered by the stable version."""

    item_id: Identifier
    """Which."""


class PopularRequest(Asked):
    """POST /v1/popular: what is liked most now, the last second included. Answered by the stable version."""


class BatchRequest(Artifact):
    """POST /v1/batch: several users at once."""

    requests: Annotated[list[RecommendationRequest], Field(min_length=1, max_length=100)]
    """Each is answered as it would be alone."""


class RecommendationResponse(Artifact):
    """The best items for one user."""

    request_id: Identifier
    """Send it back with the event that follows, so that credit goes to the right version."""
    user_id: Identifier
    """For whom: the user, the session, or `anonymous`."""
    items: list[RankedItem]
    """Best first; at most k."""
    model_version: str
    """The version that answered."""
    variant: Variant
    """Its arm."""
    reason: Reason
    """personal: from the user's own history; session, similar: from the items given; onboarding: from what the user said they like;
    popular: nothing is known of the user or the items; context: the same, and what is liked in the context that was said; approximate: as
    personal, among the items near the history only, because scoring all of them would have been late; cached: the user's last answer;
    fallback: popular, because the model was late or broken."""


class BatchResponse(Artifact):
    """The answers, in the order of the requests."""

    answers: list[RecommendationResponse]
    """One for each request."""


class PreferencesRequest(Artifact):
    """POST /v1/users/{user_id}/preferences: what a user says of themselves. It takes the place of what they said before."""

    genres: Annotated[list[ItemWord], Field(max_length=32)] = []
    """Genres that they like, in any case."""
    items: Annotated[list[Identifier], Field(max_length=200)] = []
    """Items that they like."""
    level: Level = Level.REGULAR
    """How well they know what there is: an expert's words weigh more beside what most people like, a beginner's less."""


class PreferencesResponse(Artifact):
    """What a user has said of themselves; as long as nothing they did is known, their answers go by it."""

    user_id: Identifier
    """Who."""
    said_at: EpochMilliseconds
    """When."""
    genres: list[str]
    """Genres that they like."""
    items: list[str]
    """Items that they like."""
    level: Level
    """How well they know what there is."""


class ItemsRequest(Artifact):
    """POST /v1/items: what is known of items now. It takes the place of what the catalogue's file says of them."""

    items: Annotated[list[CatalogueItem], Field(min_length=1, max_length=1000)]
    """New items may be shown from then on; the file of the catalogue should have them before the next version is trained."""


class ItemResponse(Artifact):
    """What a live record says of one item."""

    item: CatalogueItem
    """As it was sent."""
    said_at: EpochMilliseconds
    """When."""
    withdrawn: bool
    """Whether it is not shown any more."""


class EventsRequest(Artifact):
    """POST /v1/events: events of one type, acknowledged when Kafka has them on all in-sync replicas."""

    event_type: Literal["watch", "rate"]
    """Which schema they fit."""
    events: Annotated[list[dict[str, str | bool | int | float | None]], Field(min_length=1, max_length=1000)]
    """The events, as in `events/*.schema.json`."""


class EventsResponse(Artifact):
    """All events of the request are on Kafka."""

    accepted: int
    """How many."""


class SwitchRequest(Artifact):
    """POST /v1/model:switch: all users get another version, one that served before and is still loaded."""

    version: Annotated[str, Field(min_length=1, max_length=63)]
    """Which: `retained` of GET /v1/model names those that can be had."""
    reason: Annotated[str, Field(max_length=500)] = ""
    """Why; the decision tells it."""


class SwitchAsk(Artifact):
    """A switch that was asked for: the operator makes a rollout of it, once."""

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]
    """A function of the version and of the record that was in force: asking twice is asking once."""
    version: str
    """What is to serve all users."""
    instead_of: str
    """What served when it was asked: once another does, the ask is over."""
    by: str
    """Who asked: the client's name."""
    reason: str = ""
    """Why."""
    age_seconds: Annotated[float, Field(ge=0)]
    """How long ago."""


class SwitchResponse(Artifact):
    """What becomes of an ask."""

    version: str
    """What was asked for."""
    state: Literal["Serving", "Asked"]
    """Serving: it serves already, and nothing is done. Asked: the operator takes it up with its next look; GET /v1/model says when it
    serves."""
    id: str | None = None
    """Of the ask; none where it serves already."""


class Problem(Artifact):
    """RFC 9457 problem details: every error answer."""

    type: str = "about:blank"
    """A URI that names the class of the problem."""
    title: str
    """The class in words."""
    status: int
    """HTTP status."""
    detail: str
    """Names the field, the value seen and the mend."""
    field: str | None = None
    """The field at fault, if one is."""


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
    arms: Annotated[list[Arm], Field(max_length=8)]
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


GROUPS = 64
"""Groups that users are hashed to, apart from the split. A user's answers are alike; groups of users differ only by chance and by arm."""


def stratum_of(shares: Mapping[str, int]) -> str:
    """Name of the shares (version → percent) in force: 8 hex digits, the same wherever the same versions have the same shares.

    What was counted under different shares must not be added up before it is compared: rewards change with the hour, and the arm
    that had more users then would take the hour's rate (Simpson's paradox in a ramp-up: Crook, Frasca, Kohavi & Longbotham 2009).
    """
    told = ",".join(sorted(f"{version}={share}" for version, share in shares.items() if share))
    return hashlib.blake2b(told.encode(), digest_size=4, person=b"stratum").hexdigest()


FOLDS = 16
"""Groups of users that latencies are kept for: user group % FOLDS."""
LATENCY_LEAST_MS = 0.1
"""Upper bound of the first latency bin."""
LATENCY_STEPS = 32
"""Bins in which the latency doubles: each is 2.2 % wider than the one before."""
LATENCY_BINS = 20 * LATENCY_STEPS
"""The last bin, beyond 100 s, is open."""


def latency_bin(milliseconds: float) -> int:
    """The bin of a latency: 0 for the fastest.

    >>> latency_bin(0.05), latency_bin(0.1), latency_bin(0.2), latency_bin(1e9)
    (0, 0, 32, 640)
    """
    if milliseconds <= LATENCY_LEAST_MS:
        return 0
    return min(LATENCY_BINS, ceil(LATENCY_STEPS * log2(milliseconds / LATENCY_LEAST_MS) - 1e-9))


def latency_edge(place: int) -> float:
    """Upper bound of a bin, milliseconds."""
    return LATENCY_LEAST_MS * 2 ** (place / LATENCY_STEPS)


class StratumCounters(Artifact):
    """What one arm did in one replica while the shares were the same: each list has one number for each group of users."""

    requests: list[int]
    """Requests assigned to the arm."""
    errors: list[int]
    """Of those, answered by another because this one failed."""
    impressions: list[int]
    """Answers that it gave itself under these shares, and that are older than the attribution time."""
    rewards: list[int]
    """Of those, named by a later event."""
    fallbacks: list[int] = []
    """Of the requests, those that the arm answered with what is popular, because it knew nothing of who asked."""
    empty_lists: list[int] = []
    """Of the requests, those that the arm answered with no item at all."""
    latency: dict[int, list[int]] = {}
    """Latency bin (see `latency_bin`) → requests in it, by fold of users; kept for the newest few sets of shares only."""


class ArmCounters(Artifact):
    """What one arm did in one replica since the replica started; only ever grows."""

    requests: int = 0
    """Requests assigned to the arm."""
    errors: int = 0
    """Of those, answered by another arm or the fallback because this one failed."""
    late: int = 0
    """Of those errors, the ones that missed the deadline."""
    impressions: int = 0
    """Answers that this arm gave itself and that are older than the attribution time."""
    rewards: int = 0
    """Impressions that a later event named by its request id (at most one each)."""
    latency_ms_sum: float = 0.0
    """Sum of scoring times, milliseconds."""
    latency_buckets: dict[str, int] = {}
    """Upper bound in ms (as text, `+Inf` last) → number of requests not slower: cumulative, as in Prometheus."""
    strata: dict[str, StratumCounters] = {}
    """Name of the shares (see `stratum_of`) → what was counted under them; the newest few."""


class OnlineState(Artifact):
    """What one arm of a replica knows beyond its version: it follows the event topics from the card's offsets on."""

    caught_up: bool
    """Whether it knows all that was there when it began."""
    applied: Annotated[int, Field(ge=0)]
    """Events taken in."""
    unreadable: Annotated[int, Field(ge=0)]
    """Records that are no events; ingest says why."""
    users: Annotated[int, Field(ge=0)]
    """Users of whom something is remembered."""
    events: Annotated[int, Field(ge=0)]
    """Events of the last five minutes that the next two figures are of."""
    p50_ms: float | None
    """Median time from the event's record to the answers that know it, milliseconds; an upper bound, None beyond ten minutes."""
    p99_ms: float | None
    """The 99th percentile of the same."""
    skipped: list[Skip] = []
    """What is left out."""
    trouble: str = ""
    """Why it cannot follow; empty while it can."""


class ShadowCounters(Artifact):
    """What the answers showed that one version gave to copies of questions in one replica; only ever grows."""

    requests: list[int]
    """Copies answered, one number for each group of users."""
    errors: list[int]
    """Of those, failed or late."""
    dropped: int = 0
    """Copies that found no room."""
    late: int = 0
    """Of the errors, the ones that missed the deadline."""
    overlap_sum: float = 0.0
    """Sum of the parts of the best k items that the given answers have too."""
    correlation_sum: float = 0.0
    """Sum of Spearman's correlations of the order of the common items."""
    correlated: int = 0
    """Answers with at least two common items."""
    worth_sum: float = 0.0
    """Sum of what its lists would earn, each item by the rate at which it is rewarded when it is shown."""
    given_worth_sum: float = 0.0
    """The same of the answers that were given to those questions."""
    latency_ms_sum: float = 0.0
    """Sum of scoring times, milliseconds."""
    latency_buckets: dict[str, int] = {}
    """As in ArmCounters."""


class MixedCounters(Artifact):
    """Whose items users clicked in the mixed lists of one replica; each list has one number for each group of users."""

    against: str
    """The version that it was mixed with."""
    answers: list[int]
    """Mixed answers older than the attribution time."""
    wins: list[int]
    """Of those, with more clicks on the candidate's items."""
    losses: list[int]
    """With fewer."""
    ties: list[int]
    """With as many, and at least one."""


class ToldState(Artifact):
    """What one replica knows of preferences and of live records of items."""

    caught_up: bool
    """Whether it knows all that was there when it began."""
    users: Annotated[int, Field(ge=0)]
    """Users whose preferences it knows."""
    items: Annotated[int, Field(ge=0)]
    """Items with a live record."""
    unreadable: Annotated[int, Field(ge=0)]
    """Records that are none."""
    trouble: str = ""
    """Why it cannot follow; empty while it can."""


class ServerMetadata(Artifact):
    """GET /v2: who answers (Open Inference Protocol)."""

    name: str
    """Of the server."""
    version: str
    """Of the API."""
    extensions: list[str]
    """None: items are asked for by the routes under /v1."""


class ModelMetadata(Artifact):
    """GET /v2/models/{name}[/versions/{version}]: what answers (Open Inference Protocol)."""

    name: str
    """Of the model."""
    versions: list[str]
    """Versions that the replica which answers has mapped."""
    platform: str
    """The algorithm of the version, or of the stable one."""
    inputs: list[str]
    """None: a recommendation is asked for by the routes under /v1."""
    outputs: list[str]
    """None: the same."""


class ReplicaReport(Artifact):
    """What one replica serves and has counted."""

    replica_id: str
    """Ray Serve's id of the replica."""
    epoch: int
    """The record that it serves."""
    age_seconds: float
    """Since it last reported."""
    ready: dict[str, str]
    """Version → digest, of the arms that are mapped and verified."""
    refused: dict[str, str]
    """Version → why it could not be mapped."""
    counters: dict[str, ArmCounters]
    """Version → counters."""
    online: dict[str, OnlineState] = {}
    """Version → what it knows of the events since."""
    shadow: dict[str, ShadowCounters] = {}
    """Version → what its answers to copies of questions showed."""
    mixed: dict[str, MixedCounters] = {}
    """Candidate → whose items were clicked in mixed lists."""
    told: ToldState | None = None
    """What it knows of preferences and live items; none where the model has no topics of them."""
    switch: SwitchAsk | None = None
    """The newest switch that it was asked for, while it may be taken up."""
    record_ms: float | None = None
    """How long it took from the arrival of the record that it serves to the first answer by it; with a version to load, that too."""


class EvidenceResponse(Artifact):
    """GET /v1/evidence: every replica's last report."""

    replicas: list[ReplicaReport]
    """Also of replicas that are gone: what they counted stays counted."""


class ArmState(Artifact):
    """One arm of the wanted record, as one replica has it."""

    version: str
    """Its name."""
    digest: str
    """What its bytes must hash to."""
    variant: Literal[Variant.STABLE, Variant.CANDIDATE, Variant.HOLDBACK]
    """stable, candidate or holdback."""
    share: int
    """Percent of users, as wanted."""
    mapped: bool
    """Whether it is verified and mapped in this replica."""
    refused: str | None = None
    """Why it could not be mapped."""


class ModelResponse(Artifact):
    """GET /v1/model: what the replica that answers serves, and what it waits for."""

    namespace: str
    """Of the model."""
    name: str
    """Of the model."""
    replica_id: str
    """Ray Serve's id of the replica."""
    ready: bool
    """Whether a stable version answers."""
    epoch: int
    """The record that is served in full; -1 before there is one."""
    wanted_epoch: int
    """The newest record received; -1 before there is one. Larger than epoch while an arm is being loaded."""
    arms: list[ArmState]
    """The arms of the newest record."""
    retained: list[str] = []
    """Versions that served before and are loaded here: POST /v1/model:switch goes to them at once."""
    switch: SwitchAsk | None = None
    """The newest switch that this replica was asked for, while it may be taken up."""
    refused_record: str | None = None
    """Why the last `user_config` was refused, if it was."""
