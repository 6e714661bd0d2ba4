"""RecommenderRollout: one promotion attempt."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from recsys_schemas.v1alpha1.analysis import Analysis
from recsys_schemas.v1alpha1.arms import MOST_BESIDE, ArmEvidence, ArmTotals, BesideArm, LeftArm, Pinned, Shown
from recsys_schemas.v1alpha1.resource import Resource, cel, list_map
from recsys_schemas.v1alpha1.strategy import Step, Strategy
from recsys_schemas.v1alpha1.version import ModelReference

MOST_KEPT = 65_536
"""Characters of what one decision keeps."""


class RolloutPhase(StrEnum):
    """Where a promotion attempt stands."""

    PENDING = "Pending"
    LOADING = "Loading"
    PROGRESSING = "Progressing"
    PAUSED = "Paused"
    PROMOTING = "Promoting"
    HOLDING = "Holding"
    ROLLING_BACK = "RollingBack"
    SUCCESSFUL = "Successful"
    ROLLED_BACK = "RolledBack"
    ABORTED = "Aborted"
    SUPERSEDED = "Superseded"
    INCONCLUSIVE = "Inconclusive"

    @property
    def ended(self) -> bool:
        """Whether nothing follows."""
        return self in _ENDED


_ENDED = frozenset(
    {
        RolloutPhase.SUCCESSFUL,
        RolloutPhase.ROLLED_BACK,
        RolloutPhase.ABORTED,
        RolloutPhase.SUPERSEDED,
        RolloutPhase.INCONCLUSIVE,
    }
)


class Control(Resource):
    """What a person asks of a running rollout."""

    model_config = Resource.model_config | {
        "json_schema_extra": cel(
            (
                "!has(self.promote) || self.promote != 'Next' || has(self.step)",
                "control: promote Next needs step, the index of the step to leave: status.step says it",
            ),
        )
    }

    paused: bool = False
    """Hold the present share."""
    abort: bool = False
    """Roll back now."""
    promote: Literal["None", "Next", "Full"] = "None"
    """Next: leave the step that `step` names, whatever it waits for. Full: skip what is left and promote. A failing candidate is still
    rolled back, and nothing is promoted while a freeze window is open."""
    step: Annotated[int | None, Field(ge=0, le=19)] = None
    """With Next: the index of the step that is left. One that is not the present step any more is left alone, so that asking twice skips
    nothing."""
    arm: Annotated[str | None, Field(max_length=63)] = None
    """With promote, of a test with several arms: the version that is taken. Default: the candidate."""
    requested_by: Annotated[str, Field(max_length=253)] = ""
    """Who asks; decisions name them."""
    reason: Annotated[str, Field(max_length=500)] = ""
    """Why."""


_ONLY_CONTROL = (
    "self.modelRef == oldSelf.modelRef && self.purpose == oldSelf.purpose && self.candidate == oldSelf.candidate"
    " && self.steps == oldSelf.steps"
    " && self.strategy == oldSelf.strategy && self.holdSeconds == oldSelf.holdSeconds && self.holdback == oldSelf.holdback"
    " && self.arms == oldSelf.arms"
    " && self.analysis == oldSelf.analysis && self.progressDeadlineSeconds == oldSelf.progressDeadlineSeconds"
    " && has(self.stable) == has(oldSelf.stable) && (!has(self.stable) || self.stable == oldSelf.stable)"
)


class RolloutSpec(Resource):
    """What was planned when it began; later edits of the model do not change it. Only `control` may be patched."""

    model_config = Resource.model_config | {
        "json_schema_extra": cel(
            (_ONLY_CONTROL, "only spec.control of a rollout may be changed"),
            (
                (
                    "!has(self.control) || !has(self.control.arm) || self.control.arm == self.candidate.name"
                    " || (has(self.arms) && self.arms.exists(a, a.name == self.control.arm))"
                ),
                "control: arm is no arm of this rollout: name its candidate, or one of spec.arms",
                "'control: arm ' + self.control.arm + ' is no arm of this rollout: name its candidate, or one of spec.arms'",
            ),
        )
    }

    model_ref: ModelReference
    """For whom."""
    purpose: Literal["Promote", "Return"] = "Promote"
    """Promote: a new version earns its share step by step. Return: one that served before gets all users back at once."""
    stable: Pinned | None = None
    """What serves; absent for the first version, which takes all traffic at once."""
    candidate: Pinned
    """What tries to replace it."""
    strategy: Strategy = "Canary"
    """How it replaces it."""
    steps: Annotated[list[Step], Field(min_length=1, max_length=20)]
    """The walk to 100 %."""
    analysis: Analysis
    """What a step must earn."""
    progress_deadline_seconds: int = 172_800
    """When it is given up."""
    hold_seconds: int = 0
    """For how long the way back stays armed after the promotion."""
    holdback: int = 0
    """How many percent of the users stay on the stable version after the promotion."""
    arms: Annotated[list[BesideArm], Field(max_length=MOST_BESIDE, json_schema_extra=list_map("name"))] = []
    """Of an ABTest with several arms: those beside the candidate."""
    control: Control = Field(default_factory=Control)
    """What a person asks."""

    @property
    def tried(self) -> list[Pinned]:
        """The candidate, and the arms beside it."""
        return [self.candidate, *(Pinned(name=arm.name, digest=arm.digest) for arm in self.arms)]


class ShadowEvidence(Resource):
    """What answers showed that nobody got. Means are over all of them; empty before there is one."""

    scored: int = 0
    """Copies of questions that were answered well and in time."""
    dropped: int = 0
    """Copies that busy replicas dropped."""
    late: int = 0
    """Of the candidate's errors, the answers that missed the deadline."""
    overlap: str = ""
    """Mean part of the best k items that the given answers have too."""
    rank_correlation: str = ""
    """Mean Spearman correlation of the order of the common items."""
    predicted_reward: str = ""
    """What its lists would earn, each item at the rate at which it is rewarded when it is shown, over the same of the given ones."""
    mean_milliseconds: str = ""
    """Mean time to score."""


class PreferenceEvidence(Resource):
    """Whose items were clicked in mixed lists."""

    answers: int = 0
    """Mixed answers whose attribution time is over."""
    wins: int = 0
    """Of those, with more clicks on the candidate's items."""
    losses: int = 0
    """With fewer."""
    ties: int = 0
    """With as many, and at least one."""


class Evidence(Resource):
    """What has been counted at the present share. Counts under different shares are never added up."""

    stable: ArmTotals = Field(default_factory=ArmTotals)
    """The stable arm's answers at this share, once their attribution time is over."""
    candidate: ArmTotals = Field(default_factory=ArmTotals)
    """The candidate's."""
    shadow: ShadowEvidence | None = None
    """While it answers copies of questions."""
    preference: PreferenceEvidence | None = None
    """While lists are mixed."""
    shown: Annotated[list[Shown], Field(max_length=32)] = []
    """What each metric shows."""
    arms: Annotated[list[ArmEvidence], Field(max_length=MOST_BESIDE)] = []
    """Of a test with several arms: what those beside the candidate did that are still in it."""


class Decision(Resource):
    """One verdict, with the numbers that anyone can recompute it from."""

    number: int = 0
    """How many decisions of this rollout came before it."""
    time: datetime
    """When."""
    step: int
    """At which step."""
    verdict: Literal["Began", "Advanced", "Held", "Left", "Promoted", "Confirmed", "RolledBack", "Aborted", "Superseded", "Inconclusive"]
    """What was decided. Left: an arm of a test with several was sent back, and the test goes on. Confirmed: promoted, and nothing spoke
    against it while the way back was armed."""
    by: Annotated[str, Field(max_length=253)] = ""
    """Who asked for it; empty when nobody did."""
    words: Annotated[str, Field(max_length=1024)]
    """Why."""
    kept: Annotated[str, Field(max_length=MOST_KEPT)] = ""
    """All that it was decided from, packed (base64 of deflated JSON), until the topic with the role Decisions has it."""


class RolloutStatus(Resource):
    """Where it stands."""

    phase: RolloutPhase = RolloutPhase.PENDING
    """Where it stands."""
    step: int = 0
    """Index of the present step."""
    step_since: datetime | None = None
    """When the replicas reported the step's share."""
    weight: int = 0
    """The candidate's share, percent, as last asked."""
    paused: Literal["Step", "Approval", "Frozen", "User"] | None = None
    """Why no share grows: a pause of the walk, a person's approval, a freeze window, or a person's wish (or replicas out of sync)."""
    held_until: datetime | None = None
    """Until when the way back is armed, once it is promoted."""
    verified: bool = False
    """Whether every running replica reports it."""
    started_at: datetime | None = None
    """When it began."""
    ended_at: datetime | None = None
    """When it ended."""
    evidence: Evidence = Field(default_factory=Evidence)
    """What both arms did at the present share."""
    left: Annotated[list[LeftArm], Field(max_length=MOST_BESIDE + 1)] = []
    """Arms of a test with several that were sent back while it went on."""
    winner: Pinned | None = None
    """The arm that was promoted, where it is not the candidate."""
    decisions: Annotated[list[Decision], Field(max_length=50)] = []
    """The last 50 verdicts, oldest first."""
    message: str = ""
    """What it waits for, in words."""
