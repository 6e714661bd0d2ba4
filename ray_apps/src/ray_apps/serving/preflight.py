"""A candidate is tried in a process apart, before any user sees it: `python -m ray_apps.serving.preflight --job '<PreflightJob>'`.

The verdict is `preflight.json` in the version's folder. The exit code is 0 when the version could be tried, whatever the verdict; 2 when
the job is wrong; 1 when the store cannot be read or written.
"""

import argparse
import hashlib
import logging
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from threadpoolctl import threadpool_limits

from ray_apps.algorithms import load_model
from ray_apps.algorithms.recommender import Arrays, Recommender
from ray_apps.serving.answering import rank
from ray_apps.serving.arms import LoadedArm, load
from ray_apps.serving.as_trained import as_trained, told
from ray_apps.serving.logs import log_as_json
from ray_apps.serving.online.live import still
from ray_apps.serving.questions import of_user
from ray_apps.stores.objects import StorageError, Store, open_store
from ray_apps.stores.registry import open_version
from recsys_schemas.serving_api import Reason, RecommendationRequest
from recsys_schemas.serving_record import Arm, Variant
from recsys_schemas.train_job import PreflightJob
from recsys_schemas.version_card import PREFLIGHT_FILE, PreflightReport, digest_of, version_folder

SAMPLED_USERS = 300
"""Known users tried; each asks once, some with extremes of k or excluded items."""
MAX_K = 100
WARM_UP = 10
"""First requests left out of the times: they page the arrays in."""
SECONDS = 120.0
"""Trying ends after so long; what was not tried by then is said in the report."""

logger = logging.getLogger("ray_apps.serving.preflight")


@dataclass(slots=True, kw_only=True)
class Trial:
    """What was seen while trying."""

    checks: dict[str, str] = field(default_factory=dict)
    times_ms: list[float] = field(default_factory=list)
    requests: int = 0

    def fail(self, check: str, seen: str) -> None:
        """Note a failure; the first one of a check stays."""
        if not self.checks.get(check, "").startswith("failed: "):
            self.checks[check] = f"failed: {seen}"

    def passed(self, check: str, seen: str) -> None:
        """Note a success, unless the check has failed."""
        self.checks.setdefault(check, seen)


def questions(arm: LoadedArm) -> Iterator[RecommendationRequest]:
    """Known users spread over all of them, unknown ones, the extremes of k, and items excluded."""
    users = arm.version.user_ids
    items = list(arm.version.item_ids[:1000])
    step = max(1, len(users) // SAMPLED_USERS)
    for place, row in enumerate(range(0, len(users), step)[:SAMPLED_USERS]):
        excluded = items[: 50 if place % 5 == 0 else 0]
        k = (20, 1, 20, MAX_K)[place % 4]
        yield RecommendationRequest(user_id=users[row], k=k, exclude=excluded)
    anyone = users[0] if len(users) else "preflight-known"
    yield RecommendationRequest(user_id=anyone, k=MAX_K, exclude=items)
    for place in range(max(2, 200 - len(users))):
        yield RecommendationRequest(user_id=f"preflight-unknown-{place}", k=(20, 1, MAX_K)[place % 3], exclude=items[: place % 7])


def ask(trial: Trial, arm: LoadedArm, request: RecommendationRequest) -> None:
    """One request, held against the contract of an answer."""
    trial.requests += 1
    started = time.perf_counter()
    try:
        ranked = rank(arm, of_user(request))
    except Exception as error:  # noqa: BLE001 - whatever it raises is the finding
        trial.fail("contract", f"user {request.user_id!r}, k={request.k}: {type(error).__name__}: {error}")
        return
    trial.times_ms.append((time.perf_counter() - started) * 1000)
    ids = [item for item, _ in ranked.items]
    history, _ = arm.version.history(request.user_id)
    shut = set(request.exclude) | {arm.names[i] for i in history.tolist()}
    faults = {
        "more than k": len(ids) > request.k,
        "repeated": len(set(ids)) < len(ids),
        "seen or excluded": bool(shut & set(ids)),
        "not finite": not np.isfinite([score for _, score in ranked.items]).all(),
        "empty though items are left": not ids and len(shut) < len(arm.names),
    }
    for fault in (name for name, found in faults.items() if found):
        trial.fail("contract", f"user {request.user_id!r}, k={request.k}: items are {fault}")
    if history.size and ranked.reason is not Reason.PERSONAL:
        trial.fail("contract", f"user {request.user_id!r} has a history, yet the reason is {ranked.reason.value}")


def check_arrays(trial: Trial, arm: LoadedArm, arrays: Arrays) -> None:
    """All numbers finite, item ids unique and present."""
    ids = arm.names
    if not ids:
        trial.fail("items", "there are none")
    elif len(set(ids)) < len(ids):
        trial.fail("items", f"{len(ids) - len(set(ids))} of {len(ids)} ids repeat")
    trial.passed("items", f"{len(ids)} items, ids unique")
    for name, array in {**arrays, "history_weights": arm.version.history_weights}.items():
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            trial.fail("finite", f"{name}: {int((~np.isfinite(array)).sum())} of {array.size} values are not")
    trial.passed("finite", "all arrays")


def check_as_trained(trial: Trial, arm: LoadedArm) -> None:
    """What the arrays, as they were written, answer to the probes of the card; and whose histories they hold."""
    probes = arm.version.card.probes
    if not probes:
        for check in ("as-trained", "users"):
            trial.passed(check, "not checked: the card has no probes")
        return
    answers = as_trained(arm, probes)
    if not answers.agrees:
        trial.fail("as-trained", told(answers))
    trial.passed("as-trained", told(answers))
    if answers.strangers:
        trial.fail(
            "users", f"{len(answers.strangers)} of {len(probes)} users have not the history of training, such as {answers.strangers[0]!r}"
        )
    trial.passed("users", f"{len(probes)} users have the history of training")


def check_times(trial: Trial, timeout_ms: float) -> float:
    """p99 of scoring against the deadline, in milliseconds."""
    if not trial.times_ms:
        trial.fail("latency", "no request was answered")
        return 0.0
    p99 = float(np.percentile(trial.times_ms[WARM_UP:] or trial.times_ms, 99))
    seen = f"p99 {p99:.2f} ms over {len(trial.times_ms)} requests, deadline {timeout_ms:.0f} ms"
    if p99 > timeout_ms:
        trial.fail("latency", seen)
    trial.passed("latency", seen)
    return p99


def digest_found(store: Store, version: str) -> str:
    """What the files of a version hash to, whatever its card says."""
    folder = f"{version_folder(version)}/"
    names = [name.removeprefix(folder) for name in store.names(folder.rstrip("/"))]
    return digest_of({name: hashlib.sha256(store.read(folder + name)).hexdigest() for name in names if name.endswith(".npy")})


def try_version(job: PreflightJob, store: Store, cache: Path) -> PreflightReport:
    """Try one version and say what was seen.

    Raises:
        OSError: the store cannot be read. A version that is there but broken is a verdict, not an error.
    """
    trial = Trial()
    arm = Arm(version=job.version, digest=job.digest, variant=Variant.CANDIDATE, share=0)
    p99 = 0.0
    arrays: dict[str, NDArray[np.generic]] = {}

    def keep(algorithm: str, own: Arrays, n_items: int) -> Recommender:
        arrays.update(own)
        return load_model(algorithm, own, n_items)

    try:
        loaded = load(arm, lambda version, digest: open_version(store, version, digest, cache, keep), still)
    except (ConnectionError, TimeoutError, PermissionError):
        raise
    except Exception as error:  # noqa: BLE001 - a version that cannot be opened has not passed
        trial.fail("load", f"{type(error).__name__}: {error}")
    else:
        trial.passed("load", f"digest {job.digest} verified")
        check_arrays(trial, loaded, arrays)
        check_as_trained(trial, loaded)
        until = time.monotonic() + SECONDS
        for request in questions(loaded):
            if time.monotonic() > until:
                trial.fail("latency", f"only {trial.requests} requests in {SECONDS:.0f} s")
                break
            ask(trial, loaded, request)
        trial.passed("contract", f"{trial.requests} requests: unique items, at most k, none seen or excluded, finite scores")
        p99 = check_times(trial, job.timeout_ms)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    trial.passed("memory", f"peak {peak:.0f} MiB in a process that holds this version only")
    passed = not any(seen.startswith("failed: ") for seen in trial.checks.values())
    digest = job.digest if trial.checks["load"].startswith("digest") else digest_found(store, job.version)
    return PreflightReport(
        version=job.version, digest=digest, run=job.run, passed=passed, checks=trial.checks, requests=trial.requests, p99_ms=p99
    )


def main(arguments: list[str] | None = None) -> int:
    """Try the version that `--job` names and write the report beside it."""
    parser = argparse.ArgumentParser(prog="ray_apps.serving.preflight", description="Try one version before any user sees it.")
    parser.add_argument("--job", required=True, help="PreflightJob as JSON")
    log_as_json()
    try:
        job = PreflightJob.model_validate_json(parser.parse_args(arguments).job)
        store = open_store(job.storage_uri)
    except (ValidationError, StorageError) as error:
        logger.error("job refused", extra={"event": "JobRefused", "reason": str(error)})  # noqa: TRY400 - the message says it all
        return 2
    with threadpool_limits(limits=1), tempfile.TemporaryDirectory(prefix="recsys-preflight-") as cache:
        try:
            report = try_version(job, store, Path(cache))
            store.write(f"{version_folder(job.version)}/{PREFLIGHT_FILE}", report.model_dump_json(indent=2).encode())
        except OSError as error:
            logger.exception("store failed", extra={"event": "StoreFailed", "reason": str(error)})
            return 1
    logger.info("preflight done", extra={"event": "PreflightDone"} | report.model_dump())
    return 0


if __name__ == "__main__":
    sys.exit(main())
