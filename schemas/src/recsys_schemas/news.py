"""News: what is told of one decision, to people and to programs."""

from datetime import datetime

from pydantic import Field

from recsys_schemas.artifact import Artifact
from recsys_schemas.train_job import ModelIdentity


class News(Artifact):
    """One decision of a rollout."""

    id: str
    """The same each time that it is told: `<uid of the model>/<rollout>/<number of the decision>`."""
    model: ModelIdentity
    """Whose."""
    rollout: str
    """Of which rollout."""
    candidate: str
    """The version that it is about."""
    stable: str | None = None
    """The version that it was compared with; none before the first."""
    time: datetime
    """When it was decided (UTC)."""
    step: int
    """At which step, from 0."""
    weight: int = Field(ge=0, le=100)
    """The candidate's share now, percent."""
    verdict: str
    """What was decided."""
    by: str = ""
    """Who asked for it; empty when nobody did."""
    words: str
    """Why."""

    @property
    def sentence(self) -> str:
        """In one line, for people."""
        asked = f", asked by {self.by}" if self.by else ""
        return f"{self.model.namespace}/{self.model.name}: {self.rollout} {self.verdict}{asked}: {self.words}"
