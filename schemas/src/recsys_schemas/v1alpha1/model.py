"""RecommenderModel: the only kind that a user must write."""

from typing import Annotated, Literal

from pydantic import Field

from recsys_schemas.v1alpha1.events import Events
from recsys_schemas.v1alpha1.fitting import Search, WorkerResources
from recsys_schemas.v1alpha1.gates import Gate, default_gates
from recsys_schemas.v1alpha1.ray_cluster import Ray
from recsys_schemas.v1alpha1.registry import Registry
from recsys_schemas.v1alpha1.resource import Resource, cel, list_map
from recsys_schemas.v1alpha1.serving import Serving
from recsys_schemas.v1alpha1.strategy import Rollout
from recsys_schemas.v1alpha1.telling import Notification
from recsys_schemas.v1alpha1.topics import Kafka
from recsys_schemas.v1alpha1.triggers import Trigger

MOST_CONSUMERS = 16
CATALOGUE = r"^(file:///[!-~]+|s3://[!-.0-~]+/[!-~]+)\.(csv|parquet)$"
STORAGE = r"^(file:///[!-~]+|s3://[!-.0-~]+(/[!-~]*)?)$"


def _number(number: str) -> str:
    # As it is with digits: `string()` has no bounded length.
    return f"'{''.join(f'{value:2}' for value in range(MOST_CONSUMERS + 1))}'.substring(2 * {number}, 2 * {number} + 2).trim()"


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
    """ItemItem, NextItem: neighbours kept for each item. Hybrid: items that speak for one that few liked, at most 1000."""
    similarity: Literal["Cosine", "BM25"] | None = None
    """ItemItem: how alike two items are. BM25 trusts items more that many users liked."""
    half_life_days: Annotated[float | None, Field(gt=0, le=36_500)] = None
    """RecentPopularity, Hybrid: after so many days a like is worth half."""
    ridge: Annotated[float | None, Field(gt=0, le=1_000_000)] = None
    """EASE: weight of the penalty."""
    reach: Annotated[int | None, Field(ge=0, le=1000)] = None
    """EASE: places in a user's order in time within which two items count more as a pair; 0: all alike. NextItem: those looked at."""
    item_shrinkage: Annotated[float | None, Field(ge=0, le=10_000)] = None
    """Hybrid: likes after which an item speaks for itself as much as the items do that are like it by content; 0: from the first on."""
    new_item_place: Annotated[int | None, Field(ge=0, le=1000)] = None
    """Hybrid: the place at which the list of a user with one to nine likes has an item that nobody has liked yet; 0: such items come where
    their chances put them, which is seldom in a list."""
    batch_size: Annotated[int | None, Field(ge=8, le=65_536)] = None
    """TwoTower: likes looked at in one step; each is told from the others."""
    id_dropout: Annotated[float | None, Field(ge=0, le=1)] = None
    """TwoTower: how often an item is known by its content alone while it is learned."""


Algorithm = Literal[
    "ALS", "BPR", "EASE", "Ensemble", "Hybrid", "IALS", "ItemItem", "NextItem", "Popularity", "RecentPopularity", "TwoTower"
]
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
    ranking, Rendle et al. 2009), EASE (linear autoencoder, Steck 2019; at most 20,000 items), ItemItem (nearest neighbours), NextItem (what
    follows what in time; give it spec.training.historyHalfLife), Ensemble (a weighted sum of several of them), Popularity or
    RecentPopularity. With spec.data.catalogue also TwoTower (neural, Yi et al. 2019; where Ray has the extra ray-apps[neural]) and Hybrid
    (collaborative where user and item are known, content where they are not). Auto tries those that are quickly trained and takes the best,
    by users held out for that, within spec.training.budgetSeconds."""
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
