"""Events on Kafka: what a producer may write, and what ingest, serving and training read.

Every record's value is one JSON object (UTF-8); its key is the `user_id`, so that one user's events keep their order.
Times are milliseconds since the Unix epoch, UTC.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from recsys_schemas.artifact import Artifact
from recsys_schemas.filters import Context, Filters
from recsys_schemas.words import Identifier, ItemWord

EpochMilliseconds = Annotated[int, Field(ge=0, le=4_102_444_800_000)]
"""Milliseconds since 1970-01-01T00:00:00Z, up to the year 2100."""


class _Event(BaseModel):
    """Unknown fields are allowed in events: schemas evolve by adding, and an old reader must not break."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True, protected_namespaces=())


class WatchEvent(_Event):
    """A user watched, read, played or bought an item: implicit feedback."""

    event_id: Identifier
    """Unique per event; a producer that retries sends the same id again."""
    user_id: Identifier
    """Who."""
    item_id: Identifier
    """What."""
    timestamp: EpochMilliseconds
    """When it happened."""
    fraction: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 1.0
    """How much of the item was consumed, 0 to 1."""
    request_id: Identifier | None = None
    """The answer that led here, if any: credit goes to the version that gave it."""


class RateEvent(_Event):
    """A user rated an item: explicit feedback."""

    event_id: Identifier
    """Unique per event; a producer that retries sends the same id again."""
    user_id: Identifier
    """Who."""
    item_id: Identifier
    """What."""
    timestamp: EpochMilliseconds
    """When it happened."""
    rating: Annotated[float, Field(ge=0, le=5, allow_inf_nan=False)]
    """Stars, 0 to 5."""
    request_id: Identifier | None = None
    """The answer that led here, if any."""


class Level(StrEnum):
    """How well somebody knows what there is."""

    BEGINNER = "beginner"
    """What most people like says more than their own words."""
    REGULAR = "regular"
    """As measured."""
    EXPERT = "expert"
    """Their own words say more."""


class PreferenceEvent(_Event):
    """What a user says of themselves before anything is known of them. The newest of a user counts; no value takes all of it back.

    Its topic is compacted: the newest record of each key stays for as long as the topic is there.
    """

    user_id: Identifier
    """Who; the record's key."""
    timestamp: EpochMilliseconds
    """When it was said."""
    genres: Annotated[list[ItemWord], Field(max_length=32)] = []
    """Genres that they like, in any case."""
    items: Annotated[list[Identifier], Field(max_length=200)] = []
    """Items that they like."""
    level: Level = Level.REGULAR
    """How well they know what there is."""


class ItemEvent(_Event):
    """What is known of an item now: it takes the place of what the catalogue's file says of it. No value takes it back.

    Its topic is compacted: the newest record of each key stays for as long as the topic is there.
    """

    item_id: Identifier
    """As in the events; the record's key."""
    timestamp: EpochMilliseconds
    """When it was said."""
    withdrawn: bool = False
    """True: it is not shown any more."""
    title: Annotated[str, Field(max_length=1024)] | None = None
    """For people."""
    genres: Annotated[list[ItemWord], Field(max_length=64)] | None = None
    """Its genres."""
    text: Annotated[str, Field(max_length=65_536)] | None = None
    """What describes it."""
    category: ItemWord | None = None
    """The one shelf that it stands on."""
    tags: Annotated[list[ItemWord], Field(max_length=64)] | None = None
    """Further words that questions may ask for."""
    released_at: EpochMilliseconds | None = None
    """Since when it has been there."""


class RequestEvent(_Event):
    """One question: as it was put to the serving API and logged, or, with `ask`, put here by whoever waits for the answer."""

    request_id: Identifier
    """Unique per request."""
    user_id: Identifier
    """Who asked."""
    k: Annotated[int, Field(ge=1, le=1000)]
    """How many items were asked for."""
    timestamp: EpochMilliseconds
    """When it arrived."""
    ask: bool = False
    """True: it is to be answered on the topic of responses, where `asked_id` is this request_id (spec.serving.answerKafkaRequests)."""
    exclude: Annotated[list[Identifier], Field(max_length=1000)] = []
    """Asked by Kafka: items not to show."""
    filters: Filters | None = None
    """Which items may be shown at all."""
    context: Context = {}
    """What is known of the moment."""


class RankedItem(Artifact):
    """One place of an answered list."""

    item_id: Identifier
    """The item."""
    score: Annotated[float, Field(allow_inf_nan=False)]
    """The model's score: comparable within one answer only."""
    propensity: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Probability that the logging policy showed this item at this place."""
    model_version: Identifier | None = None
    """In a mixed list: the version whose item it is."""


class ResponseEvent(_Event):
    """One answer of the serving API, as it was logged: what off-policy evaluation and credit need."""

    request_id: Identifier
    """The request that it answers."""
    user_id: Identifier
    """Who asked."""
    timestamp: EpochMilliseconds
    """When it was answered."""
    model_version: Identifier
    """The version that answered."""
    variant: str
    """The arm: stable, candidate or fallback."""
    reason: str
    """Why these items: personal, popular or fallback."""
    items: list[RankedItem]
    """The list, best first."""
    epoch: Annotated[int, Field(ge=0)]
    """The serving record in force when it was answered."""
    latency_ms: Annotated[float, Field(ge=0)]
    """Time spent in the replica, milliseconds."""
    asked_id: Identifier | None = None
    """Of a question that came by Kafka: its own request_id. An answer may come twice after a failure; it is then of the same asked_id."""
    problem: str | None = None
    """Why a question that came by Kafka could not be answered; then there are no items."""


class AuditEvent(_Event):
    """One call of the API that changes what others get, or was not allowed to: who, what, and how it ended. Never a token."""

    audit_id: Identifier
    """Unique per call."""
    timestamp: EpochMilliseconds
    """When it was answered."""
    model: str
    """Namespace and name of the model."""
    replica_id: Identifier
    """Who answered."""
    client: Annotated[str, Field(max_length=300)]
    """Who asked: `key:` and the first digits of the key's hash, or `jwt:` and the token's subject; the record's key."""
    method: Annotated[str, Field(max_length=16)]
    """POST or DELETE."""
    path: Annotated[str, Field(max_length=300)]
    """What was asked for."""
    status: Annotated[int, Field(ge=100, le=599)]
    """How it ended: the answer's HTTP status."""


class DeadLetterReason(StrEnum):
    """Why a record could not be an event. A record with several faults is put aside for the first of them, in this order."""

    EMPTY = "Empty"
    """No value, a tombstone among them."""
    TOO_LARGE = "TooLarge"
    """The value is larger than 1 MiB."""
    UNPARSEABLE = "Unparseable"
    """The value is not one JSON object in UTF-8."""
    UNKNOWN_SCHEMA = "UnknownSchema"
    """The value's schema id is not in the schema registry."""
    NOT_A_NUMBER = "NotANumber"
    """NaN or an infinity stands where a number must."""
    SCHEMA_MISMATCH = "SchemaMismatch"
    """A field is missing, of another type, or out of its bounds."""
    NULL_KEY = "NullKey"
    """The record has no key: its user's events would lose their order."""
    KEY_MISMATCH = "KeyMismatch"
    """The record's key is not its user_id: the same."""
    FUTURE_TIME = "FutureTime"
    """The event claims to be more than a day newer than its record."""
    UNKNOWN_ITEM = "UnknownItem"
    """The catalogue does not have the item, and the model asks to put such events aside."""
    DUPLICATE = "Duplicate"
    """A row of the same event_id stands before it in the same partition: a producer sent it again."""


class DeadLetter(Artifact):
    """A record that fits no schema, with where it stood and why it was put aside. Written to the dead-letter topic."""

    topic: str
    """The source topic."""
    partition: Annotated[int, Field(ge=0)]
    """The source partition."""
    offset: Annotated[int, Field(ge=0)]
    """The source offset."""
    timestamp: int
    """The broker's record timestamp, milliseconds."""
    reason: DeadLetterReason
    """The class of the failure."""
    detail: str
    """Names the field, the value seen and what would fit."""
    payload_sha256: str
    """Hex digest of the record's raw value."""
    payload_base64: str
    """The raw value, cut to 64 KiB: nothing is lost for records that a person would mend."""
