"""How a version is fitted: on what workers, from how much of the past, from where, and after what search."""

from typing import Annotated

from pydantic import Field

from recsys_schemas.v1alpha1.resource import Resource, cel


class WorkerResources(Resource):
    """What each Ray Train worker reserves on the cluster."""

    cpu: Annotated[float, Field(ge=0.1, le=256)] = 1.0
    """CPUs; an algorithm may use a thread for each whole one."""
    gpu: Annotated[float, Field(ge=0, le=16)] = 0.0
    """GPUs. An algorithm that has no kernel for them trains on the CPU beside them."""
    memory_megabytes: Annotated[int | None, Field(ge=64, le=16_000_000)] = None
    """Memory in millions of bytes: Ray places no worker where less is free. Default: none is reserved."""


class Search(Resource):
    """A search for hyperparameters with Ray Tune, before the version is made, on a part of the training data held out for it."""

    model_config = Resource.model_config | {
        "json_schema_extra": cel(
            (
                "!has(self.parallelTrials) || !has(self.maxTrials) || self.parallelTrials <= self.maxTrials",
                "parallelTrials must not exceed maxTrials: lower it, or try more",
                "'search: parallelTrials exceeds maxTrials: lower parallelTrials, or raise maxTrials'",
            )
        )
    }

    max_trials: Annotated[int, Field(ge=1, le=500)] = 12
    """So many at most, drawn by the seed; the first is what the spec asks for."""
    parallel_trials: Annotated[int, Field(ge=1, le=64)] = 1
    """So many at a time, each with a worker's resources."""


class Fit(Resource):
    """How the fits of a version are done."""

    resources_per_worker: WorkerResources = Field(default_factory=WorkerResources)
    """What each Ray Train worker reserves."""
    warm_start: bool = False
    """Begin from the champion's vectors where it is of the same algorithm, with half of the iterations."""
    window_days: int | None = None
    """Learn from so many of the newest days of the snapshot."""
    replay_fraction: float = 0.0
    """With a window: this part of what is older is learned from too."""
    history_half_life: float | None = None
    """Likes after which an older one counts half when a model is asked, in metrics and where it serves. Nothing is learned by it."""
    search: Search | None = None
    """Look for better hyperparameters first."""
