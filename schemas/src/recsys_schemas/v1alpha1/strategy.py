"""Strategy: how a version replaces another, step by step, and when nothing may change."""

from typing import Annotated, Literal

from pydantic import Field

from recsys_schemas.v1alpha1.analysis import Analysis
from recsys_schemas.v1alpha1.arms import ARM_RULES, MOST_BESIDE, NamedArm
from recsys_schemas.v1alpha1.resource import Resource, cel, list_map
from recsys_schemas.v1alpha1.triggers import ZONE

Strategy = Literal["Canary", "BlueGreen", "ABTest", "Shadow", "Interleave"]


class Pause(Resource):
    """A step that only waits: for a time, or for a person."""

    model_config = Resource.model_config | {
        "json_schema_extra": cel(
            (
                "[has(self.seconds), has(self.approval)].exists_one(x, x)",
                "exactly one of seconds, approval in a pause",
                "'exactly one of seconds, approval in a pause, seen ' + (has(self.seconds) ? 'both: remove one' : 'none')",
            )
        )
    }

    seconds: Annotated[int | None, Field(ge=1, le=604_800)] = None
    """How long."""
    approval: Literal[True] | None = None
    """Until a person promotes it: `control.promote` Next (with this step's index) or Full."""


class ShadowStep(Resource):
    """A step in which the candidate answers copies of questions: users never see its answers, which are scored beside the stable ones."""

    seconds: Annotated[int, Field(ge=0, le=604_800)] = 60
    """Least time."""
    min_requests: Annotated[int, Field(ge=1, le=100_000_000)] = 200
    """Least answers that were scored."""
    percent: Annotated[int, Field(ge=1, le=100)] = 100
    """Of how many users. A replica that is busy drops copies, never questions."""
    min_overlap: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Sent back below this: the mean part of the best k items that the stable answers have too. Default: only told."""


class InterleaveStep(Resource):
    """A step in which lists are mixed by team draft (Radlinski, Kurup & Joachims 2008): whose items users click is who they prefer."""

    percent: Annotated[int, Field(ge=1, le=100)] = 100
    """Of how many users."""
    min_clicked: Annotated[int, Field(ge=1, le=100_000_000)] = 50
    """Least answers with a click that prefers one side."""


class Step(Resource):
    """One step of a rollout: exactly one verb."""

    model_config = Resource.model_config | {
        "json_schema_extra": cel(
            (
                "[has(self.setWeight), has(self.pause), has(self.shadow), has(self.interleave)].exists_one(x, x)",
                "exactly one of setWeight, pause, shadow, interleave in a step",
                (
                    "'exactly one of setWeight, pause, shadow, interleave in a step, seen ' + ("
                    "[has(self.setWeight), has(self.pause), has(self.shadow), has(self.interleave)].exists(x, x)"
                    " ? 'several: make a step of each' : 'none')"
                ),
            )
        )
    }

    set_weight: Annotated[int | None, Field(ge=1, le=99)] = None
    """Give the candidate so many percent of the users; left only when the evidence allows."""
    pause: Pause | None = None
    """Wait at the present share."""
    shadow: ShadowStep | None = None
    """Answer copies of questions; nobody sees it."""
    interleave: InterleaveStep | None = None
    """Mix the lists of both and see whose items are clicked."""


_OWN_STEPS: dict[Strategy, list[Step]] = {
    "Canary": [Step(set_weight=5), Step(set_weight=25), Step(set_weight=50)],
    "BlueGreen": [Step(shadow=ShadowStep())],
    "ABTest": [Step(set_weight=50)],
    "Shadow": [Step(shadow=ShadowStep()), Step(pause=Pause(approval=True))],
    "Interleave": [Step(interleave=InterleaveStep())],
}


class OnFailure(Resource):
    """What follows a roll-back."""

    cooldown_seconds: Annotated[int, Field(ge=0, le=31_536_000)] = 3600
    """No new training run for so long."""
    quarantine_seconds: Annotated[int | None, Field(ge=1, le=315_360_000)] = None
    """For so long no version with the failed digest is tried. Default: for ever."""


class FreezeWindow(Resource):
    """When no share may grow. A candidate that fails is sent back all the same, and going back is always possible."""

    model_config = Resource.model_config | {
        "json_schema_extra": cel(
            (
                "self.from != self.to",
                "freezeWindows: a window that ends when it begins never opens: set another to",
                "'freezeWindows: from and to are both ' + self.from + ', so the window never opens: set another to'",
            ),
            (
                "!has(self.firstDate) || !has(self.lastDate) || self.firstDate <= self.lastDate",
                "freezeWindows: lastDate is before firstDate, so the window never opens: exchange them",
                (
                    "'freezeWindows: lastDate ' + self.lastDate + ' is before firstDate ' + self.firstDate"
                    " + ', so the window never opens: exchange them'"
                ),
            ),
            (
                "has(self.lastDate) || self.from != '00:00' || self.to != '24:00' || (has(self.days) && self.days.size() < 7)",
                "freezeWindows: a window of every day and the whole day never ends: set days, from and to, or lastDate",
            ),
            (
                "timestamp('2026-01-01T00:00:00Z').getHours(self.timeZone) >= 0",
                "freezeWindows: timeZone is unknown; use a name such as Europe/Paris",
            ),
        )
    }

    days: Annotated[
        list[Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]],
        Field(min_length=1, max_length=7, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    """On which days it begins."""
    from_: Annotated[str, Field(alias="from", pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$", max_length=5)] = "00:00"
    """From when, on the clock of the time zone."""
    to: Annotated[str, Field(pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$", max_length=5)] = "24:00"
    """Until when; earlier than `from` means on the next day."""
    first_date: Annotated[str | None, Field(pattern=r"^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$", max_length=10)] = None
    """The first date on which it begins, such as 2026-12-20. Default: always."""
    last_date: Annotated[str | None, Field(pattern=r"^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$", max_length=10)] = None
    """The last date on which it begins. Default: for ever."""
    time_zone: Annotated[str, Field(max_length=64, pattern=ZONE)] = "UTC"
    """Whose clock, such as Europe/Paris."""
    reason: Annotated[str, Field(max_length=200)] = ""
    """Why, for those who wait."""


_WEIGHTS = "self.steps.filter(s, has(s.setWeight))"


def _walk(rule: str, message: str, seen: str = "") -> tuple[str, str, str]:
    """A rule on strategy, steps and holdback. The API server tries rules on the bare default too, before it fills in what that lacks."""
    return f"!has(self.strategy) || !has(self.steps) || !has(self.holdback) || ({rule})", message, seen


class Rollout(Resource):
    """How a version replaces another."""

    model_config = Resource.model_config | {
        "json_schema_extra": cel(
            _walk(
                "self.strategy == 'Interleave' || !self.steps.exists(s, has(s.interleave))",
                "steps: only the strategy Interleave has interleave steps",
                "'steps: strategy ' + self.strategy + ' has no interleave steps: set strategy Interleave, or remove them'",
            ),
            _walk(
                f"self.strategy in ['Canary', 'ABTest', 'Interleave'] || {_WEIGHTS}.size() == 0",
                "steps: BlueGreen and Shadow have no setWeight",
                "'steps: strategy ' + self.strategy + ' gives no share step by step: remove setWeight, or set strategy Canary'",
            ),
            _walk(
                "self.strategy != 'Canary' || self.steps.size() == 0 || !has(self.steps[0].pause)",
                "steps: the first step must not be a pause: put a setWeight or a shadow before it",
            ),
            _walk(
                f"self.strategy != 'Canary' || self.steps.size() == 0 || {_WEIGHTS}.size() > 0",
                "steps: a Canary needs a setWeight; for all users at once set strategy BlueGreen",
            ),
            _walk(
                (
                    "self.strategy != 'ABTest' || self.steps.size() == 0"
                    f" || ({_WEIGHTS}.size() == 1 && has(self.steps[self.steps.size() - 1].setWeight))"
                ),
                "steps: an ABTest has exactly one setWeight, as its last step",
            ),
            _walk(
                "self.strategy != 'Shadow' || self.steps.size() == 0 || self.steps.exists(s, has(s.shadow))",
                "steps: strategy Shadow needs a shadow step",
            ),
            _walk(
                "self.strategy != 'Interleave' || self.steps.size() == 0 || self.steps.exists_one(s, has(s.interleave))",
                "steps: strategy Interleave needs exactly one interleave step",
            ),
            _walk(
                "self.steps.all(s, !has(s.setWeight) || s.setWeight + self.holdback <= 100)",
                "steps: setWeight and holdback exceed 100 together: lower one of them",
            ),
            _walk(
                (
                    "self.steps.all(s, !has(s.interleave) || s.interleave.percent + self.holdback <= 100)"
                    " && (self.strategy != 'Interleave' || self.steps.size() > 0 || self.holdback == 0)"
                ),
                "steps: interleave.percent and holdback exceed 100 together: lower one of them",
            ),
            *ARM_RULES,
        )
    }

    strategy: Strategy = "Canary"
    """Canary: shares grow step by step as they are earned. BlueGreen: loaded beside, then all users at once. ABTest: fixed shares until
    one is shown to be better. Shadow: nobody sees it; a person decides by what copies of questions showed. Interleave: mixed lists until
    one is shown to be preferred."""
    paused: bool = False
    """Hold: no share changes, but a failing candidate is still rolled back."""
    rollback_to: Annotated[str | None, Field(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")] = None
    """A version that served before and is to serve all users again: tried once more, then given to them at once. While set it pins: a
    rollout of another version is aborted, and candidates wait."""
    steps: Annotated[
        list[Step],
        Field(
            max_length=20,
            json_schema_extra=cel(
                (
                    "self.filter(s, has(s.setWeight)).map(s, s.setWeight).isSorted()",
                    "steps: setWeight must not fall from one step to the next: order the weights upwards",
                ),
                (
                    "self.map(s, has(s.setWeight) ? 1 : has(s.pause) ? -1 : 0).filter(n, n >= 0).isSorted()",
                    "steps: a shadow or interleave step must come before the first setWeight",
                ),
            ),
        ),
    ] = []
    """The walk to 100 %. Default: Canary 5, 25, 50; BlueGreen a shadow step; ABTest 50, with arms as many for each as for the stable
    version; Shadow a shadow step and an approval; Interleave an interleave step of all users."""
    arms: Annotated[list[NamedArm], Field(max_length=MOST_BESIDE, json_schema_extra=list_map("version"))] = []
    """Of an ABTest: further versions that take part beside the candidate, each against the stable one with its part of analysis.alpha. One
    that is shown to do harm leaves at once; the one that is shown to be better and earns most takes all users. A version to come may be
    named: the test waits for it."""
    analysis: Analysis = Field(default_factory=Analysis)
    """What a step must earn."""
    on_failure: OnFailure = Field(default_factory=OnFailure)
    """What follows a roll-back."""
    progress_deadline_seconds: Annotated[int, Field(ge=60, le=31_536_000)] = 172_800
    """A rollout that has not ended by then is inconclusive: all users stay on the stable version."""
    hold_seconds: Annotated[int, Field(ge=0, le=2_592_000)] = 0
    """For so long after a promotion the version before it stays loaded, and harm that is shown still sends all users back to it."""
    holdback: Annotated[int, Field(ge=0, le=50)] = 0
    """So many percent of the users stay on the version before the champion, so that its worth goes on being measured."""
    keep_loaded: Annotated[int, Field(ge=0, le=3)] = 0
    """So many versions that served before stay loaded in every replica, beside what serves: POST /v1/model:switch goes to them at once.
    Each follows the event topics, and takes memory of its own for what it learns from them."""
    freeze_windows: Annotated[list[FreezeWindow], Field(max_length=32)] = []
    """When no share may grow. Read anew at each pass: they bind a rollout under way too."""
    newer_version: Literal["Wait", "Supersede"] = "Wait"
    """Wait: no version is trained while a candidate walks. Supersede: training goes on, and a newer version that passed its gates and its
    trial ends the rollout of an older one; choose cooldowns longer than a walk, or no version ever arrives."""

    def walk(self, beside: int = 0) -> list[Step]:
        """The steps of a rollout that begins now, with so many arms beside the candidate."""
        if beside and not self.steps:
            return [Step(set_weight=(100 - self.holdback) // (beside + 2))]
        return list(self.steps) or list(_OWN_STEPS[self.strategy])
