"""Load on real serving: `make load`. Prints times, success and what was shed by route; ends with 1 when a claim does not hold.

Times count from the moment at which a request was meant to be sent. A training job and a canary run beside it.
"""

import argparse
import tempfile
from pathlib import Path

from load.running import P99_MS, SUCCESS, WALK, figures, under_load
from load.scene import Parts, served
from recsys_dev.claims import Claims
from recsys_dev.figures import tell


def main() -> int:
    """Start what is needed, load it, tell, and stop what was started."""
    parser = argparse.ArgumentParser(prog="load", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rate", type=float, default=150, help="requests a second")
    parser.add_argument("--items", type=int, default=27_000)
    words = parser.parse_args()
    claims = Claims()
    with tempfile.TemporaryDirectory(prefix="load-") as folder, Parts(Path(folder)) as parts, served(parts, items=words.items) as scene:
        result = under_load(scene, rate=words.rate, seconds=words.seconds)
    whole = result.told.all
    tell("load", "by route", figures(result.told))
    walked = [share for share, _ in result.canary.steps]
    claims.check(f"success is at least {SUCCESS:.1%}", result.success >= SUCCESS, f"{result.success:.4%}: {dict(whole.statuses)}")
    claims.check(f"p99 is at most {P99_MS:g} ms while training", whole.percentile(99) <= P99_MS, f"{whole.percentile(99):.1f} ms")
    claims.check("the canary came to its end", walked == list(WALK), result.canary.failed or f"{result.canary.steps}")
    tell("load", "claims", {claim.name: f"{'holds' if claim.held else 'NOT SO'}: {claim.seen}" for claim in claims.all})
    return 1 if claims.broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
