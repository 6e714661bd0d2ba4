"""Open Bandit Pipeline's estimates of some logs: `python obp_estimates.py IN.npz OUT.npz`. It runs in the venv of `recsys_dev.peers`.

IN holds for each case c: `reward_c`, `action_c`, `position_c`, `pscore_c` (rounds,), `action_dist_c` and `expected_c` (rounds, actions,
places). OUT holds `ipw`, `snipw` and `dr`: (cases,).
"""

import sys

import numpy as np
from obp.ope import DoublyRobust, InverseProbabilityWeighting, SelfNormalizedInverseProbabilityWeighting


def main() -> None:
    """Every case."""
    given, out = np.load(sys.argv[1]), {"ipw": [], "snipw": [], "dr": []}
    for case in range(int(given["cases"])):
        log = {name: given[f"{name}_{case}"] for name in ("reward", "action", "position", "pscore", "action_dist")}
        out["ipw"].append(InverseProbabilityWeighting().estimate_policy_value(**log))
        out["snipw"].append(SelfNormalizedInverseProbabilityWeighting().estimate_policy_value(**log))
        out["dr"].append(DoublyRobust().estimate_policy_value(**log, estimated_rewards_by_reg_model=given[f"expected_{case}"]))
    np.savez(sys.argv[2], **{name: np.array(values) for name, values in out.items()})


main()
