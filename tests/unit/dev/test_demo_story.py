"""What the demo reads out of a rollout's own record, and how it says what did not hold."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from recsys_dev import demo
from recsys_dev.errors import Unmet
from recsys_dev.eyes import RolloutSeen, Seen
from recsys_dev.faults import FaultSwitch
from recsys_dev.report import Report
from recsys_dev.story import one_line, roll_back, walk
from recsys_dev.topics_seen import LagMarks, Topics
from recsys_schemas.snapshot import PartitionOffset, SnapshotManifest
from recsys_schemas.v1alpha1.analysis import Analysis
from recsys_schemas.v1alpha1.model import ModelSpec, Ray
from recsys_schemas.v1alpha1.model_status import ModelStatus, ServedVersion
from recsys_schemas.v1alpha1.rollout import Decision, Pinned, RolloutPhase, RolloutSpec, RolloutStatus
from recsys_schemas.v1alpha1.strategy import Step
from recsys_schemas.v1alpha1.topics import Kafka
from recsys_schemas.v1alpha1.version import ModelReference

T0 = datetime(2026, 1, 1, tzinfo=UTC)
STEPS = [Step(set_weight=5), Step(set_weight=25), Step(set_weight=50)]


def decision(seconds: float, verdict: str, words: str = "") -> Decision:
    return Decision.model_validate({"time": T0 + timedelta(seconds=seconds), "step": 0, "verdict": verdict, "words": words})


def rollout(phase: RolloutPhase, *decisions: Decision, ended: float | None = None) -> Seen:
    spec = RolloutSpec(
        model_ref=ModelReference(name="movies", uid="u"),
        candidate=Pinned(name="movies-000003", digest="d"),
        steps=STEPS,
        analysis=Analysis(),
    )
    status = RolloutStatus(phase=phase, decisions=list(decisions), ended_at=None if ended is None else T0 + timedelta(seconds=ended))
    model = ModelSpec(ray=Ray(dashboard_url="http://127.0.0.1:1"), kafka=Kafka(bootstrap_servers=["127.0.0.1:1"]))
    return Seen(spec=model, status=ModelStatus(), rollouts=(RolloutSeen(name="movies-000003", spec=spec, status=status),))


def test_seconds_to_roll_back_run_from_the_first_share_asked_to_the_last_replica_back():
    seen = rollout(
        RolloutPhase.ROLLED_BACK, decision(0, "Began"), decision(3, "Advanced"), decision(9, "Advanced"),
        decision(12, "RolledBack", "harm is shown"), ended=14.5,
    )  # fmt: skip
    found = roll_back(seen, "movies-000003")
    assert found is not None
    assert (found.seconds_to_verdict, found.seconds_to_roll_back, found.verdict) == (9.0, 11.5, "harm is shown")


def test_a_promoted_version_was_not_rolled_back():
    assert roll_back(rollout(RolloutPhase.SUCCESSFUL, decision(1, "Advanced"), ended=5), "movies-000003") is None


def test_the_walk_ends_at_100_only_when_it_was_promoted():
    three = [decision(n, "Advanced") for n in range(3)]
    assert walk(rollout(RolloutPhase.SUCCESSFUL, *three, ended=9), "movies-000003") == [5, 25, 50, 100]
    assert walk(rollout(RolloutPhase.ROLLED_BACK, *three[:2], ended=9), "movies-000003") == [5, 25]
    assert walk(rollout(RolloutPhase.SUCCESSFUL), "movies-000009") == []


def test_one_line_tells_champion_challenger_and_shares():
    seen = rollout(RolloutPhase.PROGRESSING)
    status = seen.status.model_copy(
        update={
            "phase": "Canary",
            "champion": ServedVersion(version="movies-000002", digest="d", weight=95),
            "challenger": ServedVersion(version="movies-000003", digest="e", weight=5),
        }
    )
    line = one_line(Seen(spec=seen.spec, status=status))
    assert line.startswith("Canary")
    assert "movies-000002 95 %" in line
    assert "movies-000003 5 %" in line


def manifest(sequence: int, seconds: float, offset: int) -> SnapshotManifest:
    ends = [PartitionOffset(topic=topic, partition=0, next_offset=end) for topic, end in (("other", 999), ("watch", offset))]
    when = T0 + timedelta(seconds=seconds)
    return SnapshotManifest(sequence=sequence, cluster_id="c", tables=[], rows=offset, dead_letters=0, committed_at=when, offsets=ends)


def test_lag_is_the_time_until_a_manifest_covers_what_was_there():
    marks = LagMarks(topics=Topics("127.0.0.1:1"), names=("watch",))
    marks.marks += [(T0, 10), (T0 + timedelta(seconds=5), 20), (T0 + timedelta(seconds=6), 999)]
    assert marks.lags([manifest(2, 8, 20), manifest(1, 2, 12)]) == [2.0, 3.0]


def test_what_was_covered_already_has_no_lag():
    marks = LagMarks(topics=Topics("127.0.0.1:1"), names=("watch",), marks=[(T0 + timedelta(seconds=4), 12)])
    assert marks.lags([manifest(1, 2, 12)]) == [0.0]


def test_the_fault_is_on_while_its_file_is_there(tmp_path: Path):
    switch = FaultSwitch(file=tmp_path / "run" / "fault")
    assert not switch.is_on
    switch.turn_on()
    assert switch.is_on
    switch.turn_off()
    switch.turn_off()
    assert not switch.is_on


def test_a_claim_that_did_not_hold_is_named_in_the_report():
    report = Report(audience="nobody")
    report.claims.check("the sun rises", held=True, seen="it did")
    report.claims.check("no request failed", held=False, seen="3 of 10")
    console = Console(file=io.StringIO(), width=120, record=True)
    report.show(console)
    words = console.export_text()
    assert "1 of 2 hold" in words
    assert "NOT SO: no request failed: 3 of 10" in words
    assert [claim.name for claim in report.claims.broken] == ["no request failed"]


def test_keep_must_be_0_or_1(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KEEP", "yes")
    with pytest.raises(Unmet, match="KEEP: 'yes'"):
        demo.read_wishes([])


def test_wishes_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("KEEP", "0")
    monkeypatch.setenv("DATA", str(tmp_path))
    wishes = demo.read_wishes([])
    assert (wishes.keep, wishes.data) == (False, tmp_path)


def test_a_folder_without_ratings_is_told_before_anything_starts(tmp_path: Path):
    wishes = demo.Wishes(data=tmp_path, keep=False, rate=1, run_dir=tmp_path / "run", report_file=tmp_path / "report.json")
    with pytest.raises(Unmet, match=r"ratings\.csv: missing"):
        demo.run(wishes, Console(file=io.StringIO()))
    assert not wishes.run_dir.exists()
