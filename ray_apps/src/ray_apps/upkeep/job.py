"""One run of upkeep: compact, enforce retention, remove what old training runs left, and write the report."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from pyarrow import fs
from pydantic import ValidationError

from ray_apps.stores.objects import Store
from ray_apps.stores.profile import profile_of
from ray_apps.stores.snapshots import open_snapshot, read_manifest, sequences
from ray_apps.upkeep.catalogues import remove_catalogues
from ray_apps.upkeep.compaction import Compacted, compact
from ray_apps.upkeep.retention import Removed, enforce, facts
from ray_apps.upkeep.versions import remove_versions
from recsys_schemas.train_job import UpkeepJob
from recsys_schemas.upkeep import UPKEEP_REPORT, TableUpkeep, UpkeepReport
from recsys_schemas.version_card import CARD_FILE, RUNS_FOLDER, VersionCard, version_folder

RUN_KEPT = timedelta(days=1)
"""Ray Train's own state of a run is kept for so long after the version was made."""

logger = logging.getLogger(__name__)

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The clock of the process."""
    return datetime.now(UTC)


def run(store: Store, job: UpkeepJob, clock: Clock = utc_now) -> UpkeepReport:
    """Do one run and write its report. It may be killed anywhere and done again.

    Raises:
        StorageError: there is no snapshot yet.
        OSError, DeltaError: the store cannot be read or written.
    """
    began = clock()
    tables = [each.path for each in read_manifest(store).tables]
    compacted = [compact(store, path) for path in tables]
    for each in compacted:
        logger.info("compacted", extra={"table": each.event_type, "files_before": each.files_before, "files_after": each.files_after})
    removed = enforce(store, now=began, retention=timedelta(days=job.retention_days), keep=job.keep_sequences)
    logger.info("retention", extra=dict(facts(removed)))
    runs_removed = remove_runs(store, began)
    versions_removed = remove_versions(store, job.model, job.keep_versions)
    catalogues_removed = remove_catalogues(store, began)
    report = _report(store, job, began, clock(), compacted, removed, runs_removed)
    report = report.model_copy(update={"versions_removed": versions_removed, "catalogues_removed": catalogues_removed})
    store.write(UPKEEP_REPORT, report.model_dump_json(indent=1).encode())
    return report


def _report(  # noqa: PLR0913, PLR0917 (what one run has done)
    store: Store, job: UpkeepJob, began: datetime, ended: datetime, compacted: list[Compacted], removed: Removed, runs_removed: int
) -> UpkeepReport:
    return UpkeepReport(
        run=job.run,
        began_at=began,
        ended_at=ended,
        sequence=sum(each.version + 1 for each in compacted),
        tables=[
            TableUpkeep(
                event_type=each.event_type, files_before=each.files_before, files_after=each.files_after, size_bytes=each.size_bytes
            )
            for each in compacted
        ],
        manifests_removed=removed.manifests,
        files_removed=removed.files,
        bytes_removed=removed.bytes,
        log_entries_removed=removed.log_entries,
        runs_removed=runs_removed,
        oldest_sequence=next(iter(sequences(store)), None),
        missing_sequences=removed.missing,
        profile=profile_of(open_snapshot(store)),
    )


def remove_runs(store: Store, now: datetime) -> int:
    """Remove Ray Train's own state of runs whose version was made more than a day ago; returns how many."""
    selector = fs.FileSelector(store.path(RUNS_FOLDER), recursive=False, allow_not_found=True)
    count = 0
    for info in store.files.get_file_info(selector):
        if info.type == fs.FileType.Directory and _made_before(store, info.base_name, now - RUN_KEPT):
            store.files.delete_dir(info.path)
            count += 1
    return count


def _made_before(store: Store, version: str, limit: datetime) -> bool:
    try:
        card = VersionCard.model_validate_json(store.read(f"{version_folder(version)}/{CARD_FILE}"))
    except (FileNotFoundError, ValidationError):
        return False
    return card.created_at < limit
