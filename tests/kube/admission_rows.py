"""Rows for the tests of admission: what a bad resource is, and those that break a rule of gates and triggers."""

from dataclasses import dataclass, field
from typing import Any

PARTS = ("[].slice", "[].groupBy", "[].cron", "[].timeZone")
"""Patterned parts of the rows below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A resource that differs from a good one at one path, what in the schema it breaks, and the words that must come back."""

    kind: str = "RecommenderModel"
    at: str
    value: Any
    breaks: str = ""
    says: tuple[str, ...]
    before: dict[str, Any] = field(default_factory=dict[str, Any])


def rm(at: str, value: Any, *says: str, breaks: str = "") -> Broken:
    """A bad RecommenderModel."""
    return Broken(at=at, value=value, says=says, breaks=breaks)


def gate(*says: str, breaks: str = "", **change: Any) -> Broken:
    """A gate that is good but for a change."""
    return rm("spec.gates", [{"name": "g", "metric": "ndcg@10", "atLeast": 0.1} | change], *says, breaks=f"[]{breaks}" if breaks else "")


def trigger(*says: str, breaks: str = "", **fields: Any) -> Broken:
    """One trigger."""
    return rm("spec.training.triggers", [fields], *says, breaks=f"[]{breaks}" if breaks else "")


LOW: dict[str, Any] = {"type": "Quality", "metric": "rewardRate", "below": 0.2}
ODD: dict[str, Any] = {"type": "Drift", "metric": "psi", "above": 0.2}

JUDGED = {
    "a shuffle that weighs too much": rm(
        "spec.serving.shuffle", {"share": 0.1, "depth": 20}, "shuffle: depth exceeds 100 times share", breaks="shuffle: depth exceeds"
    ),
    "a gap without groups": gate(
        "gate g: metric ndcgGap@10 is a gap between groups: set groupBy", metric="ndcgGap@10", breaks="groupBy belongs to the metric"
    ),
    "groups without a gap": gate("gate g: metric ndcg@10 has no groups: remove groupBy", groupBy="gender"),
    "groups by no field": gate("spec.gates[0].groupBy", '"a b"', metric="ndcgGap@10", groupBy="a b", breaks=".groupBypattern"),
    "a slice of what has none": gate(
        "gate g: metric coverage@20 has no slices: remove slice coldUsers",
        metric="coverage@20",
        slice="coldUsers",
        breaks="slice belongs to",
    ),
    "a slice that is none": gate("spec.gates[0].slice", '"newUsers"', slice="newUsers", breaks=".slicepattern"),
    "a group that is none": gate("spec.gates[0].slice", slice="group:gender"),
    "a ratio of nothing": gate(
        "gate g: compare Ratio has nothing to divide by: set relativeTo", compare="Ratio", breaks="compare Ratio needs"
    ),
    "a comparison compared": gate(
        "gate g: metric leak@10 already compares: remove relativeTo Champion",
        metric="leak@10",
        relativeTo="Champion",
        breaks="learnt@10, leak@10, scrambled@10 and",
    ),
    "an abstention that is none": gate("spec.gates[0].whenAbstained", '"Fail"', '"Pass", "Stop"', whenAbstained="Fail"),
    "a schedule without a time": trigger(
        "a trigger of type Schedule needs cron", type="Schedule", breaks="a trigger of type Schedule needs"
    ),
    "a minute that no hour has": trigger(
        "spec.training.triggers[0].cron", '"61 * * * *"', type="Schedule", cron="61 * * * *", breaks=".cronpattern"
    ),
    "a cron line of four fields": trigger("spec.training.triggers[0].cron", type="Schedule", cron="0 3 * *"),
    "a time zone of no shape": trigger(
        "spec.training.triggers[0].timeZone", '"+01:00"', type="Schedule", cron="0 3 * * *", timeZone="+01:00", breaks=".timeZonepattern"
    ),
    "quality of nothing": trigger(
        "trigger of type Quality needs metric", "seen no metric", type="Quality", below=0.2, breaks="a trigger of type Quality needs"
    ),
    "quality without a threshold": trigger("seen metric rewardRate, no below", type="Quality", metric="rewardRate"),
    "quality by a measure of drift": trigger("seen metric psi", **(LOW | {"metric": "psi"})),
    "drift without a threshold": trigger(
        "trigger of type Drift needs metric psi and above, seen metric psi, no above",
        type="Drift",
        metric="psi",
        breaks="a trigger of type Drift needs",
    ),
    "drift of a measure of quality": trigger("seen metric ndcg@10", **(ODD | {"metric": "ndcg@10"})),
    "cron for new data": trigger(
        "trigger of type NewData takes no cron: remove it", type="NewData", cron="0 3 * * *", breaks="cron belongs to a trigger"
    ),
    "a clock for new data": trigger("takes no timeZone", type="NewData", timeZone="UTC", breaks="timeZone belongs to a trigger"),
    "records for drift": trigger("takes no records", **(ODD | {"records": 5}), breaks="records belongs to a trigger"),
    "a metric for new data": trigger("takes no metric", type="NewData", metric="psi", breaks="metric belongs to a trigger"),
    "a floor for drift": trigger("takes no below", **(ODD | {"below": 0.1}), breaks="below belongs to a trigger"),
    "a time for drift": trigger("takes no forSeconds", **(ODD | {"forSeconds": 5}), breaks="forSeconds belongs to a trigger"),
    "samples for drift": trigger("takes no minimumSamples", **(ODD | {"minimumSamples": 5}), breaks="minimumSamples belongs to a trigger"),
    "a ceiling for quality": trigger("takes no above", **(LOW | {"above": 0.1}), breaks="above belongs to a trigger"),
    "an unknown trigger": trigger("spec.training.triggers[0].type", '"Moon"', '"Schedule", "NewData", "Quality", "Drift"', type="Moon"),
    "more runs than minutes": rm("spec.training.maxRunsPerDay", 1441, "spec.training.maxRunsPerDay", "1440"),
}
