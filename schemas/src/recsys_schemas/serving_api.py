"""The serving API: what is asked, and what is answered."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from recsys_schemas.artifact import Artifact
from recsys_schemas.catalogue import CatalogueItem
from recsys_schemas.events import EpochMilliseconds, Identifier, ItemWord, Level, RankedItem
from recsys_schemas.filters import Context, Filters
from recsys_schemas.serving_evidence import SwitchAsk
from recsys_schemas.serving_record import Variant


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


def _whole(number: object) -> object:
    """JSON knows no integers: 20.0 is one, in another spelling (RFC 8259, section 6)."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


class Asked(Artifact):
    """What every question may say."""

    k: Annotated[int, Field(ge=1, le=100), BeforeValidator(_whole)] = 20
    """How many items."""
    exclude: Annotated[list[Identifier], Field(max_length=1000)] = Field(default_factory=list, json_schema_extra={"default": []})
    """Items not to show, besides those that the answer goes by."""
    filters: Filters | None = None
    """Which items may be shown at all; those of the catalogue and its live records."""
    context: Context = Field(default_factory=dict, json_schema_extra={"default": {}})
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
    """POST /v1/popular: what is liked these days, the last second included. Answered by the stable version."""


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
