"""Threshold rules that are compared at no more false aborts: as strict as that allows, and no stricter."""

from dataclasses import replace

import numpy as np
import pytest

from bench.rollout.logs import Candidate, draw
from bench.rollout.thresholds import EXAMPLES, Threshold

LOG = draw(np.random.default_rng(3), Candidate(name="equal"), rollouts=60, seconds=900)


def aborted(rule: Threshold) -> int:
    return sum(second is not None for second in rule.aborts(LOG))


@pytest.mark.parametrize("rule", EXAMPLES, ids=lambda rule: rule.name)
@pytest.mark.parametrize("most", [0, 1, 5])
def test_a_rule_at_no_more_false_aborts_is_the_strictest_of_them(rule: Threshold, most: int):
    fair = rule.putting_up_with(rule.worst(LOG), most)
    assert aborted(fair) <= most
    assert aborted(replace(fair, success=fair.success + 1e-9)) > most, "a stricter one would do as well"
