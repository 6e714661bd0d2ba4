"""Analysis: what a share must earn before it grows, and what sends a candidate back."""

from typing import Annotated, Literal

from pydantic import Field

from recsys_schemas.v1alpha1.resource import Resource, cel, list_map


class Metric(Resource):
    """A metric of one's own, from a Prometheus server: how often something happens to the users of each arm."""

    model_config = Resource.model_config | {
        "json_schema_extra": cel(
            (
                "self.hits.contains('$version') && self.trials.contains('$version')",
                "hits and trials must say $version: without it both arms would be counted together",
            ),
        )
    }

    name: Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$", max_length=40)]
    """What verdicts call it."""
    address: Annotated[str, Field(max_length=256, pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._/-]*)?$")]
    """Root of the server's HTTP API."""
    hits: Annotated[str, Field(min_length=1, max_length=1000)]
    """PromQL that gives one number: how often it happened to users of `$version` in the time `$range` that the present share is served:
    `sum(increase(skips_total{version="$version"}[$range]))`."""
    trials: Annotated[str, Field(min_length=1, max_length=1000)]
    """PromQL that gives among how many."""
    harmful: Literal["More", "Less"] = "More"
    """Whether it is harm if it happens more often, or less often."""
    max_increase: Annotated[float, Field(ge=0, le=1)] = 0.0
    """More: roll back once its rate is shown to exceed the stable one's by more than this. Less: once it is shown to fall short by more
    than this share of it."""


class Analysis(Resource):
    """What a step must earn. All tests are always valid: looking often raises no false alarm."""

    minimum_seconds: Annotated[int, Field(ge=0, le=604_800)] = 60
    """Least time at a share."""
    minimum_requests: Annotated[int, Field(ge=1, le=100_000_000)] = 100
    """Least answers of the candidate at a share whose attribution time is over. A step without requests proves nothing."""
    attribution_seconds: Annotated[int, Field(ge=1, le=604_800)] = 300
    """How long after an answer an event may still reward it. Answers count as evidence only when this time is over."""
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.001
    """Probability of rolling back an equal candidate, over the whole rollout and all that is watched."""
    alpha_not_worse: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Probability of saying NotWorse, over the whole rollout, of a candidate that is worse than the limits allow."""
    max_error_rate_increase: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Roll back once the candidate's error rate is shown to exceed the stable one's by more than this, and to exceed
    acceptableErrorRate."""
    acceptable_error_rate: Annotated[float, Field(ge=0, le=1)] = 0.005
    """An error rate that nobody minds, whatever the stable version's is."""
    max_error_rate_ratio: Annotated[float, Field(gt=1, le=1000)] = 2.0
    """NotWorse in errors: shown to err less than this many times as often as the stable version, or less than acceptableErrorRate."""
    max_reward_decrease: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Roll back once the candidate is shown to earn fewer rewards by more than this share of the stable one's: 0.02 is two of a hundred."""
    reward_margin: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """NotWorse in rewards: shown to have lost less than this share of them."""
    max_latency_increase: Annotated[float, Field(ge=0, le=1000)] = 0.05
    """Roll back once the candidate's median or p99 of the time to an answer is shown to exceed the stable one's by more than this share of
    it, and by more than acceptableLatencyIncreaseMilliseconds."""
    acceptable_latency_increase_milliseconds: Annotated[float, Field(ge=0, le=60_000)] = 5.0
    """Milliseconds more that nobody minds."""
    latency_margin: Annotated[float, Field(gt=0, le=1000)] = 0.5
    """NotWorse in latency: shown to be slower by less than this share, or by less than acceptableLatencyIncreaseMilliseconds."""
    max_fallback_rate_increase: Annotated[float, Field(ge=0, le=1)] = 0.02
    """Roll back once the candidate is shown to answer with what is popular, for want of anything known of the user, more often than the
    stable one by more than this."""
    max_empty_list_rate_increase: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Roll back once its answers are shown to be empty more often by more than this, and more often than acceptableErrorRate."""
    demand: Literal["NoHarm", "NotWorse"] = "NoHarm"
    """What a share must earn besides minimumSeconds and minimumRequests. NoHarm: no harm is shown or even likely. NotWorse: the candidate
    is also shown not to be worse, within the margins, in errors, reward and latency; with little traffic that can take days."""
    metrics: Annotated[list[Metric], Field(max_length=4, json_schema_extra=list_map("name"))] = []
    """Further metrics that can show harm. While one cannot be read no share grows; it never sends a candidate back."""
