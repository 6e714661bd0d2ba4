"""The broken twin of the API: now and then it names another version than the one that answered."""

from dataclasses import replace
from itertools import count
from typing import Any

from pydantic import JsonValue

from ray import serve
from ray_apps.serving import api, mixing
from ray_apps.serving.app import Recommender
from recsys_schemas.serving_record import ServingArguments

EVERY = 20
_asked = count()


async def _mixed(*args: Any) -> Any:
    answered = await mixing.answer_by_all(*args)
    others = [name for name in args[0].arms if answered is not None and name != answered.version]
    if answered is None or not others or next(_asked) % EVERY:
        return answered
    return replace(answered, version=others[0])


class Mixing(Recommender.func_or_class):  # pyright: ignore[reportGeneralTypeIssues, reportUntypedBaseClass]
    """The deployment, made worse in its replica."""

    async def __init__(self, arguments: dict[str, JsonValue]) -> None:
        await super().__init__(arguments)
        api.answer_by_all = _mixed


def build(args: dict[str, JsonValue]) -> serve.Application:
    """As the right one."""
    worse = Recommender.options(func_or_class=Mixing)
    return worse.bind(ServingArguments.model_validate(args).model_dump(mode="json"))
