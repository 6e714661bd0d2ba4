"""Words that events, questions and catalogues share."""

from typing import Annotated

from pydantic import Field

Identifier = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""A user, item, event or request id: printable, at most 128 characters."""

ItemWord = Annotated[str, Field(min_length=1, max_length=128)]
"""A genre, a category or a tag."""
