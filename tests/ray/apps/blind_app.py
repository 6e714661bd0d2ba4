"""The broken twin of autoscaling: a replica of which only Ray Serve's own count of requests is known."""

from pydantic import JsonValue

from ray import serve
from ray_apps.serving.app import Recommender
from recsys_schemas.serving_record import ServingArguments


class Blind(Recommender.func_or_class):  # pyright: ignore[reportGeneralTypeIssues, reportUntypedBaseClass]
    """The deployment without a word of what it has in hand."""

    record_autoscaling_stats = None


def build(args: dict[str, JsonValue]) -> serve.Application:
    """As the right one."""
    worse = Recommender.options(func_or_class=Blind)
    return worse.bind(ServingArguments.model_validate(args).model_dump(mode="json"))
