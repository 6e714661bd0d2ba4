import json
from pathlib import Path

import pytest

from recsys_dev.figures import tell


def test_the_same_figures_are_on_the_screen_and_in_the_file_beside_those_of_other_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    tell("bench", "ingest", {"events_per_s": 74531.2, "ratio": 0.5312}, folder=tmp_path)
    file = tell("bench", "serving", {"api": {"p50_ms": 3.0}, "echo": {"p50_ms": 2.5, "p99_ms": 9.0}}, folder=tmp_path)
    shown = capsys.readouterr().out
    known = json.loads(file.read_text())
    assert known["ingest"]["figures"] == {"events_per_s": 74531.2, "ratio": 0.5312}
    assert known["serving"]["figures"]["echo"] == {"p50_ms": 2.5, "p99_ms": 9.0}
    assert known["serving"]["machine"]["cores"] > 0
    assert all(words in shown for words in ("74,531", "0.5312", "p99 ms", "echo"))


def test_a_report_that_is_no_json_is_made_anew(tmp_path: Path):
    tmp_path.joinpath("bench.json").write_text("{half")
    assert json.loads(tell("bench", "ingest", {"ratio": 1}, folder=tmp_path).read_text()).keys() == {"ingest"}
