"""Analysis: what a share must earn before it grows, and what sends a candidate back."""

from typing import Annotated

from pydantic import Field

from recsys_schemas.v1alpha1.resource import Resource


class Analysis(Resource):
    """What a step must earn. All tests are always valid: looking often raises no false alarm."""

    minimum_seconds: Annotated[int, Field(ge=0, le=604_800)] = 60
    """Least time at a share."""
    minimum_requests: Annotated[int, Field(ge=1, le=100_000_000)] = 100
    """Least answers of the candidate at a share whose attribution time is over. A step without requests proves nothing."""
    attribution_seconds: Annotated[int, Field(ge=1, le=604_800)] = 300
    """How long after an answer an event may still reward it. Answers count as evidence only when this time is over."""
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Probability of rolling back an equal candidate, over the whole rollout."""
    max_error_rate_increase: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Roll back once the candidate's error rate is shown to exceed the stable one's by more than this."""
    max_reward_decrease: Annotated[float, Field(ge=0, le=1)] = 0.02
    """Roll back once the candidate's reward rate is shown to fall short of the stable one's by more than this."""
