"""Rows for the tests of admission: rollouts that no walk could follow, and windows that never open or never close."""

from typing import Any

from tests.kube.admission_rows import Broken, rm

STEPS = "spec.rollout.steps"
SHADOW: dict[str, Any] = {"shadow": {"seconds": 5}}
MIX: dict[str, Any] = {"interleave": {"percent": 50}}
PAUSE: dict[str, Any] = {"pause": {"seconds": 5}}
ARMS: list[dict[str, Any]] = [{"version": "movies-000003"}]


def by(strategy: str, steps: list[dict[str, Any]], *says: str, breaks: str = "", **more: Any) -> Broken:
    """A rollout of one strategy with its steps."""
    broken = f"spec.rollout#{breaks}" if breaks else ""
    return Broken(at="spec.rollout", value={"strategy": strategy, "steps": steps} | more, says=says, breaks=broken)


def window(*says: str, breaks: str = "", **fields: Any) -> Broken:
    """One freeze window."""
    at = "spec.rollout.freezeWindows"
    return rm(at, [fields], *says, breaks=f"{at}[]{breaks}" if breaks else "")


WALKS = {
    "weights that fall": rm(
        STEPS,
        [{"setWeight": 25}, PAUSE, {"setWeight": 5}],
        STEPS,
        "setWeight must not fall",
        "order the weights upwards",
        breaks="steps: setWeight must not fall",
    ),
    "a shadow after users have seen it": rm(
        STEPS, [{"setWeight": 5}, SHADOW], "must come before the first setWeight", breaks="steps: a shadow or interleave step must come"
    ),
    "a canary that begins with waiting": by(
        "Canary", [PAUSE, {"setWeight": 5}], "put a setWeight or a shadow before it", breaks="steps: the first step must not be a pause"
    ),
    "a canary without a share": by("Canary", [SHADOW], "set strategy BlueGreen", breaks="steps: a Canary needs a setWeight"),
    "all at once, step by step": by(
        "BlueGreen",
        [SHADOW, {"setWeight": 5}],
        "strategy BlueGreen gives no share step by step: remove setWeight",
        breaks="steps: BlueGreen and Shadow have no setWeight",
    ),
    "a test of two shares": by(
        "ABTest",
        [{"setWeight": 5}, {"setWeight": 50}],
        "exactly one setWeight, as its last step",
        breaks="steps: an ABTest has exactly one setWeight",
    ),
    "arms in a canary": by(
        "Canary",
        [],
        "strategy Canary tries one version at a time: set strategy ABTest, or remove arms",
        breaks="arms: only an ABTest",
        arms=ARMS,
    ),
    "a test of several that begins with waiting": by(
        "ABTest", [PAUSE, {"setWeight": 20}], "has one step, the candidate's setWeight", breaks="steps: an ABTest with arms", arms=ARMS
    ),
    "arms that leave the stable version nothing": by(
        "ABTest",
        [{"setWeight": 30}],
        "the weights of all arms and holdback must leave the stable version at least 1 of 100: lower them",
        breaks="arms: the weights of all arms",
        arms=[{"version": "movies-000003", "weight": 30}, {"version": "movies-000004"}],
        holdback=10,
    ),
    "an arm with a weight beside a candidate without": by(
        "ABTest",
        [],
        "steps must say the candidate's: add steps",
        breaks="arms: with a weight of its own",
        arms=[{"version": "movies-000003", "weight": 30}],
    ),
    "arms with a metric of one's own": by(
        "ABTest",
        [],
        "analysis.metrics are read for one candidate alone: remove them, or arms",
        breaks="arms: analysis.metrics are read",
        arms=ARMS,
        analysis={"metrics": [{"name": "skips", "address": "http://p:9090", "hits": "a{$version}", "trials": "b{$version}"}]},
    ),
    "too many arms": rm("spec.rollout.arms", [{"version": f"movies-00000{n}"} for n in range(5)], "spec.rollout.arms", "4 items"),
    "an arm twice": rm("spec.rollout.arms", [ARMS[0], ARMS[0]], "spec.rollout.arms[1]", "Duplicate value"),
    "an arm of no version's name": rm(
        "spec.rollout.arms", [{"version": "../m"}], "arms[0].version", '"../m"', breaks="spec.rollout.arms[].version#pattern"
    ),
    "an arm for nobody": rm("spec.rollout.arms", [{"version": "m-1", "weight": 0}], "spec.rollout.arms[0].weight"),
    "an arm to take that is none": Broken(
        kind="RecommenderRollout",
        at="spec.control",
        value={"promote": "Full", "arm": "movies-000009"},
        says=("arm movies-000009 is no arm of this rollout: name its candidate, or one of spec.arms",),
        breaks="spec#control: arm is no arm",
    ),
    "a shadow without a shadow": by("Shadow", [PAUSE], "needs a shadow step", breaks="steps: strategy Shadow needs"),
    "mixed lists in a canary": by(
        "Canary",
        [MIX, {"setWeight": 5}],
        "strategy Canary has no interleave steps: set strategy Interleave",
        breaks="steps: only the strategy Interleave",
    ),
    "nothing to mix": by("Interleave", [SHADOW], "exactly one interleave step", breaks="steps: strategy Interleave needs exactly one"),
    "mixed lists that are not all logged": Broken(
        at="spec",
        value={
            "ray": {"dashboardURL": "http://127.0.0.1:8265"},
            "kafka": {"bootstrapServers": ["127.0.0.1:9092"]},
            "rollout": {"strategy": "Interleave"},
            "serving": {"payloadLogging": {"mode": "Sampled"}},
        },
        says=("strategy Interleave needs every answer logged", "set spec.serving.payloadLogging.mode Full"),
        breaks="spec#rollout: strategy Interleave needs every answer logged",
    ),
    "more held back than is left": by(
        "Canary",
        [{"setWeight": 95}],
        "setWeight and holdback exceed 100 together",
        breaks="steps: setWeight and holdback exceed",
        holdback=10,
    ),
    "more held back than is not mixed": by(
        "Interleave", [MIX | {"interleave": {"percent": 95}}], "exceed 100 together", breaks="steps: interleave.percent", holdback=10
    ),
    "all mixed and some held back": by("Interleave", [], "interleave.percent and holdback exceed 100", holdback=10),
    "a step of two verbs": rm(
        STEPS,
        [{"setWeight": 5} | PAUSE],
        "spec.rollout.steps[0]",
        "exactly one of setWeight, pause, shadow, interleave in a step, seen several",
        breaks="[]exactly one of setWeight, pause",
    ),
    "a step of no verb": rm(STEPS, [{"setWeight": 5}, {}], "spec.rollout.steps[1]", "seen none"),
    "a step to everybody": rm(STEPS, [{"setWeight": 100}], "spec.rollout.steps[0].setWeight", "100", "equal to 99"),
    "a pause for nothing": rm(STEPS, [{"setWeight": 5}, {"pause": {}}], "exactly one of seconds, approval in a pause, seen none"),
    "a pause for two things": rm(
        STEPS,
        [{"setWeight": 5}, {"pause": {"seconds": 5, "approval": True}}],
        "seen both: remove one",
        breaks="spec.rollout.steps[].pause#exactly one of seconds, approval",
    ),
    "a rollout with a pause for two things": Broken(
        kind="RecommenderRollout",
        at="spec.steps",
        value=[{"setWeight": 5}, {"pause": {"seconds": 5, "approval": True}}],
        says=("spec.steps[1].pause", "seen both: remove one"),
        breaks="spec.steps[].pause#exactly one of seconds, approval",
    ),
    "an approval denied beforehand": rm(STEPS, [{"setWeight": 5}, {"pause": {"approval": False}}], "spec.rollout.steps[1].pause.approval"),
    "an unknown strategy": rm("spec.rollout.strategy", "Lottery", '"Lottery"', '"Canary", "BlueGreen"'),
}

WINDOWS = {
    "a window that ends when it begins": window(
        "from and to are both 09:00, so the window never opens",
        breaks="#freezeWindows: a window that ends",
        to="09:00",
        **{"from": "09:00"},
    ),
    "dates the wrong way round": window(
        "lastDate 2026-12-24 is before firstDate 2027-01-02",
        breaks="#freezeWindows: lastDate is before",
        firstDate="2027-01-02",
        lastDate="2026-12-24",
    ),
    "a window without an end": window("every day and the whole day never ends", breaks="#freezeWindows: a window of every day"),
    "a clock of nowhere": window(
        "unknown time zone Europe/Atlantis", breaks="#freezeWindows: timeZone is unknown", timeZone="Europe/Atlantis", to="09:00"
    ),
    "a clock of no shape": window('"+01:00"', timeZone="+01:00", to="09:00", breaks=".timeZone#pattern"),
    "an hour of no clock": window('"25:00"', to="25:00", breaks=".to#pattern"),
    "a beginning of no clock": window('"24:00"', to="09:00", breaks=".from#pattern", **{"from": "24:00"}),
    "a date of no calendar": window('"2026-13-01"', firstDate="2026-13-01", to="09:00", breaks=".firstDate#pattern"),
    "an end of no calendar": window('"soon"', lastDate="soon", to="09:00", breaks=".lastDate#pattern"),
    "a day of no week": window('"Caturday"', days=["Caturday"]),
}


def metric(**fields: Any) -> list[dict[str, Any]]:
    """One metric of the analysis."""
    query = 'sum(plays{version="$version"})'
    return [{"name": "skips", "address": "http://prometheus:9090", "hits": query, "trials": query} | fields]


_BAD = {
    "one count for both arms": ({"hits": "sum(plays)"}, ("", "both arms would be counted together"), "#hits and trials must say"),
    "a name of two words": ({"name": "A b"}, (".name", '"A b"'), ".name#pattern"),
    "no address": ({"address": "prometheus"}, (".address", '"prometheus"'), ".address#pattern"),
}

METRICS = {
    f"a {'rollout with a ' if kind == 'RecommenderRollout' else ''}metric with {what}": Broken(
        kind=kind, at=at, value=metric(**fields), says=(f"{at}[0]{says[0]}", says[1]), breaks=f"{at}[]{breaks}"
    )
    for kind, at in (("RecommenderModel", "spec.rollout.analysis.metrics"), ("RecommenderRollout", "spec.analysis.metrics"))
    for what, (fields, says, breaks) in _BAD.items()
}
