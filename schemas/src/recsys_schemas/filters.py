"""Which items a question may be answered with, and what is known of its moment."""

from typing import Annotated

from pydantic import Field

from recsys_schemas.artifact import Artifact
from recsys_schemas.words import ItemWord

ContextValue = Annotated[str, Field(max_length=256)] | bool | int | Annotated[float, Field(allow_inf_nan=False)]
Words = Annotated[list[ItemWord], Field(max_length=50)]


class Filters(Artifact):
    """Which items may be shown at all. Each that is given must hold; of the words in one list any will do, in any case.

    An item of which the catalogue does not say it does not pass. Answers are exact: items are left out before the best are taken.
    """

    categories: Words = []
    """One of these categories."""
    genres: Words = []
    """One of these genres."""
    tags: Words = []
    """One of these tags."""
    max_age_days: Annotated[float, Field(ge=0, le=100_000)] | None = None
    """Released at most so many days ago."""
    min_age_days: Annotated[float, Field(ge=0, le=100_000)] | None = None
    """Released at least so many days ago."""


Context = Annotated[dict[Annotated[str, Field(min_length=1, max_length=64)], ContextValue], Field(max_length=16)]
"""What is known of the moment, such as `{"device": "tv"}`."""
