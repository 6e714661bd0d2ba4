"""The mirror of versions in an MLflow server: what the operator asks of its job, and what the job has left."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from recsys_schemas.artifact import Artifact
from recsys_schemas.kafka_access import SecretKeyName
from recsys_schemas.train_job import ModelIdentity

MIRROR_REPORT = "mirror/report.json"
"""Path of the newest report below the storage URI; each run replaces it."""
Alias = Literal["champion", "challenger"]


class MirroredVersion(Artifact):
    """A version to show."""

    version: str
    """Its name."""
    digest: str
    """The digest that the operator has recorded: a card of another one is not shown."""
    phase: str
    """What became of it."""
    registered: bool
    """Whether it may serve: such a version is registered, any other has a run only."""
    gates: dict[str, str] = {}
    """Gate → verdict."""


class MirrorJob(Artifact):
    """One run: the server is brought to show these versions and aliases."""

    model: ModelIdentity
    """For whom."""
    storage_uri: str
    """Where the cards are."""
    run: Annotated[int, Field(ge=0)]
    """Number of the run."""
    wanted: str
    """Digest of what is to be shown: the report repeats it."""
    tracking_uri: str
    """Where the server is."""
    experiment: str
    """Experiment of the runs."""
    model_name: str
    """The registered model."""
    token: SecretKeyName | None = None
    """Mounted Secret with what is sent as authorization."""
    copy_artifacts: bool = False
    """Whether arrays are copied too."""
    versions: list[MirroredVersion]
    """What to show."""
    aliases: dict[Alias, str] = {}
    """Alias → version; one that is not named here is taken away."""


class MirrorReport(Artifact):
    """What one run has done."""

    run: Annotated[int, Field(ge=0)]
    """Its number."""
    good_run: int = -1
    """Number of the last run that brought the server to what was wanted; -1: none yet."""
    wanted: str
    """What it was to show."""
    good: bool
    """Whether the server shows it."""
    ended_at: datetime
    """When it was done (UTC)."""
    versions: dict[str, str] = {}
    """Version → MLflow's run."""
    message: str
    """What was done, or why it was not, with the mend."""
