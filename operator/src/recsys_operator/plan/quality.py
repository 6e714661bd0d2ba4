"""Quality of events: which part of the newest records was put aside, and whether that is too large."""

from dataclasses import dataclass

from recsys_schemas.snapshot import SnapshotManifest


@dataclass(frozen=True, slots=True, kw_only=True)
class PutAside:
    """How many of the newest records are dead letters."""

    bad: int
    records: int

    @property
    def fraction(self) -> float:
        """0 to 1; 0 without records."""
        return self.bad / self.records if self.records else 0.0

    def above(self, limit: float) -> bool:
        """Whether the fraction is above a limit."""
        return self.bad > limit * self.records


def put_aside(manifest: SnapshotManifest) -> PutAside:
    """Return the counts of the newest records; of all, when an older release wrote the manifest."""
    if manifest.recent_records is None or manifest.recent_dead_letters is None:
        return PutAside(bad=manifest.dead_letters, records=manifest.rows + manifest.dead_letters)
    return PutAside(bad=manifest.recent_dead_letters, records=manifest.recent_records)
