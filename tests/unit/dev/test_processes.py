import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from recsys_dev import process_table, processes
from recsys_dev.errors import Unmet
from recsys_dev.processes import Child, Command

SLEEPER = ["sleep", "300"]


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "run"
    processes.stop_all(tmp_path, deadline_s=1)


def until(condition: Callable[[], bool], what: str) -> None:
    processes.wait_until(condition, what=what, deadline_s=60)


def shell(words: str) -> Command:
    return Command(argv=["bash", "-c", words])


def test_a_childs_output_is_in_its_log_and_its_record_finds_it_again(run_dir: Path):
    child = processes.start(run_dir, "talker", shell("echo hello; exec sleep 300"))
    until(lambda: "hello" in child.last_lines(), "the child has spoken")
    assert processes.read(run_dir / "pid" / "talker") == child
    assert processes.recorded(run_dir.parent) == [child]
    assert child.is_alive()


def test_a_child_that_ended_by_itself_is_not_alive(run_dir: Path):
    child = processes.start(run_dir, "brief", Command(argv=["true"]))
    until(lambda: not child.is_alive(), "the child has ended")


def test_a_reused_pid_is_never_killed(run_dir: Path):
    child = processes.start(run_dir, "ours", Command(argv=SLEEPER))
    with subprocess.Popen(SLEEPER, start_new_session=True) as stranger:
        # The record as it would be if our child had ended and the system had given its pid to a stranger.
        processes.stop(replace(child, pid=stranger.pid, started="1"))
        assert process_table.start_time(stranger.pid) is not None
        stranger.kill()


def test_stopping_ends_the_children_of_a_child_too(run_dir: Path):
    child = processes.start(run_dir, "parent", shell("sleep 300 & echo $!; wait"))
    until(lambda: child.last_lines().strip().isdigit(), "the grandchild's pid is known")
    grandchild = int(child.last_lines())
    processes.stop(child)
    assert not child.is_alive()
    until(lambda: process_table.start_time(grandchild) is None, "the grandchild has ended")
    assert not child.pid_file.exists()


def test_a_child_that_ignores_term_is_killed_after_the_deadline(run_dir: Path):
    child = processes.start(run_dir, "stubborn", shell("trap '' TERM; echo ready; while :; do sleep 0.1; done"))
    until(lambda: "ready" in child.last_lines(), "the trap is set")
    processes.stop(child, deadline_s=0.3)
    assert not child.is_alive()


def test_what_moved_to_a_session_of_its_own_is_stopped_by_its_mark(run_dir: Path):
    child = processes.start(run_dir, "parent", shell("setsid sleep 300 & echo $!; exec sleep 300"))
    until(lambda: child.last_lines().strip().isdigit(), "the grandchild's pid is known")
    os.kill(child.pid, signal.SIGKILL)
    until(lambda: not child.is_alive(), "the parent has ended")
    left = process_table.marked(run_dir)
    assert left
    processes.stop_all(run_dir)
    assert process_table.marked(run_dir) == []


def test_what_another_run_started_is_left_alone(run_dir: Path):
    other = processes.start(run_dir.parent / "run-2", "other", Command(argv=SLEEPER))
    processes.start(run_dir, "ours", Command(argv=SLEEPER))
    assert processes.stop_all(run_dir) == ["ours"]
    assert other.is_alive()


def test_a_name_that_already_runs_is_refused(run_dir: Path):
    child = processes.start(run_dir, "broker", Command(argv=SLEEPER))
    with pytest.raises(Unmet, match=f"broker in .*: already running as pid {child.pid}"):
        processes.start(run_dir, "broker", Command(argv=SLEEPER))


def test_a_name_whose_process_was_killed_can_be_started_again(run_dir: Path):
    first = processes.start(run_dir, "broker", Command(argv=SLEEPER))
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: not first.is_alive(), "the first has ended")
    second = processes.start(run_dir, "broker", Command(argv=SLEEPER))
    assert second.is_alive()
    assert processes.read(second.pid_file) == second


def test_a_program_that_is_not_there_is_named(run_dir: Path):
    with pytest.raises(Unmet, match="program no-such-program for broker"):
        processes.start(run_dir, "broker", Command(argv=["no-such-program"]))


def test_waiting_ends_with_the_last_words_of_a_child_that_died(run_dir: Path):
    child = processes.start(run_dir, "weak", shell("echo no space left; exit 3"))
    with pytest.raises(Unmet, match=r"broker ready: weak ended; its last words:\nno space left"):
        processes.wait_until(lambda: False, what="broker ready", deadline_s=60, children=[child])


def test_waiting_ends_at_its_deadline(run_dir: Path):
    child = processes.start(run_dir, "slow", shell("echo still thinking; exec sleep 300"))
    until(lambda: "thinking" in child.last_lines(), "the child has spoken")
    with pytest.raises(Unmet, match=r"broker ready: not so after 0 s\n--- slow\nstill thinking"):
        processes.wait_until(lambda: False, what="broker ready", deadline_s=0.2, children=[child])


def test_what_came_true_while_whoever_waits_stood_still_is_no_failure(run_dir: Path):
    brief = processes.start(run_dir, "brief", Command(argv=["true"]))
    until(lambda: not brief.is_alive(), "the child has ended")
    for deadline_s, children in ((-1, []), (60, [brief])):
        looks = iter([False, True])
        processes.wait_until(lambda looks=looks: next(looks), what="the second look", deadline_s=deadline_s, children=children)


@pytest.mark.parametrize("content", ["", "42", "{}", '{"name": "x", "pid": "y", "started": "z", "log": "l"}'])
def test_an_unreadable_record_names_nobody(tmp_path: Path, content: str):
    record = tmp_path / "record"
    record.write_text(content)
    assert processes.read(record) is None


def test_the_end_of_a_long_log_is_shown_and_no_more(tmp_path: Path):
    log = tmp_path / "log"
    log.write_text("".join(f"line {number}\n" for number in range(100_000)))
    child = Child(name="c", pid=1, started="", log=log, pid_file=tmp_path / "pid")
    assert child.last_lines(2) == "line 99998\nline 99999"


def test_this_process_is_alive_and_a_pid_beyond_all_is_not():
    assert process_table.start_time(os.getpid()) is not None
    assert process_table.start_time(2**31 - 1) is None


def test_a_zombie_has_ended():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        until(lambda: process_table.start_time(process.pid) is None, "the process is a zombie")
