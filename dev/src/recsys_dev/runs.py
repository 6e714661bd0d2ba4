"""Run directories: where the state of running parts lies, and whose it is."""

import json
import os
import shutil
from pathlib import Path

from recsys_dev.process_table import start_time
from recsys_dev.processes import stop_all

OWNER = "owner"


def claim(run_dir: Path) -> Path:
    """Make a run directory and note this process as its owner, so that `make down` spares it while we live."""
    run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    run_dir.joinpath(OWNER).write_text(json.dumps({"pid": os.getpid(), "started": start_time(os.getpid())}) + "\n")
    return run_dir


def living_owner(run_dir: Path) -> int | None:
    """Return the pid of the process that claimed a run directory, or None when it has ended or never was."""
    try:
        known = json.loads(run_dir.joinpath(OWNER).read_text())
        pid, started = int(known["pid"]), known["started"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return pid if started is not None and start_time(pid) == started else None


def discard(run_dir: Path) -> list[str]:
    """Stop everything recorded in a run directory, then remove it; return the names of what still ran."""
    stopped = stop_all(run_dir)
    shutil.rmtree(run_dir, ignore_errors=True)
    return stopped
