"""What a Prometheus server counts of both arms: the metrics that `spec.rollout.analysis` adds."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from math import isfinite

import httpx
from pydantic import BaseModel, ValidationError

from recsys_operator.state.observed import Measured, RolloutState, Unavailable
from recsys_operator.world.errors import UnavailableError
from recsys_operator.world.kube import seen
from recsys_schemas.v1alpha1.analysis import Metric
from recsys_schemas.v1alpha1.rollout import RolloutPhase

CALL_S = 2.0
"""For each query; all of them are asked at the same time."""
_WALKING = (RolloutPhase.PROGRESSING, RolloutPhase.PAUSED)


class _Sample(BaseModel):
    value: tuple[float, str]


class _Data(BaseModel):
    resultType: str  # noqa: N815 - Prometheus' word
    result: list[_Sample]


class _Answer(BaseModel):
    """The answer of /api/v1/query to an expression that gives an instant vector."""

    data: _Data


async def read_metrics(http: httpx.AsyncClient, rollout: RolloutState | None, now: datetime) -> Mapping[str, Measured | Unavailable]:
    """Each metric's counts of both arms since the present share is served; empty while no share is."""
    if rollout is None or rollout.spec.stable is None or rollout.status.phase not in _WALKING or rollout.status.step_since is None:
        return {}
    seconds = max(1, int((now - rollout.status.step_since).total_seconds()))
    arms = (rollout.spec.stable.name, rollout.spec.candidate.name)
    metrics = rollout.spec.analysis.metrics
    found = await asyncio.gather(*(_measured(http, metric, arms, seconds) for metric in metrics))
    return {metric.name: measured for metric, measured in zip(metrics, found, strict=True)}


async def _measured(http: httpx.AsyncClient, metric: Metric, arms: tuple[str, str], seconds: int) -> Measured | Unavailable:
    asked = [query.replace("$version", arm).replace("$range", f"{seconds}s") for arm in arms for query in (metric.hits, metric.trials)]
    try:
        numbers = await asyncio.gather(*(_asked(http, metric, query) for query in asked))
    except UnavailableError as error:
        return Unavailable(message=str(error))
    hits, trials, our_hits, our_trials = numbers
    return Measured(stable=(min(hits, trials), trials), candidate=(min(our_hits, our_trials), our_trials))


async def _asked(http: httpx.AsyncClient, metric: Metric, query: str) -> float:
    """One number.

    Raises:
        UnavailableError: no answer in time, or none that is one number.
    """
    where = f"spec.rollout.analysis.metrics, {metric.name}: {metric.address}"
    try:
        async with asyncio.timeout(CALL_S):
            answer = await http.get(f"{metric.address}/api/v1/query", params={"query": query}, timeout=CALL_S)
    except (httpx.HTTPError, TimeoutError) as error:
        raise UnavailableError(f"{where} does not answer within {CALL_S:g} s ({seen(error)})") from error
    if answer.status_code != HTTPStatus.OK:
        raise UnavailableError(f"{where}: {answer.status_code} {answer.text[:200]} to {query!r}")
    try:
        result = _Answer.model_validate_json(answer.content).data.result
    except ValidationError as error:
        raise UnavailableError(f"{where}: not the answer of a Prometheus server to {query!r} that gives a vector") from error
    if len(result) != 1:
        raise UnavailableError(f"{where}: {len(result)} samples for {query!r}; one is needed: sum() it, or wait until there is one")
    number = _number(result[0].value[1])
    if not isfinite(number) or number < 0:
        raise UnavailableError(f"{where}: {result[0].value[1]} for {query!r}; a count is needed")
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
