"""A Serve application under the name that the operator deploys; it takes any record and serves nothing of note."""

from typing import Any

from ray import serve


@serve.deployment(name="Recommender", ray_actor_options={"num_cpus": 0.1})
class Quiet:
    def reconfigure(self, user_config: dict[str, Any]) -> None:
        self.epoch = user_config["epoch"]

    async def __call__(self) -> int:
        return self.epoch


def build(args: dict[str, Any]) -> serve.Application:
    assert args["name"]
    return Quiet.bind()  # pyright: ignore[reportFunctionMemberAccess] - the decorator made it a deployment
