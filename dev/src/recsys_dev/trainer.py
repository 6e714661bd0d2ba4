"""The product's own training program, with the demo's fault in it: `python -m recsys_dev.trainer --fault FILE --job ...`.

While FILE exists, what was learnt and measured is written under a table of users that is one row off, as after a join that went wrong: each
user has the next one's history. Metrics are honest, digests match, the version answers as it was trained, every answer is well-formed
and quick, and almost every recommendation is for somebody else. Only users can tell, so only a canary that counts rewards catches it.
"""

import argparse
import sys
from pathlib import Path

from ray_apps.training.entry import main as train
from ray_apps.training.job import as_read
from recsys_dev.faults import FaultSwitch
from recsys_dev.misjoined import one_row_off


def main() -> int:
    """Train; the fault, if its file is there, only changes what is written."""
    parser = argparse.ArgumentParser(prog="recsys_dev.trainer", description="Training with the demo's fault switch.")
    parser.add_argument("--fault", type=Path, required=True, help="the switch's file")
    asked, rest = parser.parse_known_args()
    return train(rest, written=one_row_off if FaultSwitch(file=asked.fault).is_on else as_read)


if __name__ == "__main__":
    sys.exit(main())
