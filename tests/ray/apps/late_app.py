"""A Serve application that starts only once a file is there, as one does whose Secret is mounted late."""

from pathlib import Path
from typing import Any

from ray import serve


@serve.deployment(name="Recommender", ray_actor_options={"num_cpus": 0.1})
class Late:
    def __init__(self, waits_for: str) -> None:
        self.found = Path(waits_for.removeprefix("file://")).read_text()

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        self.epoch = user_config["epoch"]

    async def __call__(self) -> int:
        return self.epoch


def build(args: dict[str, Any]) -> serve.Application:
    return Late.bind(args["storage_uri"])  # pyright: ignore[reportFunctionMemberAccess] - the decorator made it a deployment
