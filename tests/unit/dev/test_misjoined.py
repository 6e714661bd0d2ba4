"""The demo's fault: offline numbers honestly cannot see it, preflight has nothing to find, and users notice at once."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pytest

from ray_apps.algorithms import load_model
from ray_apps.serving.answering import rank
from ray_apps.serving.arms import load
from ray_apps.serving.online.live import still
from ray_apps.serving.preflight import try_version
from ray_apps.serving.questions import of_user
from ray_apps.stores.objects import open_store
from ray_apps.stores.registry import open_version
from ray_apps.training.job import run
from recsys_dev.audience import SimulatedAudience
from recsys_dev.events import Event
from recsys_dev.misjoined import one_row_off
from recsys_dev.tastes import World
from recsys_operator.plan.gates import verdicts
from recsys_schemas.serving_api import RecommendationRequest
from recsys_schemas.serving_record import Arm, Variant
from recsys_schemas.train_job import PreflightJob
from recsys_schemas.v1alpha1.gates import default_gates
from recsys_schemas.version_card import VersionCard
from unit.ray_apps.training import planted

SMALL = World(users=400, items=300, mean_history=30.0)
VISITS = 600
NOW_MS = 1_760_000_000_000


def watches(events: Iterable[Event]) -> pa.Table:
    told = [event for event in events if event.event_type == "watch"]
    return pa.table(
        {
            "event_id": [event.event_id for event in told],
            "user_id": [event.user_id for event in told],
            "item_id": [event.item_id for event in told],
            "timestamp": pa.array([event.timestamp for event in told], pa.int64()),
            "fraction": pa.array([event.value for event in told], pa.float64()),
        }
    )


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> tuple[SimulatedAudience, str, VersionCard, VersionCard]:
    """An audience, and a good version and a misjoined one of what it watched."""
    audience = SimulatedAudience(SMALL, now_ms=NOW_MS)
    uri = planted.snapshot(tmp_path_factory.mktemp("store"), {"watch": watches(audience.history())})
    good = run(planted.job(uri))
    return audience, uri, good, run(planted.job(uri, version="movies-000002"), written=one_row_off)


def test_what_is_measured_offline_is_honest_and_the_same(line: tuple[SimulatedAudience, str, VersionCard, VersionCard]):
    _, _, good, bad = line
    assert [each.metrics for each in bad.evaluations] == [each.metrics for each in good.evaluations]
    assert bad.learnt == good.learnt
    assert bad.digest != good.digest
    told = [[(each.name, each.verdict, each.message) for each in verdicts(default_gates(), card)] for card in (good, bad)]
    assert told[0] == told[1], "every gate says the same of both"


def test_preflight_has_nothing_to_find(line: tuple[SimulatedAudience, str, VersionCard, VersionCard], tmp_path: Path):
    _, uri, _, bad = line
    asked = PreflightJob(model=planted.job(uri).model, version=bad.version, digest=bad.digest, storage_uri=uri, timeout_ms=60_000)
    report = try_version(asked, open_store(uri), tmp_path)
    assert report.passed, report.checks
    assert report.checks["as-trained"].startswith("32 histories are answered as by the fitted model for 100.0%")
    assert report.checks["users"] == "32 users have the history of training"


def test_users_watch_far_less_of_what_it_shows(line: tuple[SimulatedAudience, str, VersionCard, VersionCard], tmp_path: Path):
    _, uri, *cards = line
    watched: list[float] = []
    for card in cards:
        audience = SimulatedAudience(SMALL, now_ms=NOW_MS)
        assert list(audience.history())
        arm = Arm(version=card.version, digest=card.digest, variant=Variant.STABLE, share=100)
        loaded = load(arm, lambda version, digest: open_version(open_store(uri), version, digest, tmp_path, load_model), still)
        rewards = 0
        for _ in range(VISITS):
            user = audience.visitor()
            shown = [item for item, _ in rank(loaded, of_user(RecommendationRequest(user_id=user, k=10))).items]
            rewards += audience.reaction(user, shown) is not None
        watched.append(rewards / VISITS)
    good, bad = watched
    assert bad < 0.6 * good, f"{bad:.3f} against {good:.3f}"
