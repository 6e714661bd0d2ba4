"""Why a run cannot make a version, as an exit status that the operator can read."""

from enum import IntEnum


class Refusal(IntEnum):
    """Exit status of `python -m ray_apps.training` when it refuses; 0 is done, 1 is anything unforeseen."""

    BAD_JOB = 2
    """The job itself: not JSON, an unknown algorithm, a hyperparameter out of range. Trying again will not help."""
    INSUFFICIENT_DATA = 3
    """The snapshot is too small to learn from or to measure on. A later one may do."""
    STORAGE = 4
    """The store, the snapshot or a version in it is missing or damaged."""
    NO_MEMORY = 5
    """A worker had too little memory."""


class TrainingRefused(Exception):  # noqa: N818 — it says what was done about the error
    """No version can be made; the message names the field, the value seen and the mend."""

    def __init__(self, refusal: Refusal, message: str) -> None:
        """Keep the class of the refusal beside its words."""
        super().__init__(refusal, message)
        self.refusal = refusal
        self.message = message

    def __str__(self) -> str:
        return self.message
