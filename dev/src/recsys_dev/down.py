"""Stop everything that the demo and broken-off tests left running, and remove their state: `make down`."""

import os
import sys
from pathlib import Path

from recsys_dev.errors import told
from recsys_dev.node_space import sweep
from recsys_dev.runs import discard, living_owner

RUNS = Path("build/run")


def down(runs: Path, *, spare_tests: bool) -> list[str]:
    """Stop and remove every run below `runs`; return one line for each thing done.

    A test run whose process still lives is spared when `spare_tests`: it cleans up after itself.
    """
    said: list[str] = []
    spared = False
    tests = runs / "tests"
    others = [path for path in sorted(runs.glob("*")) if path != tests]
    for run_dir in [*others, *sorted(tests.glob("*"))]:
        owner = living_owner(run_dir) if run_dir.parent == tests else None
        if owner is not None and spare_tests:
            said.append(f"spared {run_dir}: pid {owner} is testing with it (FORCE=1 stops it too)")
            spared = True
        elif run_dir.is_dir():
            said += [f"stopped {name} of {run_dir}" for name in discard(run_dir)]
        else:
            run_dir.unlink(missing_ok=True)
    if not spared:
        # Also what records itself in `runs` without a folder of its own.
        said += [f"stopped {name}" for name in discard(runs)]
    return said


def main() -> int:
    """Stop the parts recorded under `build/run` of the current folder."""
    said = down(RUNS.resolve(), spare_tests=os.environ.get("FORCE", "0") in {"", "0"})
    said += [f"removed the control groups of {name}" for name in sweep()]
    print("\n".join(said) if said else "Nothing was running.")
    return 0


if __name__ == "__main__":
    sys.exit(told(main))
