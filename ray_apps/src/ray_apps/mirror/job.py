"""One run of the mirror: whatever is there already is left, whatever is missing is made, and aliases are moved."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime

import httpx
from pydantic import ValidationError

from ray_apps.mirror.server import Json, MirrorError, Server, authorization
from ray_apps.mirror.words import DIGEST_TAG, MODEL_TAG, VERSION_TAG, metrics_of, params_of, tags_of
from ray_apps.stores.objects import StorageError, Store
from ray_apps.stores.registry import ArtefactRefused, read_card
from ray_apps.stores.secrets import SecretsError, read_secret
from recsys_schemas.mirror import MIRROR_REPORT, MirroredVersion, MirrorJob, MirrorReport
from recsys_schemas.version_card import CARD_FILE, REPORT_FILE, VersionCard, version_folder

FIELD = "spec.registry.mlflow.tokenSecretRef"
PHASE_TAG = "recsys.phase"
_PROXIED = "mlflow-artifacts:/"

logger = logging.getLogger(__name__)


def run(store: Store, job: MirrorJob) -> MirrorReport:
    """Bring the server to what is wanted, and leave a report; it says so when that did not go.

    Raises:
        OSError: the store cannot be read or written.
    """
    shown: dict[str, str] = {}
    try:
        secret = read_secret(job.model.namespace, job.token, FIELD) if job.token else None
        with httpx.Client(headers=authorization(secret), trust_env=False, follow_redirects=False) as http:
            _show(Server(url=job.tracking_uri.rstrip("/"), http=http), store, job, shown)
    except (MirrorError, SecretsError, ArtefactRefused, StorageError) as error:
        report = _report(store, job, shown, good=False, message=str(error))
        logger.warning("MirrorFailed", extra={"run": job.run, "error": str(error)})
    else:
        aliases = ", ".join(f"{alias} is {version}" for alias, version in sorted(job.aliases.items()))
        words = f"{len(shown)} versions in experiment {job.experiment!r}, model {job.model_name!r}{f'; {aliases}' if aliases else ''}"
        report = _report(store, job, shown, good=True, message=words)
        logger.info("Mirrored", extra={"run": job.run, "versions": len(shown)})
    store.write(MIRROR_REPORT, report.model_dump_json(indent=1).encode())
    return report


def _report(store: Store, job: MirrorJob, shown: Mapping[str, str], *, good: bool, message: str) -> MirrorReport:
    before = read_report(store)
    return MirrorReport(
        run=job.run,
        good_run=job.run if good else (before.good_run if before else -1),
        wanted=job.wanted,
        good=good,
        ended_at=datetime.now(UTC),
        versions=dict(shown),
        message=message[:1000],
    )


def read_report(store: Store) -> MirrorReport | None:
    """What the last run has left; None before the first, or when it cannot be read."""
    try:
        return MirrorReport.model_validate_json(store.read(MIRROR_REPORT))
    except (FileNotFoundError, ValidationError):
        return None


def _show(server: Server, store: Store, job: MirrorJob, shown: dict[str, str]) -> None:
    experiment = server.experiment(job.experiment)
    registered: dict[str, str] = {}
    standing = _standing(server, job) if any(each.registered for each in job.versions) else {}
    for each in job.versions:
        card = read_card(store, each.version)
        if card is None or card.digest != each.digest:
            logger.warning("VersionNotShown", extra={"version": each.version, "why": "no card" if card is None else "another digest"})
            continue
        found = _run(server, store, job, experiment, card, each)
        shown[each.version] = found["info"]["run_id"]
        if each.registered:
            registered[each.version] = _registered(server, job, (card, each), found, standing.get(shown[each.version]))
    _point(server, job, registered)


def _run(server: Server, store: Store, job: MirrorJob, experiment: str, card: VersionCard, each: MirroredVersion) -> Json:  # noqa: PLR0913, PLR0917 - what one run shows
    """The MLflow run of a version: the oldest that carries its tags; else a new one, which carries them from its first moment on."""
    known = {VERSION_TAG: card.version, DIGEST_TAG: card.digest, MODEL_TAG: card.model}
    runs = server.runs(experiment, known)
    for extra in runs[1:]:
        # Two jobs that did not know of each other made one each; both keep the oldest.
        server.call("POST", "runs/delete", body={"run_id": extra["info"]["run_id"]})
    at = int(card.created_at.timestamp() * 1000)
    found = runs[0] if runs else _create(server, experiment, card, known, at)
    run, folder = found["info"]["run_id"], version_folder(card.version)
    if found["info"]["status"] != "FINISHED":
        server.log(run, metrics=metrics_of(card), params=params_of(card), tags={})
        _copy(server, store, job, card, found["info"]["artifact_uri"])
    there = _tags(found["data"])
    changed = {name: value for name, value in tags_of(card, each, job.storage_uri, folder).items() if there.get(name) != value}
    server.log(run, metrics=[], params={}, tags=changed)
    if found["info"]["status"] != "FINISHED":
        server.call("POST", "runs/update", body={"run_id": run, "status": "FINISHED", "end_time": at})
    return found


def _create(server: Server, experiment: str, card: VersionCard, known: Mapping[str, str], at: int) -> Json:
    tags = [{"key": key, "value": value} for key, value in known.items()]
    body: Json = {"experiment_id": experiment, "run_name": card.version, "start_time": at, "tags": tags}
    return server.call("POST", "runs/create", body=body)["run"]


def _copy(server: Server, store: Store, job: MirrorJob, card: VersionCard, artifacts: str) -> None:
    """Card and page, and the arrays where that is asked; where the server does not take artifacts itself, `recsys.uri` names the place."""
    if not artifacts.startswith(_PROXIED):
        logger.info("ArtifactsNotCopied", extra={"version": card.version, "why": f"the server keeps them at {artifacts} itself"})
        return
    root, folder = artifacts.removeprefix(_PROXIED).lstrip("/"), version_folder(card.version)
    names = [*([REPORT_FILE] if card.report else []), *(sorted(card.files) if job.copy_artifacts else []), CARD_FILE]
    for name in names:
        try:
            data = store.read(f"{folder}/{name}")
        except FileNotFoundError:
            continue
        server.put(f"{root}/{name}", data)


def _standing(server: Server, job: MirrorJob) -> dict[str, Json]:
    """Run → its registered version; the lowest, should there be several."""
    server.model(job.model_name)
    found = sorted(server.model_versions(job.model_name), key=lambda version: -int(version["version"]))
    return {str(version.get("run_id")): version for version in found}


def _tags(body: Json) -> dict[str, str]:
    return {tag["key"]: tag.get("value", "") for tag in body.get("tags", [])}


def _registered(server: Server, job: MirrorJob, shown: tuple[VersionCard, MirroredVersion], run: Json, there: Json | None) -> str:
    """Number of the registered version of a run; made when it is not there."""
    card, each = shown
    version = there
    if version is None:
        tags = [{"key": VERSION_TAG, "value": card.version}, {"key": DIGEST_TAG, "value": card.digest}]
        body: Json = {"name": job.model_name, "source": run["info"]["artifact_uri"], "run_id": run["info"]["run_id"], "tags": tags}
        version = dict(server.call("POST", "model-versions/create", body=body)["model_version"])
    number = str(version["version"])
    if _tags(version).get(PHASE_TAG) != each.phase:
        phase: Json = {"name": job.model_name, "version": number, "key": PHASE_TAG, "value": each.phase}
        server.call("POST", "model-versions/set-tag", body=phase)
    return number


def _point(server: Server, job: MirrorJob, registered: Mapping[str, str]) -> None:
    """Move the aliases that are ours; others stay."""
    if not registered and not job.aliases:
        return
    standing = {each["alias"]: str(each["version"]) for each in server.model(job.model_name).get("aliases", [])}
    for alias in ("champion", "challenger"):
        number = registered.get(job.aliases.get(alias, ""))
        if number is not None and standing.get(alias) != number:
            server.call("POST", "registered-models/alias", body={"name": job.model_name, "alias": alias, "version": number})
        elif number is None and alias in standing:
            server.call("DELETE", "registered-models/alias", body={"name": job.model_name, "alias": alias})
