"""Always-valid evidence: looking at every moment raises no false alarm. Pure; the choices are in ADR 5 and 32."""

from recsys_operator.plan.evidence.budget import levels as levels
from recsys_operator.plan.evidence.counts import UNSEEN as UNSEEN
from recsys_operator.plan.evidence.counts import Count as Count
from recsys_operator.plan.evidence.counts import Grouped as Grouped
from recsys_operator.plan.evidence.counts import effective as effective
from recsys_operator.plan.evidence.counts import interval as interval
from recsys_operator.plan.evidence.counts import likely_excess as likely_excess
from recsys_operator.plan.evidence.quantiles import UNTIMED as UNTIMED
from recsys_operator.plan.evidence.quantiles import Latencies as Latencies
from recsys_operator.plan.evidence.quantiles import Slower as Slower
from recsys_operator.plan.evidence.quantiles import Timing as Timing
from recsys_operator.plan.evidence.quantiles import slower as slower
from recsys_operator.plan.evidence.rates import Comparison as Comparison
from recsys_operator.plan.evidence.rates import Margin as Margin
from recsys_operator.plan.evidence.rates import less_often as less_often
from recsys_operator.plan.evidence.rates import more_often as more_often
from recsys_operator.plan.evidence.rates import preferred as preferred
from recsys_operator.plan.evidence.split import Split as Split
from recsys_operator.plan.evidence.split import split as split
from recsys_operator.plan.evidence.verdicts import Levels as Levels
from recsys_operator.plan.evidence.verdicts import Proof as Proof
from recsys_operator.plan.evidence.verdicts import Verdict as Verdict
