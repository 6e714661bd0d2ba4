"""What upkeep has done to a store: written by its job, read by the operator."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from recsys_schemas.artifact import Artifact
from recsys_schemas.snapshot import EventProfile

UPKEEP_REPORT = "upkeep/report.json"
"""Path of the newest report below the storage URI; each run replaces it."""


class TableUpkeep(Artifact):
    """One event type's table."""

    event_type: str
    """watch or rate."""
    files_before: Annotated[int, Field(ge=0)]
    """Files of its newest version when the run began."""
    files_after: Annotated[int, Field(ge=0)]
    """And when it had compacted them."""
    size_bytes: Annotated[int, Field(ge=0)]
    """Size of those."""


class UpkeepReport(Artifact):
    """One run of upkeep, from its beginning to its end."""

    run: Annotated[int, Field(ge=0)]
    """Its number."""
    began_at: datetime
    """When it began (UTC)."""
    ended_at: datetime
    """When it was done (UTC)."""
    sequence: Annotated[int, Field(ge=0)]
    """The sum of (table version + 1) at its end: how far the snapshot's number has grown since says how many commits there were."""
    tables: list[TableUpkeep]
    """One entry for each event type with data."""
    manifests_removed: Annotated[int, Field(ge=0)]
    """Snapshots that were past their retention."""
    files_removed: Annotated[int, Field(ge=0)]
    """Data files that no retained snapshot needs any more."""
    bytes_removed: Annotated[int, Field(ge=0)]
    """Their size."""
    log_entries_removed: Annotated[int, Field(ge=0)]
    """Entries of the tables' logs before the oldest retained snapshot."""
    versions_removed: Annotated[int, Field(ge=0)] = 0
    """Versions whose files were removed: beyond revisionHistoryLimit, and needed by nothing."""
    catalogues_removed: Annotated[int, Field(ge=0)] = 0
    """Copies of catalogues that no version was made of any more."""
    runs_removed: Annotated[int, Field(ge=0)]
    """Folders of Ray Train's own state, of training runs that ended long ago."""
    oldest_sequence: Annotated[int, Field(ge=0)] | None = None
    """The oldest snapshot that is left."""
    missing_sequences: list[Annotated[int, Field(ge=0)]] = []
    """Snapshots that were to be kept, and cannot be opened: they are gone."""
    profile: EventProfile | None = None
    """Of the newest events of the newest snapshot at the end."""
