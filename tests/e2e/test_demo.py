"""The main job as a user sees it: the demo on real parts, by its own claims, and nothing left behind."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from recsys_dev import demo, runs
from recsys_dev.process_table import marked
from recsys_dev.processes import recorded
from recsys_dev.report import Report

RUNS = Path(__file__).resolve().parents[2] / "build" / "run" / "tests"


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """One run of the demo."""

    report: Report
    words: str
    wishes: demo.Wishes


@pytest.fixture(scope="module")
def course(ray_turn: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:  # noqa: ARG001
    run_dir = RUNS / f"demo-{os.getpid()}"
    wishes = demo.Wishes(data=None, keep=False, rate=60, run_dir=run_dir, report_file=tmp_path_factory.mktemp("report") / "demo.json")
    console = Console(file=StringIO(), width=140, highlight=False, record=True)
    try:
        yield Course(report=demo.run(wishes, console), words=console.export_text(), wishes=wishes)
    finally:
        runs.discard(run_dir)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_claim_of_the_demo_holds(course: Course):
    assert [claim for claim in course.report.claims.all if not claim.held] == []
    assert len(course.report.claims.all) >= 14


@pytest.mark.slow
def test_its_second_version_earned_every_share_and_its_bad_third_was_seen_by_few(course: Course):
    report = course.report
    assert report.walk == [5, 25, 50, 100]
    assert report.caught is not None
    assert 0 < report.users_who_saw_it < report.users_in_all / 2
    assert report.failed_requests == 0
    assert "reward" in report.caught.verdict


@pytest.mark.slow
def test_its_report_is_written_as_json_with_the_comparison_of_all_models(course: Course):
    told = json.loads(course.wishes.report_file.read_text())
    models = [evaluation["name"] for evaluation in told["version_card"]["evaluations"]]
    assert models[0] == "ALS"
    assert {"Popularity", "ItemItem"} <= set(models)
    assert all(claim["held"] for claim in told["claims"])


@pytest.mark.slow
def test_it_told_the_story_one_line_a_change(course: Course):
    for words in ("Training", "Canary", "Serving", "kubectl", "get rm -w", "curl http://127.0.0.1:", "ms/user"):
        assert words in course.words


@pytest.mark.slow
def test_it_leaves_no_process_behind(course: Course):
    assert [child.name for child in recorded(course.wishes.run_dir) if child.is_alive()] == []
    assert marked(course.wishes.run_dir) == []
