"""Gates: what a version must hold before any user sees it, and the guards that stand whether or not a resource names a gate."""

from typing import Annotated, Literal

from pydantic import Field

from recsys_schemas.v1alpha1.resource import Resource, cel

SLICE = r"^(coldUsers|onboardedUsers|warmUsers|oldUsers|coldItems|amongColdItems|oldItems|group:[A-Za-z][A-Za-z0-9_]{0,62}=[ -~]{1,128})$"
FIELD = r"^[A-Za-z][A-Za-z0-9_]{0,62}$"

GateMetric = Literal[
    "hr@10",
    "hr@20",
    "ndcg@10",
    "ndcg@20",
    "recall@20",
    "map@10",
    "mrr@10",
    "coverage@20",
    "diversity@20",
    "novelty@20",
    "popularityBias@20",
    "calibration@20",
    "ndcgGap@10",
    "snips@10",
    "dr@10",
    "learnt@10",
    "leak@10",
    "scrambled@10",
    "capture@20",
    "inferenceMilliseconds",
    "sizeMegabytes",
]

_SLICED = "['hr@10', 'hr@20', 'ndcg@10', 'ndcg@20', 'recall@20', 'map@10', 'mrr@10']"
_ALONE = "['learnt@10', 'leak@10', 'scrambled@10', 'capture@20']"


class Gate(Resource):
    """One thing that a version must hold before any user sees it."""

    model_config = Resource.model_config | {
        "json_schema_extra": cel(
            (
                "[has(self.atLeast), has(self.atMost)].exists_one(x, x)",
                "set exactly one of atLeast, atMost",
                "'gate ' + self.name + ': set exactly one of atLeast, atMost, seen ' + (has(self.atLeast) ? 'both' : 'none')",
            ),
            (
                "has(self.groupBy) == (self.metric == 'ndcgGap@10')",
                "groupBy belongs to the metric ndcgGap@10, which needs it",
                (
                    "'gate ' + self.name + ': metric ' + self.metric + (has(self.groupBy) ? ' has no groups: remove groupBy'"
                    " : ' is a gap between groups: set groupBy to a field of the events, or to activity')"
                ),
            ),
            (
                f"!has(self.slice) || self.metric in {_SLICED}",
                "slice belongs to metrics that are measured user by user: hr, ndcg, recall, map, mrr",
                "'gate ' + self.name + ': metric ' + self.metric + ' has no slices: remove slice ' + self.slice",
            ),
            (
                "self.compare == 'Difference' || self.relativeTo != 'None'",
                "compare Ratio needs relativeTo Champion or Baselines",
                "'gate ' + self.name + ': compare Ratio has nothing to divide by: set relativeTo to Champion or Baselines'",
            ),
            (
                f"!(self.metric in {_ALONE}) || self.relativeTo == 'None'",
                "learnt@10, leak@10, scrambled@10 and capture@20 already compare: relativeTo must be None",
                "'gate ' + self.name + ': metric ' + self.metric + ' already compares: remove relativeTo ' + self.relativeTo",
            ),
        )
    }

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")]
    """Its name in verdicts. A gate with the name of a guard takes its place."""
    metric: GateMetric
    """What is measured. snips@10 and dr@10 are off-policy estimates of the reward rate. learnt@10: how well what serves answers from what
    it was fitted on, as a part of what the measured fit does. leak@10: by how much held-out items are found better than learnt ones.
    scrambled@10: by how much a fit on exchanged labels finds held-out items better than a fifth as well as the measured fit does.
    capture@20: the part of the lists of known users that newcomers' items have taken since the champion."""
    slice: Annotated[str | None, Field(max_length=200, pattern=SLICE)] = None
    """Measured on a part only: coldUsers (no history), onboardedUsers (those of them who said what they like), warmUsers, oldUsers,
    coldItems (never liked in training), amongColdItems (the same, ranked among themselves), oldItems, or group:FIELD=VALUE. A slice that
    nobody belongs to gives no verdict."""
    group_by: Annotated[str | None, Field(max_length=63, pattern=FIELD)] = None
    """The field of the events, or `activity`, between whose groups the gap is taken."""
    relative_to: Literal["None", "Champion", "Baselines"] = "None"
    """None: the value itself. Champion, Baselines: the difference, paired by user where the metric is per user; with no champion
    it passes."""
    compare: Literal["Difference", "Ratio"] = "Difference"
    """Ratio: the value as a multiple of the other's mean, 1 being equal."""
    at_least: Annotated[float | None, Field(ge=-1e9, le=1e9)] = None
    """The value, the difference or the ratio must be at least this."""
    at_most: Annotated[float | None, Field(ge=-1e9, le=1e9)] = None
    """The value, the difference or the ratio must be at most this."""
    proof: Literal["Shown", "NotRefuted"] = "NotRefuted"
    """Shown: the whole 95 % interval must hold the bound. NotRefuted: a part of it is enough."""
    minimum_samples: Annotated[int, Field(ge=0, le=100_000_000)] = 0
    """Measured on fewer users (items, answers), the gate abstains."""
    when_abstained: Literal["Pass", "Stop"] = "Pass"
    """What follows when a number could not be told honestly: an estimate without support, a slice that is empty or too small. Pass: the
    verdict Abstained says why and bars nobody. Stop: the version is not rolled out."""
    enforcement: Literal["Enforce", "Observe"] = "Enforce"
    """Observe only reports."""


def default_gates() -> list[Gate]:
    """Must beat the baselines, by more than nothing (their very lists do not); must not be clearly worse than the champion."""
    return [
        Gate(name="baselines", metric="ndcg@10", relative_to="Baselines", at_least=0.0001, proof="Shown"),
        Gate(name="champion", metric="ndcg@10", relative_to="Champion", at_least=-0.01),
    ]


def guards() -> list[Gate]:
    """What holds of every version that is not plainly broken, with margins too wide for chance; beside whatever gates a resource names.

    A guard that the card has no numbers for abstains. A gate of the same name in spec.gates takes a guard's place.
    """
    return [
        Gate(name="learnt", metric="learnt@10", at_least=0.4),
        Gate(name="leak", metric="leak@10", at_most=0.03),
        Gate(name="scrambled", metric="scrambled@10", at_most=0.01),
        Gate(name="coverage", metric="coverage@20", relative_to="Champion", compare="Ratio", at_least=0.25),
        Gate(name="forgetting", metric="ndcg@10", slice="oldItems", relative_to="Champion", at_least=-0.03, minimum_samples=50),
        Gate(name="cold-users", metric="ndcg@10", slice="coldUsers", relative_to="Champion", at_least=-0.03, minimum_samples=50),
        Gate(name="capture", metric="capture@20", at_most=0.03),
    ]
