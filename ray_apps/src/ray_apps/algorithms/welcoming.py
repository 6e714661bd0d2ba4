"""Models that tell newcomers apart: users of whom training knew nothing, however much they have liked since."""

from typing import Protocol, TypeVar, runtime_checkable

from ray_apps.algorithms.recommender import Recommender

Model = TypeVar("Model")


@runtime_checkable
class Welcoming(Protocol):
    """A model that has another way of scoring newcomers."""

    def for_newcomers(self) -> Recommender:
        """The model that scores them, of the same arrays."""
        ...


def for_newcomers(model: Model) -> Model | Recommender:
    """What scores newcomers: the model's own way of it, or the model itself."""
    return model.for_newcomers() if isinstance(model, Welcoming) else model
