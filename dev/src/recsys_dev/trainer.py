"""The product's own training program, with the demo's fault in it: `python -m recsys_dev.trainer --fault FILE --job ...`.

While FILE exists, the arrays that serve are written with their items permuted, after everything was measured on the good
ones: the classic skew between training and serving. Metrics are honest, digests match, every answer is well-formed and
quick, and every recommendation is wrong. Only users can tell, so only a canary that counts rewards catches it.
"""

import argparse
import sys
from pathlib import Path

from ray_apps.algorithms import ALGORITHMS
from ray_apps.training.entry import main as train
from recsys_dev.faults import FaultSwitch
from recsys_dev.skewed import SkewedALS


def main() -> int:
    """Train; the fault, if its file is there, only changes what is written."""
    parser = argparse.ArgumentParser(prog="recsys_dev.trainer", description="Training with the demo's fault switch.")
    parser.add_argument("--fault", type=Path, required=True, help="the switch's file")
    asked, rest = parser.parse_known_args()
    written = {**ALGORITHMS, "ALS": SkewedALS} if FaultSwitch(file=asked.fault).is_on else None
    return train(rest, written=written)


if __name__ == "__main__":
    sys.exit(main())
