"""Triggers: what makes another version due."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from recsys_schemas.v1alpha1.resource import Resource, cel


def _field(number: str, names: str = "") -> str:
    """One field of a cron line: *, numbers or names, ranges, lists, steps."""
    one = f"({number}|{names})" if names else number
    span = rf"(\*|{one}(-{one})?)(/[1-9][0-9]?)?"
    return rf"{span}(,{span})*"


_MONTHS = "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC"
_DAYS = "SUN|MON|TUE|WED|THU|FRI|SAT"
CRON = "^" + " ".join(
    (
        _field("[0-5]?[0-9]"),
        _field("([01]?[0-9]|2[0-3])"),
        _field("(0?[1-9]|[12][0-9]|3[01])"),
        _field("(0?[1-9]|1[0-2])", _MONTHS),
        _field("[0-7]", _DAYS),
    )
) + "$"  # fmt: skip
"""Five fields: minute, hour, day of the month, month, day of the week."""
ZONE = r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$"

TriggerType = Literal["Schedule", "NewData", "Quality", "Drift"]
_HOLDOUT = "'hr@10', 'hr@20', 'ndcg@10', 'ndcg@20'"


def _belongs(field: str, types: str, words: str) -> tuple[str, str, str]:
    return (
        f"!has(self.{field}) || self.type in [{types}]",
        f"{field} belongs to a trigger of type {words}",
        f"'trigger of type ' + self.type + ' takes no {field}: remove it'",
    )


class Trigger(Resource):
    """One thing that makes a version due. Nothing is trained again from a snapshot that holds no new rows."""

    model_config = Resource.model_config | {
        "json_schema_extra": cel(
            ("self.type != 'Schedule' || has(self.cron)", "a trigger of type Schedule needs cron, such as 0 3 * * *"),
            (
                f"self.type != 'Quality' || (has(self.metric) && has(self.below) && self.metric in ['rewardRate', {_HOLDOUT}])",
                "a trigger of type Quality needs metric (rewardRate, hr@10, hr@20, ndcg@10 or ndcg@20) and below",
                (
                    "'trigger of type Quality needs metric (rewardRate, hr@10, hr@20, ndcg@10 or ndcg@20) and below, seen '"
                    " + (has(self.metric) ? 'metric ' + self.metric : 'no metric') + (has(self.below) ? '' : ', no below')"
                ),
            ),
            (
                "self.type != 'Drift' || (has(self.metric) && has(self.above) && self.metric == 'psi')",
                "a trigger of type Drift needs metric psi and above",
                (
                    "'trigger of type Drift needs metric psi and above, seen '"
                    " + (has(self.metric) ? 'metric ' + self.metric : 'no metric') + (has(self.above) ? '' : ', no above')"
                ),
            ),
            _belongs("cron", "'Schedule'", "Schedule"),
            _belongs("timeZone", "'Schedule'", "Schedule"),
            _belongs("records", "'NewData'", "NewData"),
            _belongs("metric", "'Quality', 'Drift'", "Quality or Drift"),
            _belongs("below", "'Quality'", "Quality"),
            _belongs("forSeconds", "'Quality'", "Quality"),
            _belongs("minimumSamples", "'Quality'", "Quality"),
            _belongs("above", "'Drift'", "Drift"),
        )
    }

    type: TriggerType
    """Schedule: at the times of a cron line. NewData: after so many new rows. Quality: the champion is not good enough. Drift: what comes
    in is unlike what was learnt from."""
    cron: Annotated[str | None, Field(min_length=9, max_length=100, pattern=CRON)] = None
    """Schedule: minute, hour, day of the month, month, day of the week. Times that were missed, by a stop or a hold, count as one."""
    time_zone: Annotated[str | None, Field(max_length=64, pattern=ZONE)] = None
    """Schedule: whose clock, such as Europe/Paris. Default: UTC."""
    records: Annotated[int | None, Field(ge=1)] = None
    """NewData: rows since the snapshot of the newest version. Default: spec.training.newRecords."""
    metric: Literal["rewardRate", "hr@10", "hr@20", "ndcg@10", "ndcg@20", "psi"] | None = None
    """Quality: rewardRate (rewarded answers of the champion, as users give them) or one of the champion's held-out metrics, as the newest
    version's run measured it. Drift: psi (population stability index of the items in the newest events)."""
    below: Annotated[float | None, Field(ge=0, le=1)] = None
    """Quality: the metric is too low under this."""
    for_seconds: Annotated[int | None, Field(ge=1, le=31_536_000)] = None
    """Quality: for so long. rewardRate: over each span of so many seconds. Default: 3600."""
    minimum_samples: Annotated[int | None, Field(ge=1, le=100_000_000)] = None
    """Quality: a span with fewer answers says nothing. Default: 500."""
    above: Annotated[float | None, Field(gt=0, le=100)] = None
    """Drift: too far above this; 0.2 is a common choice."""


class TriggerStatus(Resource):
    """What cannot be looked up again of one trigger."""

    key: Annotated[str, Field(max_length=253)]
    """Which: its type and what it was told."""
    since: datetime
    """First seen; times of a schedule before this are not made up for. Of rewardRate: when the present span began."""
    version: Annotated[str | None, Field(max_length=63)] = None
    """The champion that is counted."""
    impressions: int = 0
    """Its answers that were old enough to have been rewarded, when the span began."""
    rewards: int = 0
    """Those that were."""
    breached: Annotated[str | None, Field(max_length=512)] = None
    """What the last span showed, when it was too low."""
    breached_at: datetime | None = None
    """When that span ended."""
