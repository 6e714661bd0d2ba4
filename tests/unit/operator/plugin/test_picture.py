"""The picture of a rollout: what a person sees of shares, evidence and verdicts."""

from datetime import UTC, datetime
from typing import Any

import pytest

from kubectl_recsys.picture import bar, draw, line_of, plain

NOW = datetime(2026, 9, 1, 3, 42, 5, tzinfo=UTC)
MODEL: dict[str, Any] = {"metadata": {"namespace": "films", "name": "movies"}, "status": {"phase": "Canary"}}


def rollout(**status: Any) -> dict[str, Any]:
    shown = [
        {"metric": "errors", "verdict": "NotWorse", "harm": 0.0, "notWorse": 1.0, "words": "12/2400 against 40/9600"},
        {"metric": "reward", "verdict": "Undecided", "harm": 0.5, "notWorse": 0.25, "words": "510/2388 against 2400/9560"},
    ]
    decision = {"time": "2026-09-01T03:40:00Z", "step": 0, "verdict": "Advanced", "words": "step 1 of 2 earned", "by": "ann"}
    seen = {
        "phase": "Progressing",
        "step": 1,
        "stepSince": "2026-09-01T03:40:00Z",
        "weight": 25,
        "evidence": {"shown": shown},
        "decisions": [decision],
        "message": "80 of 100 answers at 25 %",
    }
    spec = {
        "stable": {"name": "movies-000001"},
        "candidate": {"name": "movies-000002"},
        "steps": [{"setWeight": 5}, {"setWeight": 25}, {"pause": {"approval": True}}],
    }
    return {"metadata": {"name": "movies-000002"}, "spec": spec, "status": seen | status}


def test_shares_evidence_and_verdicts_are_drawn() -> None:
    lines = draw(MODEL, rollout(), NOW, width=200)
    assert lines[0] == "films/movies: Canary   03:42:05"
    assert "movies-000002: Progressing, step 2 of 3 for 2 min 5 s" in lines
    assert "  candidate movies-000002            ██████··················  25 %" in lines
    assert "  stable    movies-000001            ██████████████████······  75 %" in lines
    assert "  walk      5 % → [25 %] → approval → 100 %" in lines
    (reward,) = [line for line in lines if line.startswith("  reward")]
    assert f"{bar(0.5)}│ {bar(0.25)}│ Undecided: 510/2388 against 2400/9560" in reward
    assert lines[-1] == "  03:40:00 Advanced     step 1 of 2 earned (asked by ann)"


def test_each_arm_of_a_test_is_drawn_with_its_evidence_and_one_that_left_says_so() -> None:
    shown = [{"metric": "reward", "verdict": "Better", "harm": 0.0, "notWorse": 1.0, "words": "700/2388 against 510/2400"}]
    body = rollout(step=0, left=[{"name": "movies-000003"}])
    body["spec"] |= {"steps": [{"setWeight": 20}], "arms": [{"name": f"movies-00000{n}", "weight": 20} for n in (3, 4)]}
    body["status"]["weight"] = 20
    body["status"]["evidence"]["arms"] = [{"name": "movies-000004", "shown": shown}]
    lines = draw(MODEL, body, NOW, width=200)
    assert [line.split()[:2] + line.split()[3:] for line in lines if "movies-00000" in line and " %" in line][:4] == [
        ["candidate", "movies-000002", "20", "%"],
        ["arm", "movies-000003", "0", "%", "left", "the", "test"],
        ["arm", "movies-000004", "20", "%"],
        ["stable", "movies-000001", "60", "%"],
    ]
    assert lines.index("  movies-000002") < lines.index("  movies-000004")
    assert f"{bar(0.0)}│ {bar(1.0)}│ Better: 700/2388 against 510/2400" in lines[lines.index("  movies-000004") + 2]


@pytest.mark.parametrize("width", [20, 60, 100])
def test_no_line_is_wider_than_the_terminal_and_colours_take_no_place(width: int) -> None:
    lines = draw(MODEL, rollout(), NOW, colours=True, width=width)
    assert all(len(plain(line)) <= width for line in lines), [line for line in lines if len(plain(line)) > width]
    assert [plain(line) for line in lines] == draw(MODEL, rollout(), NOW, width=width)


def test_what_waits_for_a_person_stands_above_all() -> None:
    stalled = {"type": "Stalled", "status": "True", "reason": "ActionNeeded", "message": "the token is missing"}
    model = MODEL | {"status": {"phase": "Stalled", "conditions": [stalled]}}
    assert draw(model, None, NOW)[1:] == ["Stalled: the token is missing", "no rollout yet"]


def test_without_a_terminal_a_rollout_is_one_line() -> None:
    assert line_of(rollout()) == (
        "movies-000002: movies-000002 25 %; Progressing; errors NotWorse, reward Undecided; 80 of 100 answers at 25 %"
    )
