"""The catalogue: which items there are, and what is known of them. A CSV with a header, or a Parquet file."""

from typing import Annotated, Literal

from pydantic import Field

from recsys_schemas.artifact import Artifact
from recsys_schemas.events import EpochMilliseconds
from recsys_schemas.words import Identifier, ItemWord

CATALOGUE_REPORT = "catalogue/report.json"
"""Path of the newest report below the storage URI."""
CATALOGUE_COPIES = "catalogue"
"""Folder of the copies that versions were made of, below the storage URI: `catalogue/<SHA-256>.csv`."""
MOST_NAMED = 20
"""Refused rows and missing items that a report names; it counts the others."""


class CatalogueToRead(Artifact):
    """Where the catalogue is."""

    uri: str
    """file:// or s3:// of a .csv or .parquet file."""
    on_unknown_item: Literal["Keep", "DeadLetter"] = "Keep"
    """What becomes of events of items that it does not have."""


class CatalogueSource(Artifact):
    """A catalogue to learn from."""

    uri: str
    """file:// or s3:// of a .csv or .parquet file."""
    sha256: str | None = None
    """What its bytes must hash to, in hex; none: whatever it is now."""


class CatalogueUsed(Artifact):
    """What a version learned about its items, and from which bytes."""

    uri: str
    """Where it was read."""
    sha256: str | None = None
    """Hex digest of its bytes; none when it could not be read."""
    kept: str | None = None
    """Path below the storage URI of an immutable copy of those bytes: the version can be made again from it."""
    items: Annotated[int, Field(ge=0)] = 0
    """Rows that are items."""
    refused: Annotated[int, Field(ge=0)] = 0
    """Rows that are none."""
    described: Annotated[int, Field(ge=0)] = 0
    """Items of the version of which it says anything."""
    features: Annotated[int, Field(ge=0)] = 0
    """Different things that it says: genres, words, decades."""
    problem: str = ""
    """Why the version was made without it; empty when it was made with it."""


class CatalogueItem(Artifact):
    """One row of the catalogue; what is empty is not known. Further columns are passed over."""

    item_id: Identifier
    """As in the events."""
    title: Annotated[str, Field(max_length=1024)] | None = None
    """For people."""
    genres: Annotated[list[ItemWord], Field(max_length=64)] | None = None
    """In a CSV separated by `|`."""
    category: ItemWord | None = None
    """The one shelf that it stands on; questions may ask for it."""
    tags: Annotated[list[ItemWord], Field(max_length=64)] | None = None
    """Further words that questions may ask for; in a CSV separated by `|`."""
    released_at: EpochMilliseconds | None = None
    """Since when it has been there; in a CSV a date (`2024-05-31`, also with a time, UTC where no zone is named) or milliseconds."""
    text: Annotated[str, Field(max_length=65_536)] | None = None
    """What describes the item: new items are recommended by it."""


class RefusedRow(Artifact):
    """A row that is no item."""

    line: Annotated[int, Field(ge=1)]
    """Line of a CSV (the header is line 1), or row of a Parquet file."""
    reason: str
    """Names the column, the value seen and what would fit."""


class CatalogueReport(Artifact):
    """How complete the catalogue is."""

    uri: str
    """Where it was read."""
    stamp: str
    """Time of its last change and size: another stamp makes ingest read it again."""
    items: Annotated[int, Field(ge=0)] = 0
    """Rows that are items."""
    refused: Annotated[int, Field(ge=0)] = 0
    """Rows that are none."""
    refused_first: list[RefusedRow] = []
    """The first 20 of them."""
    with_title: Annotated[int, Field(ge=0)] = 0
    """Items with a title."""
    with_genres: Annotated[int, Field(ge=0)] = 0
    """Items with genres."""
    with_text: Annotated[int, Field(ge=0)] = 0
    """Items with text."""
    missing: Annotated[int, Field(ge=0)] | None = None
    """Items of events that it does not have; None when no events were looked at."""
    missing_first: list[str] = []
    """The first 20 of them, in order."""
    problem: str = ""
    """Why it cannot be read; empty when it can."""
