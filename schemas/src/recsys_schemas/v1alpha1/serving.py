"""`spec.serving`: how answers are given, to whom, and by what knowledge."""

from typing import Annotated, Literal

from pydantic import Field

from recsys_schemas.v1alpha1.ray_cluster import URL, SecretKey
from recsys_schemas.v1alpha1.resource import Resource, cel, list_map
from recsys_schemas.v1alpha1.security import Name
from recsys_schemas.v1alpha1.triggers import ZONE


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
