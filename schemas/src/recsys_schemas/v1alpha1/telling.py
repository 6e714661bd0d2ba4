"""Who is told of decisions, and how far they have been told."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from recsys_schemas.v1alpha1.resource import Resource, cel
from recsys_schemas.v1alpha1.security import FileName, Name

_URL = r"^https?://[!-.0-~]+(/[!-~]*)?$"

Occasion = Literal[
    "Began",
    "Advanced",
    "Held",
    "Left",
    "Promoted",
    "Confirmed",
    "RolledBack",
    "Aborted",
    "Superseded",
    "Inconclusive",
]
"""The verdict of a decision."""


class SecretKeyRef(Resource):
    """One key of a Secret in the model's namespace."""

    name: Name
    """Name of the Secret."""
    key: FileName
    """Key within its data."""


class Notification(Resource):
    """One place where people are told."""

    model_config = Resource.model_config | {
        "json_schema_extra": cel(
            (
                "[has(self.url), has(self.urlSecretRef)].exists_one(x, x)",
                "set exactly one of url, urlSecretRef",
                (
                    "'notification ' + self.name + ': set exactly one of url, urlSecretRef, seen '"
                    " + (has(self.url) ? 'both: remove url where the address itself is a secret' : 'none')"
                ),
            ),
            (
                "self.format == 'JSON' || !has(self.hmacSecretRef)",
                "hmacSecretRef belongs to format JSON: chat services check no signature",
                "'notification ' + self.name + ': format ' + self.format + ' is not signed: remove hmacSecretRef'",
            ),
        )
    }

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
    """Its name in the status."""
    format: Literal["JSON", "Slack", "Discord", "Teams"] = "JSON"
    """JSON: all of a decision, for programs. The others: what the incoming webhooks of these services take."""
    url: Annotated[str | None, Field(max_length=1024, pattern=_URL)] = None
    """Where it is sent, by POST."""
    url_secret_ref: SecretKeyRef | None = None
    """Or where that is written: the address of a chat's webhook is as good as a password."""
    hmac_secret_ref: SecretKeyRef | None = None
    """The key of the signature in `X-Recsys-Signature: sha256=...`, HMAC-SHA256 over `X-Recsys-Timestamp`, a full stop, and the body."""
    on: Annotated[list[Occasion], Field(min_length=1, max_length=16)] | None = None
    """Which verdicts. Default: Began, Promoted, RolledBack, Aborted, Superseded, Inconclusive."""


DEFAULT_OCCASIONS: tuple[Occasion, ...] = ("Began", "Promoted", "RolledBack", "Aborted", "Superseded", "Inconclusive")


class Told(Resource):
    """How far decisions have been told: up to this one of this rollout."""

    rollout: Annotated[str, Field(max_length=63)] = ""
    """The rollout; empty before the first decision."""
    number: int = -1
    """The number of its decision."""
    time: datetime | None = None
    """When it was made."""


class NotificationStatus(Resource):
    """How far one place has been told."""

    name: Annotated[str, Field(max_length=63)]
    """Which."""
    told: Told = Field(default_factory=Told)
    """Up to here."""
    attempts: int = 0
    """Tries of the next message that failed; 0: none is waiting."""
    given_up: int = 0
    """Messages that could not be delivered for too long, and were left out."""
    message: Annotated[str, Field(max_length=1024)] = ""
    """Why the last try failed."""


class AuditStatus(Resource):
    """How far decisions are on the audit topic: the end of its chain of hashes."""

    told: Told = Field(default_factory=Told)
    """Up to here."""
    sequence: int = -1
    """Number of the last record; -1 before the first."""
    sha256: Annotated[str, Field(max_length=64)] = ""
    """Its hash; empty before the first."""
    waiting: int = 0
    """Decisions that are yet to be written."""
    message: Annotated[str, Field(max_length=1024)] = ""
    """Why the last try failed."""
